"""Splits of a data set into training, validation and test.

A split depends on names, groups, labels and a seed alone, through SHA-256, so
it is the same on every machine and with every library version.
"""

import dataclasses
import hashlib

import numpy as np

from mn_jax.errors import InputError

PARTS = ("train", "val", "test")

# Groups of similar positive share are dealt out together, at least so many at
# once unless there are fewer.
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
      groups), 'stratified' (by image, groups ignored, every class in
      proportion) or 'random' (by image, groups and classes ignored).
    names: str[n], unique.
    groups: str[n].
    labels: i32[n].
    seed: of all kinds but 'fixed'.
    val_fraction, test_fraction: shares of groups ('grouped') or images
      ('stratified', 'random').
    case_lists: groups of each part, for 'fixed'.

  Raises:
    InputError: if a part would be empty, there are no groups or published
      lists to go by, or a split by group leaks.
  """
  notes = ()
  if kind == "random":
    everything = np.arange(len(names))
    parts = _deal(names, [everything], seed, val_fraction, test_fraction)
  elif kind == "stratified":
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    parts = _deal(names, classes, seed, val_fraction, test_fraction)
  elif kind == "grouped":
    parts = _grouped(groups, labels, seed, val_fraction, test_fraction)
  elif kind == "fixed":
    parts, notes = _fixed(groups, case_lists)
  else:
    raise InputError(
      f"data.split: got {kind!r}; valid: grouped, fixed, stratified, random"
    )
  for part, rows in parts.items():
    if not len(rows):
      raise InputError(
        f"data.split: got {kind!r}, which leaves no image for {part!r}; "
        f"valid: more images or groups than {len(names)} and "
        f"{len(set(groups))}, or other fractions"
      )
  leaked = leaks(parts, groups)
  if leaked and kind in ("grouped", "fixed"):
    raise InputError(
      f"data.split: got {kind!r}, which has {len(leaked)} groups in more than "
      f"one part: {', '.join(leaked[:5])}; valid: each in one"
    )
  if leaked:
    notes += (
      f"{len(leaked)} of {len(set(groups))} groups are in more than one part: "
      f"the numbers of a {kind} split are inflated",
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
  ids: np.ndarray,
  strata: list[np.ndarray],
  seed: int,
  val_fraction: float,
  test_fraction: float,
) -> dict[str, np.ndarray]:
  """Deals each stratum, positions in `ids`, out to the parts at random.

  What a stratum gives is the step of the rounded running total, so that the
  rounding does not add up over strata.
  """
  dealt = {part: [] for part in PARTS}
  start = 0
  for stratum in strata:
    stop = start + len(stratum)
    shuffled = stratum[_order(ids[stratum], seed)]
    num_test = round(test_fraction * stop) - round(test_fraction * start)
    num_val = round(val_fraction * stop) - round(val_fraction * start)
    test, val, train = np.split(shuffled, [num_test, num_test + num_val])
    for part, some in (("train", train), ("val", val), ("test", test)):
      dealt[part].append(some)
    start = stop
  return {part: np.sort(np.concatenate(some)) for part, some in dealt.items()}


def _grouped(
  groups: np.ndarray,
  labels: np.ndarray,
  seed: int,
  val_fraction: float,
  test_fraction: float,
) -> dict[str, np.ndarray]:
  ids, group_of = np.unique(groups, return_inverse=True)
  if len(ids) == len(groups) > 1:
    raise InputError(
      f"data.split: got 'grouped', but each of the {len(ids)} images is a "
      "group of its own; valid: stratified, random"
    )
  share = np.bincount(group_of, labels > 0) / np.bincount(group_of)
  # Equal shares are ordered by the seed, so that strata differ between seeds.
  tie = np.empty(len(ids), np.int64)
  tie[_order(ids, seed)] = np.arange(len(ids))
  by_share = np.lexsort((tie, share))
  strata = np.array_split(by_share, max(1, len(ids) // _STRATUM))
  dealt = _deal(ids, strata, seed, val_fraction, test_fraction)
  return {
    part: np.flatnonzero(np.isin(group_of, chosen))
    for part, chosen in dealt.items()
  }


def _fixed(
  groups: np.ndarray, case_lists: dict[str, list[str]] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  if case_lists is None:
    raise InputError(
      "data.split: got 'fixed', but this data set has no published lists; "
      "valid: grouped where groups are known, stratified, random"
    )
  parts, notes = {}, []
  present = set(groups.tolist())
  for part, listed in case_lists.items():
    parts[part] = np.flatnonzero(np.isin(groups, listed))
    missing = [case for case in listed if case not in present]
    if missing:
      notes.append(
        f"{len(missing)} of {len(listed)} published {part} groups are not in "
        f"the data: {', '.join(missing)}"
      )
  unlisted = present.difference(*case_lists.values())
  if unlisted:
    notes.append(
      f"{len(unlisted)} groups are in no published list and not used"
    )
  return parts, tuple(notes)
