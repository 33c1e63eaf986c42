"""Tables of features: vectors that describe images, with labels and groups.

A table is an `.npz` file of any origin. Its two-dimensional arrays of floats
are sets of features, a row for each image; `labels` are whole numbers or
strings. There may be `groups` (patients, slides), `names` of the images and
names of the `classes` in the order of the numbers. `tools.embed` writes such
files.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.data import atomic
from mn_jax.errors import InputError, in_one_line


@dataclasses.dataclass(frozen=True)
class FeatureTable:
  """Features of n images.

  Attributes:
    sets: name -> f64[n, c]; NaN where a value is not known.
    labels: i32[n], indices of the classes.
    classes: names of the classes.
    names: str[n], unique; numbers of rows where the file has none.
    groups: str[n], what belongs together, or None.
  """

  sets: Mapping[str, np.ndarray]
  labels: np.ndarray
  classes: tuple[str, ...]
  names: np.ndarray
  groups: np.ndarray | None

  def take(self, rows: np.ndarray) -> "FeatureTable":
    """Returns the table of some images, i64[m]."""
    return dataclasses.replace(
      self,
      sets={name: values[rows] for name, values in self.sets.items()},
      labels=self.labels[rows],
      names=self.names[rows],
      groups=None if self.groups is None else self.groups[rows],
    )

  def joined(self, wanted: str) -> np.ndarray:
    """Returns f64[n, c], the features of one set, or of several side by side.

    Args:
      wanted: names of sets with '+' between them.

    Raises:
      InputError: if there is no such set.
    """
    found = []
    for name in wanted.split("+"):
      if name not in self.sets:
        raise InputError(
          f"--sets: got {name!r}; valid: {', '.join(self.sets)}, or several "
          "with '+' between them"
        )
      found.append(self.sets[name])
    return np.concatenate(found, axis=1)


def read(
  path: pathlib.Path, *, labels: str = "labels", groups: str = "groups"
) -> FeatureTable:
  """Reads a table of features.

  Args:
    path: of an `.npz` file.
    labels: name of the array of labels.
    groups: name of the array of groups, which may be missing.

  Raises:
    InputError: if it cannot be read, or its arrays do not fit together.
  """
  try:
    # NumPy would leave a file open that it cannot read.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
  except Exception as error:  # zipfile raises whatever a broken file leads to
    raise InputError(
      f"{path}: cannot be read ({in_one_line(error)}); valid: an .npz file of "
      "features"
    ) from None
  if labels not in arrays:
    raise InputError(
      f"--labels: got {labels!r}; valid: an array of {path}: "
      f"{', '.join(arrays)}"
    )
  codes, classes = _classes(arrays[labels], arrays.get("classes"), labels)
  count = len(codes)
  sets = {
    name: values.astype(np.float64)
    for name, values in arrays.items()
    if values.ndim == 2 and values.dtype.kind == "f" and values.shape[1]
  }
  columns = {name: arrays[name] for name in (groups, "names") if name in arrays}
  for name, values in {**sets, **columns}.items():
    if len(values) != count or (name in columns and values.ndim != 1):
      raise InputError(
        f"{path}: got {name!r} of the shape {values.shape} with {count} "
        "labels; valid: a row for each label"
      )
  for name, values in sets.items():
    if np.isinf(values).any():
      raise InputError(
        f"{path}: got {name!r} with infinite values; valid: finite ones, NaN "
        "where a value is not known"
      )
  if not sets or not count:
    raise InputError(
      f"{path}: got no features; valid: a two-dimensional array of floats, a "
      "row for each image"
    )
  # Of one width, so that their order is that of the rows.
  numbers = [f"{row:0{len(str(count))}}" for row in range(count)]
  names = np.array(columns.get("names", numbers)).astype(np.str_)
  if len(np.unique(names)) < count:
    raise InputError(f"{path}: got names that repeat; valid: each once")
  return FeatureTable(
    sets=sets,
    labels=codes,
    classes=classes,
    names=names,
    groups=columns[groups].astype(np.str_) if groups in columns else None,
  )


def write(
  path: pathlib.Path,
  *,
  sets: Mapping[str, np.ndarray],
  labels: np.ndarray,
  classes: Sequence[str],
  names: np.ndarray,
  groups: np.ndarray | None,
) -> None:
  """Writes a table of features, which appears complete or not at all.

  Args:
    path: of the `.npz` file.
    sets: name -> f32[n, c].
    labels: i32[n].
    classes: names of the classes.
    names: str[n].
    groups: str[n], or None.
  """
  known = {} if groups is None else {"groups": groups}
  with atomic.writing(path) as file:
    np.savez_compressed(
      file,
      labels=labels,
      classes=np.array(classes),
      names=names,
      **known,
      **sets,
    )


def _classes(
  labels: np.ndarray, classes: np.ndarray | None, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns i32[n], indices of the classes, and their names."""
  if labels.ndim != 1 or labels.dtype.kind not in "iuU":
    raise InputError(
      f"--labels: got {name!r}, {labels.dtype} of the shape {labels.shape}; "
      "valid: one whole number or string for each image"
    )
  if labels.dtype.kind == "U":
    known, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int32), tuple(known.tolist())
  codes = labels.astype(np.int32)
  if len(codes) and codes.min() < 0:
    raise InputError(f"--labels: got {codes.min()} in {name!r}; valid: 0 on")
  count = int(codes.max(initial=-1)) + 1
  if classes is None:
    return codes, tuple(map(str, range(count)))
  if len(classes) < count:
    raise InputError(
      f"--labels: got {count - 1} with {len(classes)} classes; valid: below"
    )
  return codes, tuple(classes.astype(np.str_).tolist())
