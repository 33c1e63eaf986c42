"""Splits of a data set into training, validation and test.

A split depends on names, groups, labels and a seed alone, through SHA-256, so
it is the same on every machine and with every library version.
"""

import dataclasses
import hashlib

import numpy as np

from mn_jax.errors import InputError

PARTS = ("train", "val", "test")

# Patients of similar positive share are dealt out together, this many at once.
_STRATUM = 20


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


def make(
  kind: str,
  *,
  names: np.ndarray,
  groups: np.ndarray,
  labels: np.ndarray,
  seed: int,
  val_fraction: float,
  test_fraction: float,
  case_lists: dict[str, list[str]] | None = None,
) -> Split:
  """Splits a data set.

  Args:
    kind: 'grouped' (all images of a group in one part, groups stratified by
      the share of their images above class 0), 'fixed' (the published lists of
      groups) or 'random' (by image, groups ignored).
    names: str[n], unique.
    groups: str[n].
    labels: i32[n].
    seed: of 'grouped' and 'random'.
    val_fraction, test_fraction: shares of groups ('grouped') or images
      ('random').
    case_lists: groups of each part, for 'fixed'.

  Raises:
    InputError: if a part would be empty, there are no published lists, or a
      split by group leaks.
  """
  notes = ()
  if kind == "random":
    part_of = _deal(names, seed, val_fraction, test_fraction)
  elif kind == "grouped":
    part_of = _grouped(groups, labels, seed, val_fraction, test_fraction)
  elif kind == "fixed":
    part_of, notes = _fixed(groups, case_lists)
  else:
    raise InputError(f"data.split: got {kind!r}; valid: grouped, fixed, random")
  parts = {part: np.flatnonzero(part_of == part) for part in PARTS}
  for part, rows in parts.items():
    if not len(rows):
      raise InputError(
        f"data.split: got {kind!r}, which leaves no image for {part!r}; "
        f"valid: more images or groups than {len(names)} and "
        f"{len(set(groups))}, or other fractions"
      )
  leaked = leaks(parts, groups)
  if leaked and kind != "random":
    raise InputError(
      f"data.split: {kind!r} has {len(leaked)} groups in more than one part: "
      f"{', '.join(leaked[:5])}"
    )
  if leaked:
    notes += (
      f"{len(leaked)} of {len(set(groups))} groups are in more than one part: "
      "the numbers of a random split are inflated",
    )
  return Split(parts, _sha256(parts, names), notes)


def leaks(parts: dict[str, np.ndarray], groups: np.ndarray) -> list[str]:
  """The groups that occur in more than one part, in order."""
  seen: dict[str, str] = {}
  leaked = set()
  for part, rows in parts.items():
    for group in np.unique(groups[rows]).tolist():
      if seen.setdefault(group, part) != part:
        leaked.add(group)
  return sorted(leaked)


def _sha256(parts: dict[str, np.ndarray], names: np.ndarray) -> str:
  digest = hashlib.sha256()
  for part in PARTS:
    for name in sorted(names[parts[part]].tolist()):
      digest.update(f"{part}\t{name}\n".encode())
  return digest.hexdigest()


def _order(ids: np.ndarray, seed: int) -> np.ndarray:
  """A shuffle of rows that depends on each id and the seed alone."""
  keys = [
    hashlib.sha256(f"{seed}\t{i}".encode()).digest() for i in ids.tolist()
  ]
  return np.array(sorted(range(len(ids)), key=keys.__getitem__), np.int64)


def _deal(
  ids: np.ndarray, seed: int, val_fraction: float, test_fraction: float
) -> np.ndarray:
  """str[n]: the part of each id, in shuffled order: test, val, train."""
  order = _order(ids, seed)
  num_test = round(test_fraction * len(ids))
  num_val = round((test_fraction + val_fraction) * len(ids)) - num_test
  part_of = np.full(len(ids), "train", dtype="<U5")
  part_of[order[:num_test]] = "test"
  part_of[order[num_test : num_test + num_val]] = "val"
  return part_of


def _grouped(
  groups: np.ndarray,
  labels: np.ndarray,
  seed: int,
  val_fraction: float,
  test_fraction: float,
) -> np.ndarray:
  ids, group_of = np.unique(groups, return_inverse=True)
  share = np.bincount(group_of, labels > 0) / np.bincount(group_of)
  # Equal shares are ordered by the seed, so that strata differ between seeds.
  tie = np.empty(len(ids), np.int64)
  tie[_order(ids, seed)] = np.arange(len(ids))
  by_share = np.lexsort((tie, share))
  part_of = np.empty(len(ids), dtype="<U5")
  # The last stratum takes the remainder rather than be a small one.
  num_strata = max(1, len(ids) // _STRATUM)
  for stratum in np.array_split(by_share, num_strata):
    part_of[stratum] = _deal(ids[stratum], seed, val_fraction, test_fraction)
  return part_of[group_of]


def _fixed(
  groups: np.ndarray, case_lists: dict[str, list[str]] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
  if case_lists is None:
    raise InputError(
      "data.split: got 'fixed', but this data set has no published lists; "
      "valid: grouped, random"
    )
  part_of = np.full(len(groups), "", dtype="<U5")
  notes = []
  present = set(groups.tolist())
  for part, listed in case_lists.items():
    part_of[np.isin(groups, listed)] = part
    missing = [case for case in listed if case not in present]
    if missing:
      notes.append(
        f"{len(missing)} of {len(listed)} published {part} groups are not in "
        f"the data: {', '.join(missing)}"
      )
  unlisted = len(present) - len(set(groups[part_of != ""].tolist()))
  if unlisted:
    notes.append(f"{unlisted} groups are in no published list and not used")
  return part_of, tuple(notes)
