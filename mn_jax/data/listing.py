"""What is known of a data set's images before they are decoded."""

import dataclasses
import hashlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Listing:
  """The images of a data set, one row each, in a fixed order.

  Attributes:
    paths: where `archive.Files.read` finds the image.
    names: str[n], unique, the same wherever the data set lies.
    sizes: i64[n], file sizes in bytes.
    labels: i32[n], class indices.
    groups: str[n], patient, slide or person; what a split keeps together.
    positions: i32[n, 2], x and y within the slide in pixels.
  """

  paths: list[str]
  names: np.ndarray
  sizes: np.ndarray
  labels: np.ndarray
  groups: np.ndarray
  positions: np.ndarray

  def __len__(self) -> int:
    return len(self.paths)

  def fingerprint(self) -> str:
    """Hex SHA-256 of names and sizes: files that come, go or grow change it."""
    digest = hashlib.sha256()
    for name, size in zip(self.names, self.sizes, strict=True):
      digest.update(f"{name}\t{size}\n".encode())
    return digest.hexdigest()
