"""Dealing rows or groups out at random, in proportion to their classes.

What is dealt depends on ids and a seed alone, through SHA-256, so it is the
same on every machine and with every library version.
"""

import hashlib

import numpy as np

from mn_jax.errors import InputError

# Groups of similar positive share are dealt out together, at least so many at
# once unless there are fewer.
_STRATUM = 20


def order(ids: np.ndarray, seed: int) -> np.ndarray:
  """i64[n]: a shuffle of rows that depends on each id and the seed alone."""
  keys = [
    hashlib.sha256(f"{seed}\t{i}".encode()).digest() for i in ids.tolist()
  ]
  return np.array(sorted(range(len(ids)), key=keys.__getitem__), np.int64)


def deal(
  ids: np.ndarray,
  strata: list[np.ndarray],
  seed: int,
  shares: dict[str, float],
) -> dict[str, np.ndarray]:
  """Deals each stratum out to the parts at random.

  What a stratum gives is the step of the rounded running total, so that the
  rounding does not add up over strata.

  Args:
    ids: str[n], unique.
    strata: positions in `ids`.
    seed: of the order.
    shares: part -> its share; what is left is 'train'.

  Returns:
    i64[n] positions in `ids` of 'train' and of each part of `shares`, rising.
  """
  dealt = {part: [] for part in ("train", *shares)}
  start = 0
  for stratum in strata:
    stop = start + len(stratum)
    shuffled = stratum[order(ids[stratum], seed)]
    for part, share in shares.items():
      count = round(share * stop) - round(share * start)
      some, shuffled = np.split(shuffled, [count])
      dealt[part].append(some)
    dealt["train"].append(shuffled)
    start = stop
  return {part: np.sort(np.concatenate(some)) for part, some in dealt.items()}


def by_class(labels: np.ndarray) -> list[np.ndarray]:
  """The positions of each class that occurs."""
  return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def by_share(
  groups: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
  """Groups in strata of similar share of images above class 0.

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
  tie[order(ids, seed)] = np.arange(len(ids))
  strata = np.array_split(
    np.lexsort((tie, share)), max(1, len(ids) // _STRATUM)
  )
  return ids, group_of, strata


def folds_by_class(
  names: np.ndarray, labels: np.ndarray, seed: int, count: int
) -> np.ndarray:
  """i64[n]: the fold of each row, every class in proportion.

  Args:
    names: str[n], unique.
    labels: i32[n].
    seed: of the order.
    count: number of folds.
  """
  fold = np.empty(len(names), np.int64)
  dealt = 0
  for stratum in by_class(labels):
    shuffled = stratum[order(names[stratum], seed)]
    # Every class begins where the last one ended, so that sizes differ by one.
    fold[shuffled] = (dealt + np.arange(len(stratum))) % count
    dealt += len(stratum)
  return fold


def folds_by_group(
  groups: np.ndarray, labels: np.ndarray, seed: int, count: int
) -> np.ndarray:
  """i64[n]: the fold of each row, groups whole and classes in proportion.

  The largest groups come first, each goes where it leaves the folds' shares of
  every class most even.

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
  shuffled = order(ids, seed)
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
