"""Loads the packed images of a data set and splits them, as a config says."""

import dataclasses
import hashlib

import numpy as np

from mn_jax.config.sections.data import DataConfig
from mn_jax.data import (
  cache,
  classes,
  packing,
  splits,
  strata,
  suspected_groups,
)
from mn_jax.data.datasets import listing as listing_lib
from mn_jax.data.datasets import registry
from mn_jax.data.datasets.listing import PARTS
from mn_jax.data.datasets.spec import DatasetSpec
from mn_jax.errors import InputError
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.observe import formatting
from mn_jax.run import open_data

_MOST_LEFT_OUT = 8  # kinds of files that are named


@dataclasses.dataclass(frozen=True)
class SplitData:
  """A data set that is packed and split.

  Attributes:
    spec: description of the data set.
    cache: all its images; only listed where they were not to be packed.
    classes: names of the classes that are used, in the order of the labels.
    kind: of the split; what 'auto' stands for; 'none' where all images are one
      part called 'new'.
    split: rows of the parts.
  """

  spec: DatasetSpec
  cache: cache.PackedCache
  classes: tuple[str, ...]
  kind: str
  split: splits.Split

  def part(self, name: str) -> np.ndarray:
    """Returns i64[n], the rows of a part: 'train', 'val', 'test' or 'new'."""
    return self.split.parts[name]

  @property
  def multi_label(self) -> bool:
    """Whether an image may have several labels or none."""
    return self.cache.multi_label

  def counts(self) -> dict[str, np.ndarray]:
    """Returns i64[classes] of each part, the images of every class."""
    return {
      part: classes.count(self.cache.labels[rows], len(self.classes))
      for part, rows in self.split.parts.items()
    }

  def notes(self) -> list[str]:
    """Returns what a reader should know, and what is left out, a line each."""
    return [
      *self.split.notes,
      *self.cache.notes,
      *formatting.left_out(self.cache.left_out, _MOST_LEFT_OUT),
    ]

  def spread(self, part: str, *, batches: int, batch_size: int) -> np.ndarray:
    """Returns i64[batches, batch_size], rows spread evenly over a part.

    Neighbours in the list of images are often of one group and class; here
    every batch is spread over the whole part.
    """
    rows = self.part(part)
    places = np.linspace(0, len(rows) - 1, batches * batch_size).round()
    return rows[places.astype(int)].reshape(batch_size, batches).T

  def digests(self) -> dict[str, str]:
    """Returns the SHA-256 of the split, of the images, and of their labels.

    Names of files need not have the labels, and a table can be edited.
    """
    labels = hashlib.sha256(repr(self.cache.classes).encode())
    labels.update(np.ascontiguousarray(self.cache.labels))
    return {
      "split": self.split.sha256,
      "images": self.cache.sha256,
      "labels": labels.hexdigest(),
    }

  def groups(self, name: str) -> list[str]:
    """Returns the groups of a part, in order."""
    return np.unique(self.cache.groups[self.part(name)]).tolist()

  def named_predictions(self, predictions: Predictions) -> NamedPredictions:
    """Returns predictions with the names, groups and attributes of images."""
    rows = predictions.ids
    known = self.spec.group is not None
    return NamedPredictions(
      predictions=predictions,
      names=self.cache.names[rows],
      groups=self.cache.groups[rows] if known else None,
      classes=self.classes,
      positive=self.spec.positive,
      attributes={
        name: column[rows] for name, column in self.cache.attributes.items()
      },
    )


def load_packed(
  section: DataConfig,
  progress: packing.Progress,
  names: tuple[str, ...] = (),
) -> cache.PackedCache:
  """Loads a data set without splitting it; decodes it on the first call.

  Args:
    section: which data, and how groups are found in its names.
    progress: called while images are decoded.
    names: of the classes in the order of the labels, some of which may have no
      image; empty: as the data has them.

  Raises:
    InputError: for data that cannot be used.
  """
  return open_data.regroup(
    section, open_data.open_packed(section, progress, names)
  )


def load_all(
  section: DataConfig, names: tuple[str, ...], progress: packing.Progress
) -> SplitData:
  """Loads all images of a data set as one part called 'new'.

  Args:
    section: which data; how it would be split is ignored.
    names: of the classes in the order of the labels, such as those of a run,
      of which some may have no image; empty: as the data has them.
    progress: called while images are decoded.

  Returns:
    The data with the kind 'none', whose only part has all rows.

  Raises:
    InputError: for data that cannot be used, or an image of another class.
  """
  packed = load_packed(section, progress, names)
  return SplitData(
    spec=open_data.describe(section, packed, packed.classes),
    cache=packed,
    classes=packed.classes,
    kind="none",
    split=splits.whole(packed.names),
  )


