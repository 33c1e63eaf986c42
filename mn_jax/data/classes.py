"""Which classes the parts of a split have images of, and how many."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from mn_jax.errors import InputError

_FEW = 5
_MOST_NAMED = 10
_TITLES = {"train": "training", "val": "validation", "test": "the test"}

Counts = Mapping[str, np.ndarray]


def count(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Returns i64[classes], the images of every class.

  Args:
    labels: i32[n], or u8[n, classes] where an image may have several.
    num_classes: how many there are.
  """
  if labels.ndim == 2:
    return labels.sum(0, dtype=np.int64)
  return np.bincount(labels, minlength=num_classes)


def of_row(classes: Sequence[str], labels: np.ndarray, row: int) -> str:
  """Returns the class of an image; '' where it may have several."""
  return "" if labels.ndim == 2 else classes[labels[row]]


def names_of(classes: Sequence[str], label: np.ndarray) -> str:
  """Returns the class of an image, or its labels: 'red + blue', 'no label'.

  Args:
    classes: names in the order of the labels.
    label: i32[], or u8[classes] where an image may have several.
  """
  if label.ndim == 0:
    return classes[label]
  return " + ".join(classes[i] for i in np.flatnonzero(label)) or "no label"


def notes(
  classes: Sequence[str],
  counts: Counts,
  images: Mapping[str, int] | None = None,
) -> tuple[str, ...]:
  """Returns what a reader should know of the classes, a line each.

  Args:
    classes: names in the order of the labels.
    counts: i64[classes], images of each class by part.
    images: of each part, where an image may have several labels; else None.
  """
  lines = [f"classes {line}" for line in _alike(classes)]
  train = counts["train"]
  few = np.flatnonzero((train > 0) & (train < _FEW))
  if len(few):
    lines.append(
      f"training has fewer than {_FEW} images of "
      f"{_list(f'{classes[i]} ({train[i]})' for i in few)}"
    )
  if images is not None:
    return (*lines, *_undefined(classes, counts, images))
  for part, count in counts.items():
    if not count.all():
      missing = _list(classes[i] for i in np.flatnonzero(count == 0))
      lines.append(f"{_TITLES[part]} has no image of {missing}")
    if part != "train" and (count > 0).sum() == 1:
      lines.append(
        f"{_TITLES[part]} has images of one class alone: balanced accuracy, "
        "precision, F1, MCC and AUROC are undefined there"
      )
  return tuple(lines)


def check(
  kind: str,
  classes: Sequence[str],
  counts: Counts,
  allowed: Sequence[str],
) -> None:
  """Refuses a split without an image of a class in training or the test.

  In a cross-validation the test of a fold may lack some.

  Args:
    kind: of the split.
    classes: names in the order of the labels.
    counts: i64[classes], images of each class by part.
    allowed: classes that may be missing.

  Raises:
    InputError: naming the classes.
  """
  unknown = [name for name in allowed if name not in classes]
  if unknown:
    raise InputError(
      f"data.allow_missing: got {unknown[0]!r}; valid: {_list(classes)}"
    )
  missing = {
    part: [
      classes[i]
      for i in np.flatnonzero(counts[part] == 0)
      if classes[i] not in allowed
    ]
    for part in (("train",) if kind == "kfold" else ("train", "test"))
  }
  if not any(missing.values()):
    return
  problem = " and ".join(
    f"{_TITLES[part]} without an image of {_list(map(ascii, names))}"
    for part, names in missing.items()
    if names
  )
  lacking = sorted({name for names in missing.values() for name in names})
  if kind == "fixed":
    found = [
      f"{_TITLES[part]} has {_list(_counted(classes, counts[part]))}"
      for part in ("train", "test")
    ]
    valid = "folders of the same names in both"
  else:
    total = dict(zip(classes, sum(counts.values()), strict=True))
    found = [f"in all {_list(f'{total[n]} of {n!a}' for n in lacking)}"]
    valid = "more images of them"
  raise InputError(
    f"data.split: got {kind!r}, which leaves {problem} "
    f"({'; '.join((*found, *_alike(classes)))}); valid: {valid}, or "
    f"data.allow_missing={tuple(lacking)!a}"
  )


def _undefined(
  classes: Sequence[str], counts: Counts, images: Mapping[str, int]
) -> Iterator[str]:
  """Yields a line for each part with labels that no image has, or all have."""
  for part, count in counts.items():
    lines = [
      f"{_TITLES[part]} has {what} {_list(classes[i] for i in found)}"
      for what, found in (
        ("no image of", np.flatnonzero(count == 0)),
        ("no image without", np.flatnonzero(count == images[part])),
      )
      if len(found)
    ]
    if lines and part != "train":
      lines[-1] += ": AUROC, F1 and others of it are undefined, macro means"
      lines[-1] += " leave it out"
    yield from lines


def _alike(classes: Sequence[str]) -> list[str]:
  """Returns a line for classes whose names a reader takes for the same."""
  by_key: dict[str, list[str]] = {}
  for name in classes:
    key = unicodedata.normalize("NFKC", name).casefold()
    by_key.setdefault("".join(key.split()), []).append(ascii(name))
  return [
    f"{' and '.join(names)} differ in case, white space or Unicode form alone"
    for names in by_key.values()
    if len(names) > 1
  ]


def _counted(classes: Sequence[str], counts: np.ndarray) -> list[str]:
  """Returns '30 of 'cat'' for each class that has images."""
  pairs = zip(classes, counts.tolist(), strict=True)
  return [f"{count} of {name!a}" for name, count in pairs if count]


def _list(names: Iterable[str]) -> str:
  """Joins names, of many the first."""
  names = list(names)
  shown = names[:_MOST_NAMED]
  if len(names) > len(shown):
    shown.append(f"{len(names) - len(shown)} more")
  return ", ".join(shown)
