"""Splits of a data set into training, validation and test.

A split depends on names, groups, labels, published parts and a seed alone, so
it is the same on every machine and with every library version.
"""

import dataclasses
import hashlib

import numpy as np

from mn_jax.data import dealing
from mn_jax.data.datasets.listing import PARTS
from mn_jax.errors import InputError

KINDS = ("grouped", "fixed", "stratified", "random", "kfold")


@dataclasses.dataclass(frozen=True)
class Table:
  """What a split goes by, a row for each image.

  Attributes:
    names: str[n], unique.
    groups: str[n], what belongs together; each its own where nothing is known.
    labels: i32[n].
    parts: str[n], the publisher's part, or '' for none.
  """

  names: np.ndarray
  groups: np.ndarray
  labels: np.ndarray
  parts: np.ndarray

  def __len__(self) -> int:
    return len(self.names)

  def has_groups(self) -> bool:
    """Whether any two images are known to belong together."""
    return len(np.unique(self.groups)) < len(self) or len(self) == 1

  def take(self, rows: np.ndarray) -> "Table":
    """The table of some rows, i64[m]."""
    return Table(
      **{
        field.name: getattr(self, field.name)[rows]
        for field in dataclasses.fields(self)
      }
    )


@dataclasses.dataclass(frozen=True)
class Rule:
  """How to split.

  Attributes:
    kind: 'grouped' (all images of a group in one part, groups stratified by
      the share of their images above class 0), 'fixed' (the publisher's parts;
      where there is no validation it is drawn from training, by group where
      groups are known), 'stratified' (by image, groups ignored, every class in
      proportion), 'random' (by image, groups and classes ignored) or 'kfold'
      (one of several disjoint tests, by group where groups are known, classes
      in proportion).
    seed: of everything that is drawn.
    val_fraction, test_fraction: shares of groups, or of images where no group
      is known or heeded.
    folds: of 'kfold'; 0: one per group.
    fold: of 'kfold', which of them is the test.
    train_fraction: share of the training part that is used, drawn by group
      where the split heeds groups; a smaller share is part of a larger one.
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
    parts: i64[n] of 'train', 'val' and 'test', rising.
    sha256: of the lists of names.
    notes: what a reader should know, one line each.
  """

  parts: dict[str, np.ndarray]
  sha256: str
  notes: tuple[str, ...] = ()


def make(rule: Rule, table: Table) -> Split:
  """Splits a data set.

  Raises:
    InputError: if a part would be empty, there are no groups or published
      parts to go by, or a split by group leaks.
  """
  chosen = np.arange(len(table))
  if rule.classes:
    chosen = np.flatnonzero(table.labels < rule.classes)
  whole, table = table, table.take(chosen)
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
  return Split(parts, _sha256(parts, whole.names), notes)


def leaks(parts: dict[str, np.ndarray], groups: np.ndarray) -> list[str]:
  """The groups that occur in more than one part, in order."""
  seen: dict[str, str] = {}
  leaked = set()
  for part, rows in parts.items():
    for group in np.unique(groups[rows]).tolist():
      if seen.setdefault(group, part) != part:
        leaked.add(group)
  return sorted(leaked)


def _make(
  rule: Rule, table: Table
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """The parts, and notes."""
  shares = {"test": rule.test_fraction, "val": rule.val_fraction}
  everything = np.arange(len(table))
  if rule.kind == "random":
    return dealing.deal(table.names, [everything], rule.seed, shares), ()
  if rule.kind == "stratified":
    return _by_class(table, everything, rule.seed, shares), ()
  if rule.kind == "grouped":
    if not table.has_groups():
      raise InputError(
        f"data.split: got 'grouped', but each of the {len(table)} images is a "
        "group of its own; valid: stratified, random, kfold"
      )
    return _by_group(table, everything, rule.seed, shares), ()
  if rule.kind == "fixed":
    return _fixed(rule, table)
  if rule.kind == "kfold":
    return _kfold(rule, table), ()
  raise InputError(f"data.split: got {rule.kind!r}; valid: {', '.join(KINDS)}")


def _by_class(
  table: Table, rows: np.ndarray, seed: int, shares: dict[str, float]
) -> dict[str, np.ndarray]:
  """Some rows, i64[m], dealt out by image."""
  dealt = dealing.deal(
    table.names[rows], dealing.by_class(table.labels[rows]), seed, shares
  )
  return {part: rows[some] for part, some in dealt.items()}


def _by_group(
  table: Table, rows: np.ndarray, seed: int, shares: dict[str, float]
) -> dict[str, np.ndarray]:
  """Some rows, i64[m], dealt out by group."""
  ids, group_of, strata = dealing.by_share(
    table.groups[rows], table.labels[rows], seed
  )
  dealt = dealing.deal(ids, strata, seed, shares)
  return {
    part: rows[np.isin(group_of, chosen)] for part, chosen in dealt.items()
  }


def _draw(
  table: Table, rows: np.ndarray, seed: int, shares: dict[str, float]
) -> dict[str, np.ndarray]:
  """Some rows, i64[m], dealt out by group where groups are known."""
  deal = _by_group if table.has_groups() else _by_class
  return deal(table, rows, seed, shares)


def _fixed(
  rule: Rule, table: Table
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  parts = {part: np.flatnonzero(table.parts == part) for part in PARTS}
  if not len(parts["test"]):
    raise InputError(
      "data.split: got 'fixed', but no test part is published for this data "
      "set; valid: grouped where groups are known, stratified, random, kfold"
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
    shares = {"val": rule.val_fraction}
    parts |= _draw(table, parts["train"], rule.seed, shares)
  return parts, tuple(notes)


def _kfold(rule: Rule, table: Table) -> dict[str, np.ndarray]:
  if table.has_groups():
    fold = dealing.folds_by_group(
      table.groups, table.labels, rule.seed, rule.folds
    )
  elif rule.folds:
    fold = dealing.folds_by_class(
      table.names, table.labels, rule.seed, rule.folds
    )
  else:
    raise InputError(
      "data.folds: got 0, one fold per group, but each image is a group of its "
      "own; valid: 2 or more"
    )
  count = fold.max() + 1
  if rule.fold >= count:
    raise InputError(f"data.fold: got {rule.fold}; valid: 0 to {count - 1}")
  rest = np.flatnonzero(fold != rule.fold)
  parts = _draw(table, rest, rule.seed, {"val": rule.val_fraction})
  return {**parts, "test": np.flatnonzero(fold == rule.fold)}


def _thin(rule: Rule, table: Table, rows: np.ndarray) -> np.ndarray:
  """A share of the training rows, so that smaller ones are part of larger."""
  labels = table.labels[rows]
  if rule.kind not in ("stratified", "random") and table.has_groups():
    ids, group_of, strata = dealing.by_share(
      table.groups[rows], labels, rule.seed
    )
  else:
    ids, group_of = table.names[rows], np.arange(len(rows))
    strata = dealing.by_class(labels)
  kept = []
  for stratum in strata:
    count = max(1, round(rule.train_fraction * len(stratum)))
    kept.append(stratum[dealing.order(ids[stratum], rule.seed)][:count])
  return rows[np.isin(group_of, np.concatenate(kept))]


def _sha256(parts: dict[str, np.ndarray], names: np.ndarray) -> str:
  digest = hashlib.sha256()
  for part in PARTS:
    for name in sorted(names[parts[part]].tolist()):
      digest.update(f"{part}\t{name}\n".encode())
  return digest.hexdigest()