def load(section: DataConfig, progress: packing.Progress) -> SplitData:
  """Loads and splits a data set; decodes it on the first call.

  Args:
    section: which data, and how to split it.
    progress: called while images are decoded.

  Raises:
    InputError: for data or a split that cannot be used.
  """
  return divide(section, open_data.open_packed(section, progress))


def divide(
  section: DataConfig, listed: cache.PackedCache | listing_lib.Listing
) -> SplitData:
  """Splits images as a config says.

  Args:
    section: how to split them, and how groups are found in their names.
    listed: the images, in the groups that the data set has by itself; a listing
      is split as the packed images of all its rows.

  Raises:
    InputError: for a split that cannot be made.
  """
  open_data.check_classes(section, listed)
  # The published lists are of the groups that the data set has by itself.
  parts, notes = registry.published_parts(
    section.name, listed.groups, listed.parts
  )
  packed = open_data.regroup(section, listed)
  labels = packed.labels
  table = splits.ImageTable(
    packed.names,
    packed.groups,
    strata.rarest(labels) if packed.multi_label else labels,
    parts,
  )
  kind, notes_of_kind = _kind(section, packed.parts, table)
  split = splits.make(_rule(section, kind), table)
  names = packed.classes[: section.classes or None]
  data = SplitData(
    spec=open_data.describe(section, packed, names),
    cache=packed,
    classes=names,
    kind=kind,
    split=split,
  )
  notes = (
    *notes_of_kind,
    *_ungrouped(data),
    *(notes if kind == "fixed" else _mixed(packed.parts, split)),
    *split.notes,
    *classes.notes(
      data.classes,
      data.counts(),
      {part: len(rows) for part, rows in split.parts.items()}
      if data.multi_label
      else None,
    ),
  )
  split = dataclasses.replace(split, notes=notes)
  return dataclasses.replace(data, split=split)


def _rule(section: DataConfig, kind: str) -> splits.Rule:
  """Returns how to split; all but its kind and seed are named as in `data`."""
  fields = {field.name for field in dataclasses.fields(splits.Rule)}
  values = {n: getattr(section, n) for n in fields - {"kind", "seed"}}
  return splits.Rule(kind, section.split_seed, **values)


def _kind(
  section: DataConfig, listed: np.ndarray, table: splits.ImageTable
) -> tuple[str, tuple[str, ...]]:
  """Returns the kind of split that 'auto' stands for, and a note that says so.

  Args:
    section: which split was asked for, and whether groups are the user's.
    listed: str[n], parts as the images are listed.
    table: the images, with the publisher's parts.
  """
  if section.split != "auto":
    return section.split, ()
  if (table.parts == "test").any():
    kind, why = "fixed", "there is a test part"
  elif (listed == "val").any():
    raise InputError(
      "data.split: got 'auto', and there is a validation part but no test; "
      "valid: a part test as well, or the one called val renamed to test "
      "(validation is taken from training then), or data.split=stratified, "
      "which mixes the parts"
    )
  elif table.has_groups() and (section.group or section.group_pattern):
    kind, why = "grouped", "groups are given"
  elif table.has_groups():
    fewest = min(
      len(np.unique(table.groups[table.labels == label]))
      for label in np.unique(table.labels)
    )
    kind, why = "grouped", "groups are known"
    if fewest < len(PARTS):
      kind = "stratified"
      why = (
        f"a class has {fewest} groups, too few for {len(PARTS)} parts, so that "
        "images of one group may be in two parts"
      )
  else:
    kind, why = "stratified", "neither a test part nor groups are known"
  return kind, (f"data.split=auto is {kind} here: {why}",)


def _ungrouped(data: SplitData) -> tuple[str, ...]:
  """Returns notes if nothing says which of the user's images belong together.

  Of published data sets without groups the documentation says it.
  """
  if data.spec.group is not None or not data.spec.tables:
    return ()
  suggestions = suspected_groups.suggest(data.cache.names, data.cache.labels)
  return (
    "no groups are known: images of one patient or object may be in two parts; "
    "data.group_pattern, or data.group of a table, tells them",
    *(suggestion.describe() for suggestion in suggestions[:1]),
  )


def _mixed(listed: np.ndarray, split: splits.Split) -> tuple[str, ...]:
  """Returns a note if images of a published test are not in the test."""
  rows = np.concatenate([split.parts["train"], split.parts["val"]])
  count = int((listed[rows] == "test").sum())
  if not count:
    return ()
  return (
    f"{count} images of the published test are in training and validation; "
    "data.split=fixed keeps the published parts",
  )
