"""Tables of images to split, and what holds for any split of them."""

import dataclasses

import numpy as np

from mn_jax.data import splits
from mn_jax.data.datasets.listing import PARTS


def table(groups: int, classes: int = 2, seed: int = 0) -> splits.ImageTable:
  """Groups of different sizes, each with its own share of every class.

  Args:
    groups: number of groups, 'g000' and so on.
    classes: number of classes.
    seed: of sizes and labels.
  """
  rng = np.random.default_rng(seed)
  sizes = rng.integers(4, 40, groups)
  ids = np.repeat([f"g{i:03}" for i in range(groups)], sizes)
  odds = rng.dirichlet(np.ones(classes), groups)
  labels = np.concatenate(
    [
      rng.choice(classes, size, p=p)
      for size, p in zip(sizes, odds, strict=True)
    ]
  )
  return of_groups(ids, labels)


def of_groups(groups: np.ndarray, labels: np.ndarray) -> splits.ImageTable:
  """A table of str[n] groups and i[n] labels without published parts."""
  names = np.array([f"{group}_{i}" for i, group in enumerate(groups)])
  parts = np.full(len(names), "", "U5")
  return splits.ImageTable(names, groups, labels.astype(np.int32), parts)


def of_classes(*counts: int) -> splits.ImageTable:
  """Images without groups, so many of each class, in no order."""
  labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
  labels = np.random.default_rng(0).permutation(labels)
  names = np.array([f"n{i}" for i in range(len(labels))])
  return splits.ImageTable(names, names, labels, np.full(len(names), ""))


def ungrouped(images: splits.ImageTable) -> splits.ImageTable:
  """The same images, each a group of its own."""
  return dataclasses.replace(images, groups=images.names)


def make(kind: str, images: splits.ImageTable, **options) -> splits.Split:
  """A split of a kind."""
  return splits.make(splits.Rule(kind, **options), images)


def assert_partition(split: splits.Split, count: int) -> None:
  """Every row is in one part, in order."""
  rows = np.concatenate([split.parts[part] for part in PARTS])
  np.testing.assert_array_equal(np.sort(rows), np.arange(count))
  for rows in split.parts.values():
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
