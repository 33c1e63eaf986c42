"""A part of a split judged: its metrics with what validation chose, changes."""

import dataclasses
import math
from collections.abc import Callable

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
class Judged:
  """A part of a split by one way to compute it.

  Attributes:
    predictions: with the temperature, if there is one.
    found: i[n], the classes that the threshold decided on; None without.
    scalars: the metrics.
    applied: what was changed, by name: 'temperature', 'threshold'.
  """

  predictions: Predictions
  found: np.ndarray | None
  scalars: dict[str, float]
  applied: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Change:
  """What another way to compute a network changes.

  Attributes:
    before: the metrics.
    differences: from those, where the network has a part in them.
    agreement: of the answers.
  """

  before: dict[str, float]
  differences: dict[str, float]
  agreement: comparison.Agreement


def judge(
  data: split_data.SplitData,
  part: str,
  predict: Callable[[np.ndarray], Predictions],
  *,
  temperature: bool,
  threshold: bool,
) -> Judged:
  """Predicts and measures.

  Args:
    data: of the run.
    part: of its split.
    predict: answers for rows of the data's cache.
    temperature: whether logits are divided by the one that fits val.
    threshold: whether the one with the best balanced accuracy on val decides.

  Raises:
    InputError: for logits of which no temperature can be found.
  """
  applied: dict[str, float] = {}
  positive = data.spec.positive
  predictions = val = predict(data.part(part))
  if (temperature or threshold) and part != "val":
    val = predict(data.part("val"))
  if temperature:
    found = calibration.fit_temperature(val)
    if math.isnan(found):
      raise InputError(
        "--temperature-from-val: got logits that are not finite; valid: a "
        "checkpoint that has not diverged"
      )
    applied["temperature"] = found
    predictions, val = (calibration.scale(x, found) for x in (predictions, val))
  decided = None
  if threshold:
    lowest = thresholds.best_balanced_accuracy(val, positive=positive)
    applied["threshold"] = lowest
    decided = thresholds.decide(predictions, lowest, positive=positive)
  scalars = classification.summarize(
    predictions, positive=positive, predicted=decided
  )
  return Judged(predictions, decided, scalars, applied)


def change(before: Judged, after: Judged) -> Change:
  """Compares two ways to compute the same part."""
  return Change(
    before=before.scalars,
    differences={
      name: value - before.scalars[name]
      for name, value in after.scalars.items()
      if name not in classification.DEFINED
    },
    agreement=comparison.agreement(
      before.predictions,
      after.predictions,
      predicted_first=before.found,
      predicted_second=after.found,
    ),
  )
