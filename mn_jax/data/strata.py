"""Strata of rows or groups, and random assignment of them to parts or folds.

An assignment depends on ids and a seed alone, through SHA-256, so it is the
same on every machine and with every library version.
"""

import hashlib

import numpy as np

from mn_jax.errors import InputError

# At least so many groups of similar positive share form a stratum, unless there
# are fewer.
_MIN_GROUPS = 20


def shuffle(ids: np.ndarray, seed: int) -> np.ndarray:
  """Returns i64[n], a shuffle that depends on each id and the seed alone."""
  keys = [
    hashlib.sha256(f"{seed}\t{i}".encode()).digest() for i in ids.tolist()
  ]
  return np.array(sorted(range(len(ids)), key=keys.__getitem__), np.int64)


def rarest(labels: np.ndarray) -> np.ndarray:
  """Returns i32[n], by which images with several labels are stratified.

  It is 1 + the index of the label of an image that the fewest images have, the
  first of several such; 0 for an image without any label.

  Args:
    labels: u8[n, classes], 0 or 1.
  """
  counts = labels.sum(0, dtype=np.int64)
  order = np.argsort(counts, kind="stable")
  first = labels[:, order].argmax(1)
  return np.where(labels.any(1), order[first] + 1, 0).astype(np.int32)


def class_strata(labels: np.ndarray) -> list[np.ndarray]:
  """Returns the positions of each class that occurs in i32[n] labels."""
  return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def group_strata(
  groups: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
  """Puts groups in strata of similar share of images above class 0.

  Args:
    groups: str[n].
    labels: i32[n].
    seed: decides the order of equal shares, so that strata differ by seed.

  Returns:
    str[g] the groups, i64[n] the group of each row, and strata of positions in
    the first.
  """
  ids, group_of = np.unique(groups, return_inverse=True)
  share = np.bincount(group_of, labels > 0) / np.bincount(group_of)
  tie = np.empty(len(ids), np.int64)
  tie[shuffle(ids, seed)] = np.arange(len(ids))
  strata = np.array_split(
    np.lexsort((tie, share)), max(1, len(ids) // _MIN_GROUPS)
  )
  return ids, group_of, strata


def assign_parts(
  ids: np.ndarray,
  strata: list[np.ndarray],
  seed: int,
  shares: dict[str, float],
) -> dict[str, np.ndarray]:
  """Assigns the members of each stratum to parts at random.

  What a stratum gives is the step of the rounded running total, so that the
  rounding does not add up over strata.

  Args:
    ids: str[n], unique.
    strata: positions in `ids`.
    seed: of the shuffle.
    shares: part -> its share; the rest is 'train'.

  Returns:
    i64[n] positions in `ids` of 'train' and of each part of `shares`, rising.
  """
  positions = {part: [] for part in ("train", *shares)}
  start = 0
  for stratum in strata:
    stop = start + len(stratum)
    rest = stratum[shuffle(ids[stratum], seed)]
    for part, share in shares.items():
      count = round(share * stop) - round(share * start)
      chosen, rest = np.split(rest, [count])
      positions[part].append(chosen)
    positions["train"].append(rest)
    start = stop
  return {
    part: np.sort(np.concatenate(arrays)) for part, arrays in positions.items()
  }


def class_folds(
  names: np.ndarray, labels: np.ndarray, seed: int, count: int
) -> np.ndarray:
  """Returns i64[n], the fold of each row, with every class in proportion.

  Args:
    names: str[n], unique.
    labels: i32[n].
    seed: of the shuffle.
    count: number of folds.
  """
  fold = np.empty(len(names), np.int64)
  assigned = 0
  for stratum in class_strata(labels):
    shuffled = stratum[shuffle(names[stratum], seed)]
    # Every class starts where the last one ended, so that sizes differ by one.
    fold[shuffled] = (assigned + np.arange(len(stratum))) % count
    assigned += len(stratum)
  return fold


def group_folds(
  groups: np.ndarray, labels: np.ndarray, seed: int, count: int
) -> np.ndarray:
  """Returns i64[n], the fold of each row: groups whole, classes in proportion.

  Groups are assigned from the largest down, each to the fold that leaves the
  folds' shares of every class most even.

  Args:
    groups: str[n].
    labels: i32[n].
    seed: decides among groups of one size, and so much of the rest.
    count: number of folds; 0: one for each group, in the order of their names.

  Raises:
    InputError: for more folds than groups.
  """
  ids, group_of = np.unique(groups, return_inverse=True)
  if count == 0:
    return group_of
  if count > len(ids):
    raise InputError(
      f"data.folds: got {count} for {len(ids)} groups; valid: 2 to {len(ids)}, "
      "or 0 for one fold per group"
    )
  shares = np.zeros((len(ids), labels.max() + 1))
  np.add.at(shares, (group_of, labels), 1)
  sizes = shares.sum(1)
  shares /= np.maximum(shares.sum(0), 1)
  shuffled = shuffle(ids, seed)
  largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
  filled = np.zeros((count, shares.shape[1]))
  images = np.zeros(count)
  fold = np.empty(len(ids), np.int64)
  for group in largest_first:
    # Of the sum of squares only this group's fold changes.
    added = (2 * filled + shares[group]) @ shares[group]
    # Rounded: equal to the last bit on every machine.
    best = np.lexsort((images, np.round(added, 12)))[0]
    fold[group] = best
    filled[best] += shares[group]
    images[best] += sizes[group]
  return fold[group_of]
