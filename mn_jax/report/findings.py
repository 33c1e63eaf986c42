"""What a finished run's files tell beyond its summary, as numbers.

Everything is computed on the host from `predictions/` and `metrics.jsonl`:
neither the network nor the data set is opened.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import (
  bootstrap,
  calibration,
  classification,
  predictions,
  thresholds,
)
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import writers
from mn_jax.run import workdir as workdir_lib

# Those of a group with fewer images are left to chance.
_FEW_IMAGES = 10
_WORST = 5
# Resamples of the bootstrap; fewer of a test of many images and classes, whose
# curves take so many values each time.
_RESAMPLES, _FEWEST = 1000, 50
_VALUES = 500_000_000

Curve = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Findings:
  """A run, judged.

  Attributes:
    path: its folder.
    summary: the content of `summary.json`.
    split: that of `split.json`.
    test: what it answers for the test part.
    refused: whether its test numbers are no test, because the test part chose
      the checkpoint; all below that are of the test are empty then.
    intervals: metric of the test -> value and 95 % interval, by group.
    threshold: chosen on the validation part, None without a positive class.
    at_threshold: metrics of the test decided by it.
    temperature: fitted on the validation part.
    at_temperature: metrics of the test divided by it.
    reliability: of the test, before.
    matrix: i64[classes, classes] of the test.
    per_class: f64[classes] by metric, of the test.
    groups: the worst groups of the test, (name, images, accuracy), worst
      first, of those with ten images or more; None where none are known.
    curves: 'train/loss' and the like -> (step, value) in order.
  """

  path: pathlib.Path
  summary: Mapping[str, Any]
  split: Mapping[str, Any]
  test: NamedPredictions
  refused: bool
  intervals: Mapping[str, bootstrap.Interval]
  threshold: float | None
  at_threshold: Mapping[str, float]
  temperature: float
  at_temperature: Mapping[str, float]
  reliability: calibration.Reliability | None
  matrix: np.ndarray | None
  per_class: Mapping[str, np.ndarray]
  groups: list[tuple[str, int, float]] | None
  curves: Mapping[str, Curve]

  def mistakes(self, count: int) -> np.ndarray:
    """i64[k]: places in the test of the surest wrong answers, surest first."""
    answers = self.test.predictions
    found = answers.logits.argmax(axis=1)
    wrong = np.flatnonzero(found != answers.labels)
    sure = answers.probabilities()[wrong, found[wrong]]
    return wrong[np.argsort(-sure, kind="stable")[:count]]

  def numbers(self) -> dict[str, Any]:
    """What was judged, of values that JSON keeps; nothing of a refused run."""
    if self.refused:
      return {"refused": True}
    return writers.jsonable(
      {
        "seed": self.summary["seed"],
        "intervals": {
          name: dataclasses.asdict(interval)
          for name, interval in self.intervals.items()
        },
        "threshold": self.threshold,
        "at_threshold": dict(self.at_threshold),
        "temperature": self.temperature,
        "at_temperature": dict(self.at_temperature),
        "classes": list(self.test.classes),
        "confusion_matrix": self.matrix.tolist(),
        "per_class": {k: v.tolist() for k, v in self.per_class.items()},
        "worst_groups": self.groups,
      }
    )


def examine(path: pathlib.Path) -> Findings:
  """Judges a finished run.

  Args:
    path: its workdir.

  Raises:
    InputError: if it is not complete, or of another version.
  """
  summary = workdir_lib.read_object(path / "summary.json")
  split = workdir_lib.read_object(path / "split.json")
  if "chosen_on" not in summary:
    raise InputError(
      f"--workdir: got {str(path)!r}, whose summary.json is of another "
      "version; valid: the folder of a run of this one"
    )
  parts = {
    part: predictions.read(path / "predictions" / f"{part}.npz")
    for part in ("val", "test")
  }
  common = {
    "path": path,
    "summary": summary,
    "split": split,
    "test": parts["test"],
    "curves": _curves(path / "metrics.jsonl"),
  }
  if summary["chosen_on"] == "test":
    return Findings(
      **common,
      refused=True,
      intervals={},
      threshold=None,
      at_threshold={},
      temperature=np.nan,
      at_temperature={},
      reliability=None,
      matrix=None,
      per_class={},
      groups=None,
    )
  return Findings(
    **common, refused=False, **_judge(parts["val"], parts["test"])
  )


def _judge(val: NamedPredictions, test: NamedPredictions) -> dict[str, Any]:
  """What the test says, by decisions that validation made."""
  answers, positive = test.predictions, test.positive
  found = answers.logits.argmax(axis=1)
  threshold, at_threshold = None, {}
  if positive is not None:
    threshold = thresholds.best_balanced_accuracy(
      val.predictions, positive=positive
    )
    if not np.isnan(threshold):
      at_threshold = classification.summarize(
        answers,
        positive=positive,
        predicted=thresholds.decide(answers, threshold, positive=positive),
      )
  temperature = calibration.fit_temperature(val.predictions)
  at_temperature = {}
  if not np.isnan(temperature):
    at_temperature = classification.summarize(
      calibration.scale(answers, temperature), positive=positive
    )
  return {
    "intervals": bootstrap.intervals(
      answers,
      positive=positive,
      groups=test.groups,
      resamples=_resamples(answers.logits.size),
    ),
    "threshold": threshold,
    "at_threshold": at_threshold,
    "temperature": temperature,
    "at_temperature": at_temperature,
    "reliability": calibration.reliability(answers),
    "matrix": classification.confusion_matrix(
      answers.labels, found, len(test.classes)
    ),
    "per_class": classification.per_class(answers),
    "groups": _worst_groups(test),
  }


def _resamples(values: int) -> int:
  return max(_FEWEST, min(_RESAMPLES, _VALUES // values))


def _worst_groups(
  test: NamedPredictions,
) -> list[tuple[str, int, float]] | None:
  if test.groups is None:
    return None
  groups = classification.accuracy_by_group(test.predictions, test.groups)
  enough = [group for group in groups if group.images >= _FEW_IMAGES]
  return [dataclasses.astuple(group) for group in enough[:_WORST]]


def _curves(path: pathlib.Path) -> dict[str, Curve]:
  """What was logged; a file cut short by a crash ends with its last line."""
  curves: dict[str, Curve] = {}
  try:
    lines = path.read_text().splitlines()
  except OSError:
    lines = []
  for line in lines:
    try:
      values = json.loads(line)
      step = values.pop("step")
    except (ValueError, KeyError, AttributeError):
      continue
    for name, value in values.items():
      if isinstance(value, int | float):
        curves.setdefault(name, []).append((step, float(value)))
  return curves
