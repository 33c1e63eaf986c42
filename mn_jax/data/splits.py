"""Splits of a data set into training, validation and test.

A split depends on names, groups, labels, published parts and a seed alone, so
it is the same on every machine and with every library version.
"""

import dataclasses
import hashlib

import numpy as np

from mn_jax.data import strata
from mn_jax.data.datasets.listing import PARTS
from mn_jax.errors import InputError

# Of a split by group whose parts miss classes; seeds of a user lie in between.
_ATTEMPTS = 100
_BETWEEN_SEEDS = 1 << 32

KINDS = ("grouped", "fixed", "stratified", "random", "kfold")


@dataclasses.dataclass(frozen=True)
class ImageTable:
  """What a split depends on, a row for each image.

  Attributes:
    names: str[n], unique.
    groups: str[n], what belongs together; unique where nothing is known.
    labels: i32[n], classes; `strata.rarest` where an image may have several.
    parts: str[n], the publisher's part, or '' for none.
  """

  names: np.ndarray
  groups: np.ndarray
  labels: np.ndarray
  parts: np.ndarray

  def __len__(self) -> int:
    return len(self.names)

  def has_groups(self) -> bool:
    """Returns whether any two images are known to belong together."""
    return len(np.unique(self.groups)) < len(self) or len(self) == 1

  def take(self, rows: np.ndarray) -> "ImageTable":
    """Returns the table of some rows, i64[m]."""
    columns = (self.names, self.groups, self.labels, self.parts)
    return ImageTable(*(column[rows] for column in columns))


@dataclasses.dataclass(frozen=True)
class Rule:
  """How to split.

  Attributes:
    kind: 'grouped' (all images of a group in one part, groups stratified by
      the share of their images above class 0; where that leaves a part without
      images of a class, other seeds are tried), 'fixed' (the publisher's parts;
      a missing validation part is taken from training, per group where groups
      are known), 'stratified' (per image, groups ignored, every class in
      proportion), 'random' (per image, groups and classes ignored) or 'kfold'
      (one of several disjoint tests, per group where groups are known, classes
      in proportion).
    seed: of every random choice.
    val_fraction, test_fraction: shares of groups, or of images where groups are
      unknown or ignored.
    folds: of 'kfold'; 0: one per group.
    fold: of 'kfold', which of them is the test.
    train_fraction: share of the training part that is used, chosen per group
      unless groups are ignored; a smaller share is part of a larger one.
    shared_groups: of 'fixed', 'keep' or 'drop' images of the training and
      validation part whose group is in the test part too.
    classes: only images of the first so many classes; 0: of all.
  """

  kind: str
  seed: int = 0
  val_fraction: float = 0.15
  test_fraction: float = 0.2
  folds: int = 5
  fold: int = 0
  train_fraction: float = 1.0
  shared_groups: str = "keep"
  classes: int = 0


@dataclasses.dataclass(frozen=True)
class Split:
  """Row numbers of each part.

  Attributes:
    parts: i64[n] of 'train', 'val' and 'test', rising; or of 'new' alone.
    sha256: of the lists of names.
    notes: what a reader should know, one line each.
  """

  parts: dict[str, np.ndarray]
  sha256: str
  notes: tuple[str, ...] = ()


def make(rule: Rule, table: ImageTable) -> Split:
  """Splits the images of a data set into training, validation and test.

  Raises:
    InputError: if a part would be empty, there are no groups or published
      parts to go by, or a split by group leaks.
  """
  names = table.names
  chosen = np.arange(len(table))
  if rule.classes:
    chosen = np.flatnonzero(table.labels < rule.classes)
    table = table.take(chosen)
  parts, notes = _make(rule, table)
  if rule.train_fraction < 1 and len(parts["train"]):
    parts["train"] = _thin(rule, table, parts["train"])
  for part, rows in parts.items():
    if not len(rows):
      raise InputError(
        f"data.split: got {rule.kind!r}, which leaves no image for {part!r}; "
        f"valid: more images or groups than {len(table)} and "
        f"{len(set(table.groups))}, or other fractions"
      )
  leaked = leaks(parts, table.groups)
  if leaked and rule.kind in ("grouped", "kfold") and table.has_groups():
    raise InputError(
      f"data.split: got {rule.kind!r}, which has {len(leaked)} groups in more "
      f"than one part: {', '.join(leaked[:5])}; valid: each in one"
    )
  if leaked and rule.kind == "fixed":
    notes += (
      f"{len(leaked)} of {len(set(table.groups))} groups are in more than one "
      "published part; data.shared_groups=drop leaves them out of training",
    )
  elif leaked:
    notes += (
      f"{len(leaked)} of {len(set(table.groups))} groups are in more than one "
      f"part: the numbers of a {rule.kind} split are inflated",
    )
  parts = {part: chosen[parts[part]] for part in PARTS}
  return Split(parts, _sha256(parts, names), notes)


def whole(names: np.ndarray) -> Split:
  """Returns all images, str[n] names, as one part called 'new'."""
  parts = {"new": np.arange(len(names))}
  return Split(parts, _sha256(parts, names))


def leaks(parts: dict[str, np.ndarray], groups: np.ndarray) -> list[str]:
  """Returns the groups that occur in more than one part, in order."""
  groups_of_parts = [np.unique(groups[rows]) for rows in parts.values()]
  names, counts = np.unique(np.concatenate(groups_of_parts), return_counts=True)
  return names[counts > 1].tolist()


