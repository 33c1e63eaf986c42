"""Analysis of a finished run: intervals, calibration, worst groups, curves.

Everything is computed on the host from `predictions/` and `metrics.jsonl`:
neither the network nor the data set is opened.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np

from mn_jax.metrics import (
  bootstrap,
  calibration,
  classification,
  predictions,
  thresholds,
)
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import formatting, writers
from mn_jax.report import decisions as decisions_lib
from mn_jax.report.decisions import Decisions
from mn_jax.run import records

_WORST_GROUPS = 5
_RESAMPLES = 1000  # of the bootstrap

Curve = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class RunAnalysis:
  """Metrics of a finished run, with intervals.

  Attributes:
    path: folder of the run.
    summary: content of `summary.json`.
    split: content of `split.json`.
    config: content of `config.json`.
    damage: what is wrong with `metrics.jsonl`, or ''.
    test: predictions for the test part.
    curves: metric such as 'train/loss' -> (step, value) in order.
    refused: whether the checkpoint was selected on the test part, so that its
      metrics are not a test; the fields below are empty then.
    intervals: test metric -> value and 95 % interval, resampled by group.
    threshold: chosen on the validation part; None without a positive class.
    label_thresholds: the same for every label, f64[classes], where an image may
      have several; else None.
    at_threshold: test metrics at that threshold, or those.
    temperature: fitted on the validation part.
    at_temperature: test metrics with logits divided by that temperature.
    reliability: reliability diagram of the test, before scaling.
    matrix: i64[classes, classes], confusion matrix of the test; None of several
      labels per image.
    per_class: test metric -> f64[classes].
    label_intervals: test metric -> the interval of every label, where an image
      may have several; else empty.
    groups: (name, images, accuracy) of the worst groups of the test with ten
      images or more, worst first; None if the data set has no groups.
    unranked: number of groups with fewer images.
    decisions: operating points, bands of curves and metrics by attribute.
  """

  path: pathlib.Path
  summary: Mapping[str, Any]
  split: Mapping[str, Any]
  config: Mapping[str, Any]
  damage: str
  test: NamedPredictions
  curves: Mapping[str, Curve]
  refused: bool
  intervals: Mapping[str, bootstrap.Interval] = field(default_factory=dict)
  threshold: float | None = None
  label_thresholds: np.ndarray | None = None
  at_threshold: Mapping[str, float] = field(default_factory=dict)
  temperature: float = np.nan
  at_temperature: Mapping[str, float] = field(default_factory=dict)
  reliability: calibration.Reliability | None = None
  matrix: np.ndarray | None = None
  per_class: Mapping[str, np.ndarray] = field(default_factory=dict)
  label_intervals: Mapping[str, list[bootstrap.Interval]] = field(
    default_factory=dict
  )
  groups: list[tuple[str, int, float]] | None = None
  unranked: int = 0
  decisions: Decisions = field(default_factory=Decisions)

  @property
  def fake_quant(self) -> str:
    """`model.fake_quant`, with which the metrics are; earlier runs lack it."""
    return self.config["config"]["model"].get("fake_quant", "none")

  def most_confident_errors(self, count: int) -> np.ndarray:
    """Returns i64[k], k <= count: indices of test images, worst first."""
    return self.test.predictions.most_confident_errors(count)

  def numbers(self) -> dict[str, Any]:
    """Returns the metrics as values that JSON can hold."""
    if self.refused:
      return {"refused": True}
    matrix = self.matrix
    return formatting.jsonable(
      {
        "seed": self.summary["seed"],
        "intervals": {k: vars(v) for k, v in self.intervals.items()},
        "threshold": self.threshold,
        "at_threshold": self.at_threshold,
        "temperature": self.temperature,
        "at_temperature": self.at_temperature,
        "classes": self.test.classes,
        "confusion_matrix": None if matrix is None else matrix.tolist(),
        "per_class": {k: v.tolist() for k, v in self.per_class.items()},
        **self._label_numbers(),
        "worst_groups": self.groups,
        **self.decisions.numbers(self.test.classes),
      }
    )

  def _label_numbers(self) -> dict[str, Any]:
    """Thresholds and intervals of every label, where there are several."""
    if self.label_thresholds is None:
      return {}
    return {
      "label_thresholds": self.label_thresholds.tolist(),
      "label_intervals": {
        name: [vars(x) for x in intervals]
        for name, intervals in self.label_intervals.items()
      },
    }


def analyze(path: pathlib.Path) -> RunAnalysis:
  """Analyzes a finished run.

  Args:
    path: folder of the run.

  Raises:
    InputError: if the run is not complete, or one of its files is damaged.
  """
  summary = records.read_summary(path)
  split = records.read_object(path / "split.json", records.SPLIT)
  config = records.read_object(path / "config.json", records.CONFIG)
  damage = ""
  if "metrics_sha256" in summary:  # an earlier version has none
    damage = writers.damage(path / "metrics.jsonl", summary["metrics_sha256"])
  parts = {
    part: predictions.read(path / "predictions" / f"{part}.npz")
    for part in ("val", "test")
  }
  refused = summary["chosen_on"] == "test"
  return RunAnalysis(
    path=path,
    summary=summary,
    split=split,
    config=config,
    damage=damage,
    test=parts["test"],
    curves=read_curves(path / "metrics.jsonl"),
    refused=refused,
    **({} if refused else _test_metrics(parts["val"], parts["test"])),
  )


def _test_metrics(
  val: NamedPredictions, test: NamedPredictions
) -> dict[str, Any]:
  outputs, positive = test.predictions, test.positive
  temperature = calibration.fit_temperature(val.predictions)
  at_temperature = {}
  if not np.isnan(temperature):
    at_temperature = classification.summarize(
      calibration.scale(outputs, temperature), positive=positive
    )
  groups, unranked = _worst_groups(test)
  resamples = bootstrap.affordable(outputs, _RESAMPLES)
  return {
    "intervals": bootstrap.intervals(
      outputs, positive=positive, groups=test.groups, resamples=resamples
    ),
    **_at_threshold(val, test),
    "temperature": temperature,
    "at_temperature": at_temperature,
    "reliability": calibration.reliability(outputs),
    "matrix": (
      None
      if outputs.multi_label
      else classification.confusion_matrix(
        outputs.labels, outputs.predicted(), len(test.classes)
      )
    ),
    "per_class": classification.per_class(outputs),
    "label_intervals": (
      bootstrap.label_intervals(
        outputs, groups=test.groups, resamples=resamples
      )
      if outputs.multi_label
      else {}
    ),
    "groups": groups,
    "unranked": unranked,
    "decisions": decisions_lib.measure(val, test, resamples=resamples),
  }


def _at_threshold(
  val: NamedPredictions, test: NamedPredictions
) -> dict[str, Any]:
  """What validation chooses as thresholds, and what they do to the test."""
  outputs, positive = test.predictions, test.positive
  if outputs.multi_label:
    found = thresholds.of_labels(val.predictions)
    chosen = {"label_thresholds": found}
    predicted = thresholds.decide_labels(outputs, found)
  elif positive is not None:
    found = thresholds.best_balanced_accuracy(
      val.predictions, positive=positive
    )
    chosen = {"threshold": found}
    if np.isnan(found):
      return chosen
    predicted = thresholds.decide(outputs, found, positive=positive)
  else:
    return {}
  return {
    **chosen,
    "at_threshold": classification.summarize(
      outputs, positive=positive, predicted=predicted
    ),
  }


def _worst_groups(
  test: NamedPredictions,
) -> tuple[list[tuple[str, int, float]] | None, int]:
  """Returns the worst groups, and the number of those with too few images."""
  if test.groups is None:
    return None, 0
  groups = classification.accuracy_by_group(test.predictions, test.groups)
  ranked = [x for x in groups if x[1] >= classification.LEAST_IMAGES]
  return ranked[:_WORST_GROUPS], len(groups) - len(ranked)


def read_curves(path: pathlib.Path) -> dict[str, Curve]:
  """Reads metrics, of every step the last point, in the order of steps.

  Args:
    path: of `metrics.jsonl`.
  """
  points: dict[str, dict[int, float]] = {}
  for line in writers.read_lines(path):
    for name, value in writers.metrics(line).items():
      points.setdefault(name, {})[line["step"]] = value
  return {name: sorted(curve.items()) for name, curve in points.items()}
