"""The listing of a data set: its images, before they are decoded."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

PARTS = ("train", "val", "test")
_COLUMNS = ("names", "stamps", "labels", "groups", "parts", "positions")
# In front of the name of an attribute, beside those columns.
ATTRIBUTE = "attribute:"


@dataclasses.dataclass(frozen=True)
class Listing:
  """The images of a data set, one row each, in a fixed order.

  Attributes:
    classes: class names in the order of the labels.
    paths: where a `source.Source` finds the image.
    names: str[n], unique, the same wherever the data set lies.
    stamps: i64[n], each changes whenever the content of its image can have
      changed.
    labels: i32[n], class indices; u8[n, classes], 0 or 1, where an image may
      have several labels or none.
    groups: str[n], patient, slide or person, which a split keeps together.
    parts: str[n], the publisher's part, one of PARTS, or '' where there is
      none.
    positions: i32[n, 2], x and y within the slide in pixels.
    passed_over: (class, reason, count) of the files that are no rows, in
      order; the class is '' for those in none.
    notes: what a reader should know of the files that are rows, a line each.
    attributes: str[n] each by name, what else is known of the images.
  """

  classes: tuple[str, ...]
  paths: list[str]
  names: np.ndarray
  stamps: np.ndarray
  labels: np.ndarray
  groups: np.ndarray
  parts: np.ndarray
  positions: np.ndarray
  passed_over: tuple[tuple[str, str, int], ...] = ()
  notes: tuple[str, ...] = ()
  attributes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  @classmethod
  def of_rows(
    cls,
    classes: tuple[str, ...],
    rows: list[tuple],
    *,
    passed_over: Iterable[tuple[str, str, int]] = (),
    notes: Iterable[str] = (),
    attributes: Mapping[str, Iterable[str]] = MappingProxyType({}),
  ) -> "Listing":
    """Returns the listing of some images.

    In all but paths, bytes that are no UTF-8 become text that stands for them.

    Args:
      classes: class names in the order of the labels.
      rows: label, name, path, stamp, group, part, x and y of each image. A
        label is a class index, or 0 or 1 for each class.
      passed_over: (class or '', reason, count) of files that are no images.
      notes: on the images, a line each.
      attributes: by name a string for each image.
    """
    labels, names, paths, stamps, groups, parts, *position = zip(
      *rows, strict=True
    )
    several = isinstance(labels[0], tuple)
    return cls(
      classes=tuple(map(_text, classes)),
      paths=list(paths),
      names=np.array([*map(_text, names)]),
      stamps=np.array(stamps, np.int64),
      labels=np.array(labels, np.uint8 if several else np.int32),
      groups=np.array([*map(_text, groups)]),
      parts=np.array(parts),
      positions=np.array(position, np.int32).T,
      passed_over=tuple((_text(name), *rest) for name, *rest in passed_over),
      notes=tuple(notes),
      attributes={
        _text(name): np.array([*map(_text, column)])
        for name, column in attributes.items()
      },
    )

  def __len__(self) -> int:
    return len(self.paths)

  @property
  def multi_label(self) -> bool:
    """Whether an image may have several labels or none."""
    return self.labels.ndim == 2

  def columns(self) -> dict[str, np.ndarray]:
    """Returns by name an array of n rows for all but the paths."""
    return {name: getattr(self, name) for name in _COLUMNS} | {
      f"{ATTRIBUTE}{name}": column for name, column in self.attributes.items()
    }

  def take(self, rows: np.ndarray) -> "Listing":
    """Returns the listing of some rows, i64[m]."""
    taken = {name: getattr(self, name)[rows] for name in _COLUMNS}
    attributes = {name: x[rows] for name, x in self.attributes.items()}
    paths = [self.paths[row] for row in rows.tolist()]
    return dataclasses.replace(
      self, paths=paths, attributes=attributes, **taken
    )

  def fingerprint(self) -> str:
    """Returns the hex SHA-256 of all that decides what is packed.

    Any change of an image, its name, label, group, part, position or attribute
    changes it.
    """
    digest = hashlib.sha256(repr(self.classes).encode())
    for key, column in self.columns().items():
      column = np.ascontiguousarray(column)
      digest.update(f"{key} {column.dtype} {column.shape}".encode())
      digest.update(column.view(np.uint8))
    return digest.hexdigest()


def _text(name: str) -> str:
  return name.encode(errors="backslashreplace").decode()
