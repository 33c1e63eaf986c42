"""The page about probes: classifiers of features, tested by two protocols."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import bootstrap, classification, folds
from mn_jax.metrics.feature_table import FeatureTable
from mn_jax.metrics.predictions import group_codes
from mn_jax.metrics.probe import CLASSIFIERS, Probe
from mn_jax.observe import formatting, probe_figures
from mn_jax.report.document import Document, Figure
from mn_jax.report.tables import Table

# What is shown; other metrics of the confusion matrix are in the numbers.
SHOWN = ("accuracy", "balanced_accuracy")
_METRICS = (*SHOWN, "macro_f1", "mcc")
# Fewer groups than these have intervals that are too narrow.
_MANY_GROUPS = 20


@dataclasses.dataclass(frozen=True)
class ProbeRow:
  """A set of features and a classifier of them.

  Attributes:
    sets: names of the sets, '+' between them.
    features: their number.
    classifier: key in `probe.CLASSIFIERS`.
    random: tested on images at random.
    by_group: tested on groups that training has no image of; None where no
      groups are known.
  """

  sets: str
  features: int
  classifier: str
  random: Probe
  by_group: Probe | None

  @property
  def name(self) -> str:
    """What it is called in tables and figures."""
    return f"{self.sets}, {self.classifier}"


def measure(
  table: FeatureTable, row: ProbeRow, *, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
  """Computes the metrics of a row, with intervals by resampling groups.

  Where no groups are known, images are resampled.

  Args:
    table: labels and groups of the images.
    row: the predictions.
    seed: of the resamples.
    resamples: their number.

  Returns:
    'random', 'by_group' and 'difference' (random minus by group) -> metric ->
    `bootstrap.Interval`; and 'groups' -> a dictionary for each group with its
    name, images, and accuracy 'random' and 'by_group'. Without groups only
    'random'.
  """
  codes = group_codes(row.random.predictions, table.groups)
  probes = {"random": row.random}
  if row.by_group is not None:
    probes["by_group"] = row.by_group
  predicted = {
    name: probe.predictions.predicted() for name, probe in probes.items()
  }

  def metrics(weights: np.ndarray) -> dict[str, float]:
    found = {
      (protocol, metric): value
      for protocol, classes in predicted.items()
      for metric, value in _metrics(table, classes, weights).items()
    }
    if row.by_group is not None:
      for metric in _METRICS:
        gap = found["random", metric] - found["by_group", metric]
        found["difference", metric] = gap
    return found

  values = metrics(np.ones(len(codes), np.int64))
  samples = bootstrap.resample(metrics, codes, resamples=resamples, seed=seed)
  numbers: dict[str, Any] = {}
  for (protocol, metric), value in values.items():
    numbers.setdefault(protocol, {})[metric] = bootstrap.interval(
      value,
      samples[protocol, metric],
      groups=int(codes.max()) + 1,
      level=0.95,
    )
  if row.by_group is not None:
    numbers["groups"] = _by_group(table, predicted)
  return numbers


def build(
  table: FeatureTable,
  rows: Sequence[ProbeRow],
  measured: Sequence[dict[str, Any]],
  *,
  title: str,
  unit: str,
  protocol: Sequence[tuple[str, str]],
) -> Document:
  """Puts the page together.

  Args:
    table: labels and groups of the images.
    rows: the probes.
    measured: of each what `measure` returns.
    title: of the page.
    unit: what a group is called, such as 'slide'.
    protocol: how they were made, (name, value).
  """
  tables = {
    formatting.metric_name(metric).capitalize(): _table(
      rows, measured, metric, unit
    )
    for metric in SHOWN
  }
  by_group = rows[0].by_group
  groups = 0 if table.groups is None else len(np.unique(table.groups))
  if by_group is not None and by_group.folds.max() + 1 == groups:
    tables[f"Accuracy of each {unit} that was left out"] = _group_table(
      rows, measured, unit
    )
  counts = np.bincount(table.labels, minlength=len(table.classes))
  classes = ", ".join(
    f"{name} {count:,}"
    for name, count in zip(table.classes, counts, strict=True)
  )
  images = f"{len(table.labels):,} images"
  if groups:
    images += f" of {formatting.count(groups, unit)}"
  used = dict.fromkeys(row.classifier for row in rows)
  return Document(
    title=title,
    intro=f"{images}: {classes}.",
    tables=tables,
    figures=[
      Figure(
        "accuracy",
        probe_figures.intervals(
          [
            _figure_row(r, m, unit) for r, m in zip(rows, measured, strict=True)
          ],
          "accuracy, 95 % interval",
          title,
        ),
        "Accuracy with images split at random."
        if by_group is None
        else "Accuracy with images split at random, and with no image of a "
        f"tested {unit} in training.",
      )
    ],
    protocol=[
      *protocol,
      *((name, CLASSIFIERS[name].title) for name in used),
    ],
    notes=_notes(table, groups, unit),
  )


def _metrics(
  table: FeatureTable, predicted: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
  matrix = classification.confusion_matrix(
    table.labels, predicted, len(table.classes), weights
  )
  found = classification.from_confusion_matrix(matrix, positive=None)
  return {name: found[name] for name in _METRICS}


def _by_group(
  table: FeatureTable, predicted: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
  hits = {name: x == table.labels for name, x in predicted.items()}
  found = []
  for group in np.unique(table.groups):
    rows = table.groups == group
    found.append(
      {
        "name": str(group),
        "images": int(rows.sum()),
        **{name: float(x[rows].mean()) for name, x in hits.items()},
      }
    )
  return found


def _table(
  rows: Sequence[ProbeRow],
  measured: Sequence[dict[str, Any]],
  metric: str,
  unit: str,
) -> Table:
  titles = {"random": "random images"}
  if "by_group" in measured[0]:
    titles |= {
      "by_group": f"other {unit}s",
      "difference": f"random minus other {unit}s",
    }
  cells = [
    (
      row.sets,
      f"{row.features:,}",
      row.classifier,
      *(_cell(numbers[key][metric], key == "difference") for key in titles),
    )
    for row, numbers in zip(rows, measured, strict=True)
  ]
  return Table(("features", "number", "classifier", *titles.values()), cells)


def _cell(found: bootstrap.Interval, signed: bool) -> str:
  value = formatting.number(found.value, signed=signed)
  span = formatting.interval(found.low, found.high, signed=signed)
  return f"{value} ({span})"


def _group_table(
  rows: Sequence[ProbeRow], measured: Sequence[dict[str, Any]], unit: str
) -> Table:
  groups = measured[0]["groups"]
  images = [group["images"] for group in groups]
  lines = [("images", f"{sum(images):,}", *(f"{n:,}" for n in images))]
  for row, numbers in zip(rows, measured, strict=True):
    values = [group["by_group"] for group in numbers["groups"]]
    mean = folds.mean_over_folds(
      values, images, [sum(images) - n for n in images]
    )
    lines.append(
      (
        row.name,
        f"{formatting.number(mean.mean)} "
        f"({formatting.interval(mean.low, mean.high)})",
        *map(formatting.number, values),
      )
    )
  return Table(
    ("", "mean (95 %)", *(group["name"] for group in groups)),
    lines,
    note=f"The mean counts each {unit} once, whatever its number of images; "
    "its interval is Student's t over them, corrected for the training images "
    "that folds share (Nadeau and Bengio 2003).",
  )


def _figure_row(
  row: ProbeRow, numbers: dict[str, Any], unit: str
) -> probe_figures.IntervalRow:
  names = {"random": "random images", "by_group": f"other {unit}s"}
  values = {}
  for key, name in names.items():
    if key in numbers:
      found = numbers[key]["accuracy"]
      values[name] = (found.value, found.low, found.high)
  return probe_figures.IntervalRow(row.name, values)


def _notes(table: FeatureTable, groups: int, unit: str) -> list[str]:
  if not groups:
    return [
      "Intervals resample images. Nothing says which of them belong together: "
      "if any do, the numbers are too high and the intervals too narrow."
    ]
  notes = [
    f"Intervals resample {unit}s, for both protocols and, for the difference, "
    "for both at once."
  ]
  if groups < _MANY_GROUPS:
    notes.append(
      f"{groups} {unit}s are few: intervals by resampling so few are too "
      "narrow."
    )
  present = [
    len(np.unique(table.groups[table.labels == label]))
    for label in range(len(table.classes))
  ]
  rare = [
    f"{name} ({count})"
    for name, count in zip(table.classes, present, strict=True)
    if 0 < count < 3
  ]
  if rare:
    notes.append(
      f"Classes in fewer than three {unit}s: {', '.join(rare)}. A class that "
      f"is in one {unit} alone cannot be told when that is left out, and "
      "resamples may lack it, whose balanced accuracy is then of the others."
    )
  return notes
