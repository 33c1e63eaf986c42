"""Where the images of a data set come from: rows of a listing to pixels."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from mn_jax.data import decode
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.files.archive import Files


class Source(Protocol):
  """Random access to the images of a data set; safe to use from threads.

  Attributes:
    listing: what is known of them.
  """

  listing: Listing

  def read(self, row: int) -> np.ndarray:
    """The image of a row, u8[h, w, 3], RGB in [0, 255].

    Raises:
      OSError, DecodeError: if it cannot be had.
    """

  def read_resized(self, row: int, size: int) -> np.ndarray:
    """The image of a row squeezed to u8[size, size, 3].

    Raises:
      OSError, DecodeError: if it cannot be had.
    """


@dataclasses.dataclass(frozen=True)
class ImageFiles:
  """A source whose images are files in one of the formats of `decode`."""

  listing: Listing
  files: Files

  def read(self, row: int) -> np.ndarray:
    """As `Source` says."""
    return decode.decode(self.files.read(self.listing.paths[row]))

  def read_resized(self, row: int, size: int) -> np.ndarray:
    """As `Source` says."""
    data = self.files.read(self.listing.paths[row])
    return decode.decode_resized(data, size)


@dataclasses.dataclass(frozen=True)
class Pixels:
  """A source whose images are in memory, u8[n, h, w, 3]."""

  listing: Listing
  images: np.ndarray

  def read(self, row: int) -> np.ndarray:
    """As `Source` says."""
    return self.images[row]

  def read_resized(self, row: int, size: int) -> np.ndarray:
    """As `Source` says."""
    return decode.resize(self.images[row], size)


def of_files(list_images: Callable[[Files], Listing]) -> Callable:
  """What opens a data set of image files, by what lists them."""

  def open_source(files: Files) -> ImageFiles:
    return ImageFiles(list_images(files), files)

  return open_source
