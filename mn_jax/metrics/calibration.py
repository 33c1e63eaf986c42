"""Whether probabilities are as often right as they say, and their mending."""

import dataclasses

import numpy as np
import scipy.optimize

from mn_jax.metrics.predictions import Predictions

_BINS = 15
_TEMPERATURES = (1e-2, 1e2)


def squared_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
  """The terms whose mean is the Brier score (Brier 1950).

  As in scikit-learn's `brier_score_loss`: with three classes or more, the sum
  of the squares over the classes, from 0 to 2; with two, half of it, which is
  (p - y)^2 of either class, from 0 to 1.

  Args:
    labels: i[n].
    probabilities: f64[n, classes].

  Returns:
    f64[n].
  """
  rows = np.arange(len(labels))
  errors = probabilities.copy()
  errors[rows, labels] -= 1
  total = np.square(errors, out=errors).sum(axis=1)
  return total / 2 if probabilities.shape[1] == 2 else total


@dataclasses.dataclass(frozen=True)
class Reliability:
  """Confidence against accuracy, by bins of equal width.

  Attributes:
    edges: f64[bins + 1], from 0 to 1; a bin has its upper edge, not its lower.
    counts: i64[bins], images.
    confidence: f64[bins], mean probability of the likeliest class; NaN in an
      empty bin, as the next.
    accuracy: f64[bins], share of those images whose class it is.
  """

  edges: np.ndarray
  counts: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray

  def ece(self) -> float:
    """The expected calibration error (Guo et al. 2017, equation 3)."""
    filled = self.counts > 0
    gaps = np.abs(self.accuracy - self.confidence)[filled]
    return float((gaps * self.counts[filled]).sum() / self.counts.sum())


class TopLabel:
  """The likeliest classes' probabilities, sorted into bins."""

  def __init__(self, predictions: Predictions, probabilities: np.ndarray):
    """Finds the bins.

    Args:
      predictions: of the whole split.
      probabilities: f64[n, classes], those of the predictions.
    """
    self._edges = np.linspace(0, 1, _BINS + 1)
    self._confidence = probabilities.max(axis=1)
    self._hits = predictions.logits.argmax(axis=1) == predictions.labels
    self._bins = np.searchsorted(self._edges[1:-1], self._confidence)

  def reliability(self, weights: np.ndarray) -> Reliability:
    """The bins with every image counted so often, from i64[n]."""

    def total(x: np.ndarray) -> np.ndarray:
      return np.bincount(self._bins, x, minlength=_BINS)

    counts = total(weights)
    with np.errstate(invalid="ignore"):
      return Reliability(
        edges=self._edges,
        counts=counts.astype(np.int64),
        confidence=total(weights * self._confidence) / counts,
        accuracy=total(weights * self._hits) / counts,
      )


def reliability(predictions: Predictions) -> Reliability:
  """The bins of a reliability diagram: 15, of the likeliest class."""
  top = TopLabel(predictions, predictions.probabilities())
  return top.reliability(np.ones(len(predictions.labels), np.int64))


def fit_temperature(predictions: Predictions) -> float:
  """The temperature that the logits are best divided by (Guo et al. 2017).

  It minimises the mean cross-entropy, which is convex in its inverse: the one
  root of the derivative, in float64, without anything random.

  Args:
    predictions: of the validation part.

  Returns:
    From 0.01 to 100. The least where the loss never rises on the way down (all
    images are right), the greatest where it falls all the way up (the
    logits are worse than none). NaN if a logit is not finite.
  """
  logits = predictions.logits.astype(np.float64)
  if not np.isfinite(logits).all():
    return np.nan
  logits -= logits.max(axis=1, keepdims=True)
  own = logits[np.arange(len(logits)), predictions.labels]

  def slope(log_temperature: float) -> float:
    """Of the cross-entropy over the inverse temperature."""
    exp = np.exp(logits / np.exp(log_temperature))
    expected = (exp * logits).sum(axis=1) / exp.sum(axis=1)
    return float((expected - own).mean())

  low, high = np.log(_TEMPERATURES)
  if slope(low) <= 0:
    return _TEMPERATURES[0]
  if slope(high) >= 0:
    return _TEMPERATURES[1]
  return float(np.exp(scipy.optimize.brentq(slope, low, high, xtol=1e-12)))


def scale(predictions: Predictions, temperature: float) -> Predictions:
  """Predictions with their logits divided, and the losses that follow.

  Args:
    predictions: of any part.
    temperature: above 0, from `fit_temperature`.
  """
  logits = predictions.logits.astype(np.float64) / temperature
  logits -= logits.max(axis=1, keepdims=True)
  own = logits[np.arange(len(logits)), predictions.labels]
  losses = np.log(np.exp(logits).sum(axis=1)) - own
  return dataclasses.replace(
    predictions,
    logits=(predictions.logits / np.float64(temperature)).astype(np.float32),
    losses=losses.astype(np.float32),
  )
