"""Predictions at the threshold that validation chose for a sensitivity of 0.95.

A network's likeliest class stands for a threshold of 0.5. Where a disease must
not be missed, the threshold is what keeps the sensitivity, and the specificity
that is left is the result. Validation chooses it, as in
`metrics.operating_point`; here the logits of the test are shifted so that it
becomes 0.5, and every metric can be measured, resampled and compared as usual.
"""

import dataclasses

import numpy as np
import scipy.special

from mn_jax.metrics import operating_point
from mn_jax.metrics.operating_point import Target
from mn_jax.metrics.predictions import NamedPredictions

TARGET = Target(operating_point.SENSITIVITY, 0.95)
# Of the metrics: 'at_sensitivity_0.95/specificity'.
PART = f"at_{TARGET.fixed}_{TARGET.value:g}"
_LEAST = 1e-6  # a shifted logit; equal scores pass the threshold together


def predictions(
  val: NamedPredictions | None, test: NamedPredictions | None
) -> NamedPredictions | None:
  """Returns the test's predictions with validation's threshold as 0.5.

  Losses stay those of the logits before.

  Args:
    val: of the validation part, which chooses.
    test: of the test.

  Returns:
    None without predictions, with more than two classes, or where validation
    has too few images to choose.
  """
  if val is None or test is None:
    return None
  return shift(test, threshold(val))


def threshold(val: NamedPredictions) -> float:
  """Returns the threshold that predictions for validation choose.

  It is NaN with more than two classes, and where there are too few images to
  choose by.
  """
  if len(val.classes) != 2 or val.positive is None:
    return np.nan
  if val.predictions.multi_label:
    return np.nan
  return operating_point.choose_threshold(
    val.predictions, TARGET, positive=val.positive
  )


def shift(test: NamedPredictions, threshold: float) -> NamedPredictions | None:
  """Returns predictions whose logits have a threshold as 0.5.

  Args:
    test: of two classes.
    threshold: probability of the positive class, from which on it is predicted.

  Returns:
    None for a threshold that is not finite.
  """
  positive = test.positive
  if not np.isfinite(threshold):
    return None
  scores = test.predictions.probabilities()[:, positive]
  shifted = _logit(scores) - _logit(threshold)
  above = scores >= threshold
  shifted = np.where(
    above, np.maximum(shifted, _LEAST), np.minimum(shifted, -_LEAST)
  )
  logits = np.zeros_like(test.predictions.logits, np.float64)
  logits[:, positive] = shifted
  return dataclasses.replace(
    test, predictions=dataclasses.replace(test.predictions, logits=logits)
  )


def _logit(scores: np.ndarray | float) -> np.ndarray:
  """Logits of probabilities, finite for 0 and 1."""
  tiny = np.finfo(np.float64).tiny
  scores = np.clip(scores, tiny, 1 - np.finfo(np.float64).eps)
  return scipy.special.logit(scores)
