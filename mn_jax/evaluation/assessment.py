"""Assesses a run on a part of its split, with choices made on validation."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import (
  calibration,
  classification,
  comparison,
  thresholds,
)
from mn_jax.metrics.predictions import Predictions
from mn_jax.run import split_data


@dataclasses.dataclass(frozen=True)
class Assessment:
  """Predictions and metrics of a part of a split.

  Attributes:
    predictions: logits divided by the temperature, if there is one.
    predicted: what the threshold decides on, classes i[n] or labels u8[n,
      classes]; None without.
    metrics: by name.
    applied: the 'temperature' and 'threshold' that validation chose; of several
      labels per image the 'thresholds', by label.
    val: predictions for the validation part, divided likewise; None if they
      were not asked for.
  """

  predictions: Predictions
  predicted: np.ndarray | None
  metrics: dict[str, float]
  applied: dict[str, Any]
  val: Predictions | None = None


@dataclasses.dataclass(frozen=True)
class Change:
  """What computing a network in another way changes, such as a precision.

  Attributes:
    before: metrics of the first way.
    differences: second minus first, for metrics that depend on the network.
    agreement: how far the predictions agree.
  """

  before: dict[str, float]
  differences: dict[str, float]
  agreement: comparison.Agreement


def assess(
  data: split_data.SplitData,
  part: str,
  predict: Callable[[np.ndarray], Predictions],
  *,
  temperature: bool,
  threshold: bool,
  validation: bool = False,
) -> Assessment:
  """Predicts a part of a split and computes its metrics.

  Args:
    data: of the run.
    part: of its split.
    predict: predictions for rows i64[n] of the data's cache.
    temperature: whether logits are divided by the temperature that fits
      validation best.
    threshold: whether the threshold with the best balanced accuracy on
      validation decides, in place of 0.5; each label has its own.
    validation: whether the predictions for validation are wanted.

  Raises:
    InputError: for logits that no temperature can be fitted to.
  """
  applied: dict[str, Any] = {}
  positive = data.spec.positive
  predictions = val = predict(data.part(part))
  if (temperature or threshold or validation) and part != "val":
    val = predict(data.part("val"))
  if temperature:
    fitted = calibration.fit_temperature(val)
    if math.isnan(fitted):
      raise InputError(
        "--temperature-from-val: got logits that are not finite; valid: a "
        "checkpoint that has not diverged"
      )
    applied["temperature"] = fitted
    predictions, val = (
      calibration.scale(x, fitted) for x in (predictions, val)
    )
  predicted = None
  if threshold and val.multi_label:
    lowest = thresholds.of_labels(val)
    applied["thresholds"] = dict(
      zip(data.classes, lowest.tolist(), strict=True)
    )
    predicted = thresholds.decide_labels(predictions, lowest)
  elif threshold:
    lowest = thresholds.best_balanced_accuracy(val, positive=positive)
    applied["threshold"] = lowest
    predicted = thresholds.decide(predictions, lowest, positive=positive)
  metrics = classification.summarize(
    predictions, positive=positive, predicted=predicted
  )
  return Assessment(
    predictions, predicted, metrics, applied, val if validation else None
  )


def compare(before: Assessment, after: Assessment) -> Change:
  """Compares two assessments of the same images."""
  return Change(
    before=before.metrics,
    differences={
      name: value - before.metrics[name]
      for name, value in after.metrics.items()
      if name not in classification.DEFINED
    },
    agreement=comparison.agreement(
      before.predictions,
      after.predictions,
      predicted_first=before.predicted,
      predicted_second=after.predicted,
    ),
  )
