"""What programs print of each label, where an image may have several."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import bootstrap, multilabel
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe.console import Console
from mn_jax.observe.label_table import label_table


@dataclasses.dataclass(frozen=True)
class LabelResults:
  """Metrics of every label.

  Attributes:
    labels: their names.
    of_label: metric -> f64[labels], from `metrics.multilabel.per_label`.
    intervals: metric -> the interval of each label; may be empty.
  """

  labels: tuple[str, ...]
  of_label: Mapping[str, np.ndarray]
  intervals: Mapping[str, Sequence[bootstrap.Interval]]


def measure(
  named: NamedPredictions, predicted: np.ndarray | None, *, intervals: bool
) -> LabelResults | None:
  """Computes the metrics of every label; None for images of one class each.

  Args:
    named: predictions with the groups of their images.
    predicted: u8[n, labels], predicted labels; None: from 0.5 on.
    intervals: whether areas get intervals, resampled by group.
  """
  outputs = named.predictions
  if not outputs.multi_label:
    return None
  found = {}
  if intervals:
    found = bootstrap.label_intervals(outputs, groups=named.groups)
  of_label = multilabel.per_label(outputs, predicted)
  return LabelResults(named.classes, of_label, found)


def as_json(results: LabelResults | None) -> dict[str, Any]:
  """Returns {'labels': {label: {metric: value or interval}}}, or nothing."""
  if results is None:
    return {}
  rows = {}
  for i, label in enumerate(results.labels):
    rows[label] = {k: float(x[i]) for k, x in results.of_label.items()}
    for name, values in results.intervals.items():
      ends = {"low": values[i].low, "high": values[i].high}
      rows[label][f"{name}_interval"] = ends
  return {"labels": rows}


def show(console: Console, results: LabelResults | None) -> None:
  """Prints a table with a row for each label, or nothing."""
  if results is None:
    return
  table = label_table(results.labels, results.of_label, results.intervals)
  console.table("Labels", *table)


def thresholds(values: Mapping[str, float]) -> str:
  """Formats the threshold of each label: 'red 0.41, blue 0.5 (undefined)'."""
  return ", ".join(
    f"{label} 0.5 (undefined)" if np.isnan(value) else f"{label} {value:.4g}"
    for label, value in values.items()
  )