def _make(
  rule: Rule, table: ImageTable
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Returns the parts, and notes."""
  shares = {"test": rule.test_fraction, "val": rule.val_fraction}
  rows = np.arange(len(table))
  match rule.kind:
    case "random":
      return strata.assign_parts(table.names, [rows], rule.seed, shares), ()
    case "stratified":
      return _assign(table, rows, rule.seed, shares, by_group=False), ()
    case "grouped":
      if not table.has_groups():
        raise InputError(
          f"data.split: got 'grouped', but each of the {len(table)} images is "
          "a group of its own; valid: stratified, random, kfold"
        )
      return _grouped(rule, table, shares)
    case "fixed":
      return _fixed(rule, table)
    case "kfold":
      return _kfold(rule, table), ()
  raise InputError(f"data.split: got {rule.kind!r}; valid: {', '.join(KINDS)}")


def _assign(
  table: ImageTable,
  rows: np.ndarray,
  seed: int,
  shares: dict[str, float],
  *,
  by_group: bool,
) -> dict[str, np.ndarray]:
  """Splits some rows, i64[m], per group or with every class in proportion."""
  ids, id_of_row, members = _stratify(table, rows, seed, by_group=by_group)
  parts = strata.assign_parts(ids, members, seed, shares)
  return {
    part: rows[np.isin(id_of_row, chosen)] for part, chosen in parts.items()
  }


def _stratify(
  table: ImageTable, rows: np.ndarray, seed: int, *, by_group: bool
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
  """Returns groups or names, the one of each row, and strata of them."""
  labels = table.labels[rows]
  if by_group:
    return strata.group_strata(table.groups[rows], labels, seed)
  return table.names[rows], np.arange(len(rows)), strata.class_strata(labels)


def _draw_validation(
  rule: Rule, table: ImageTable, rows: np.ndarray
) -> dict[str, np.ndarray]:
  """Splits rows, i64[m], in 'train' and 'val', per group where known."""
  shares = {"val": rule.val_fraction}
  by_group = table.has_groups()
  return _assign(table, rows, rule.seed, shares, by_group=by_group)


def _grouped(
  rule: Rule, table: ImageTable, shares: dict[str, float]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Splits by group; of few groups until parts have images of all classes.

  Strata of few groups are coarse, and a part may miss a class. Then further
  seeds are tried, and the first that leaves the fewest such parts is taken.
  """
  _, group_of = np.unique(table.groups, return_inverse=True)
  pairs = np.unique(np.stack([table.labels, group_of], 1), axis=0)
  groups_of_class = np.unique(pairs[:, 0], return_counts=True)[1]
  possible = np.minimum(groups_of_class, len(PARTS)).sum()
  best, most, chosen = {}, -1, 0
  for attempt in range(_ATTEMPTS):
    seed = rule.seed + attempt * _BETWEEN_SEEDS
    rows = np.arange(len(table))
    parts = _assign(table, rows, seed, shares, by_group=True)
    count = sum(len(np.unique(table.labels[rows])) for rows in parts.values())
    if count > most:
      best, most, chosen = parts, count, attempt
    if most == possible:
      break
  if not chosen:
    return best, ()
  return best, (
    f"groups are few: the random split is the first of {chosen + 1} whose "
    "parts have images of as many classes as possible",
  )


def _fixed(
  rule: Rule, table: ImageTable
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  parts = {part: np.flatnonzero(table.parts == part) for part in PARTS}
  if not len(parts["test"]):
    raise InputError(
      "data.split: got 'fixed', but no test part is published for this data "
      "set; valid: a folder called test, or grouped where groups are known, "
      "stratified, random, kfold"
    )
  notes = []
  unlisted = table.groups[table.parts == ""]
  if len(unlisted):
    notes.append(
      f"{len(set(unlisted))} groups are in no published part and not used"
    )
  if rule.shared_groups == "drop":
    tested = np.unique(table.groups[parts["test"]])
    for part in ("train", "val"):
      shared = np.isin(table.groups[parts[part]], tested)
      if shared.any():
        notes.append(
          f"{shared.sum()} {part} images are left out: their groups are in "
          "the test"
        )
      parts[part] = parts[part][~shared]
  if not len(parts["val"]) and len(parts["train"]):
    parts |= _draw_validation(rule, table, parts["train"])
  return parts, tuple(notes)


def _kfold(rule: Rule, table: ImageTable) -> dict[str, np.ndarray]:
  if table.has_groups():
    fold = strata.group_folds(table.groups, table.labels, rule.seed, rule.folds)
  elif rule.folds:
    fold = strata.class_folds(table.names, table.labels, rule.seed, rule.folds)
  else:
    raise InputError(
      "data.folds: got 0, one fold per group, but each image is a group of its "
      "own; valid: 2 or more"
    )
  count = fold.max() + 1
  if rule.fold >= count:
    raise InputError(f"data.fold: got {rule.fold}; valid: 0 to {count - 1}")
  rest = np.flatnonzero(fold != rule.fold)
  parts = _draw_validation(rule, table, rest)
  return {**parts, "test": np.flatnonzero(fold == rule.fold)}


def _thin(rule: Rule, table: ImageTable, rows: np.ndarray) -> np.ndarray:
  """Returns a share of the training rows; smaller ones are part of larger."""
  by_group = rule.kind not in ("stratified", "random") and table.has_groups()
  ids, id_of_row, members = _stratify(table, rows, rule.seed, by_group=by_group)
  chosen = []
  for stratum in members:
    count = max(1, round(rule.train_fraction * len(stratum)))
    chosen.append(stratum[strata.shuffle(ids[stratum], rule.seed)][:count])
  return rows[np.isin(id_of_row, np.concatenate(chosen))]


def _sha256(parts: dict[str, np.ndarray], names: np.ndarray) -> str:
  digest = hashlib.sha256()
  for part, rows in parts.items():
    for name in sorted(names[rows].tolist()):
      digest.update(f"{part}\t{name}\n".encode())
  return digest.hexdigest()
