"""Loads the packed images of a data set and splits them, as a config says."""

import dataclasses

import numpy as np

from mn_jax.config.sections.data import DataConfig
from mn_jax.data import cache, packing, splits, store
from mn_jax.data.datasets import registry
from mn_jax.data.datasets.spec import DatasetSpec
from mn_jax.errors import InputError
from mn_jax.metrics.predictions import NamedPredictions, Predictions


@dataclasses.dataclass(frozen=True)
class SplitData:
  """A data set that is packed and split.

  Attributes:
    spec: description of the data set.
    cache: all its images.
    classes: names of the classes that are used, in the order of the labels.
    split: rows of the parts.
  """

  spec: DatasetSpec
  cache: cache.PackedCache
  classes: tuple[str, ...]
  split: splits.Split

  def part(self, name: str) -> np.ndarray:
    """Returns i64[n], the rows of a part: 'train', 'val' or 'test'."""
    return self.split.parts[name]

  def spread(self, part: str, *, batches: int, batch_size: int) -> np.ndarray:
    """Returns i64[batches, batch_size], rows spread evenly over a part.

    Neighbours in the list of images are often of one group and class; here
    every batch is spread over the whole part.
    """
    rows = self.part(part)
    places = np.linspace(0, len(rows) - 1, batches * batch_size).round()
    return rows[places.astype(int)].reshape(batch_size, batches).T

  def digests(self) -> dict[str, str]:
    """Returns the SHA-256 of the split and of the images."""
    return {"split": self.split.sha256, "images": self.cache.sha256}

  def groups(self, name: str) -> list[str]:
    """Returns the groups of a part, in order."""
    return np.unique(self.cache.groups[self.part(name)]).tolist()

  def named_predictions(self, predictions: Predictions) -> NamedPredictions:
    """Returns predictions with the names and groups of their images."""
    rows = predictions.ids
    known = self.spec.group is not None
    return NamedPredictions(
      predictions=predictions,
      names=self.cache.names[rows],
      groups=self.cache.groups[rows] if known else None,
      classes=self.classes,
      positive=self.spec.positive,
    )


def load_packed(
  section: DataConfig, progress: packing.Progress
) -> cache.PackedCache:
  """Loads a data set without splitting it; decodes it on the first call.

  Args:
    section: which data.
    progress: called while images are decoded.

  Raises:
    InputError: for data that cannot be used.
  """
  return store.load(
    section.name,
    path=section.path,
    root=store.cache_root(section.cache_dir),
    options=packing.PackOptions(
      section.image_size,
      section.other_sizes,
      section.max_unreadable,
      section.bits,
    ),
    progress=progress,
  )


def load(section: DataConfig, progress: packing.Progress) -> SplitData:
  """Loads and splits a data set; decodes it on the first call.

  Args:
    section: which data, and how to split it.
    progress: called while images are decoded.

  Raises:
    InputError: for data or a split that cannot be used.
  """
  packed = load_packed(section, progress)
  if section.classes > len(packed.classes):
    raise InputError(
      f"data.classes: got {section.classes} of {section.name!r}; valid: at "
      f"most {len(packed.classes)}"
    )
  parts, notes = registry.published_parts(
    section.name, packed.groups, packed.parts
  )
  rule = splits.Rule(
    kind=section.split,
    seed=section.split_seed,
    val_fraction=section.val_fraction,
    test_fraction=section.test_fraction,
    folds=section.folds,
    fold=section.fold,
    train_fraction=section.train_fraction,
    shared_groups=section.shared_groups,
    classes=section.classes,
  )
  table = splits.ImageTable(packed.names, packed.groups, packed.labels, parts)
  split = splits.make(rule, table)
  if section.split == "fixed":
    split = dataclasses.replace(split, notes=notes + split.notes)
  return SplitData(
    spec=registry.get(section.name),
    cache=packed,
    classes=packed.classes[: section.classes or None],
    split=split,
  )
