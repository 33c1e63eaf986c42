"""Calibration of probabilities: Brier score, ECE, temperature scaling."""

import dataclasses

import numpy as np
import scipy.optimize
import scipy.special

from mn_jax.metrics.predictions import Predictions, losses

_BINS = 15
_TEMPERATURES = (1e-2, 1e2)


def squared_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
  """Returns the terms whose mean is the Brier score (Brier 1950).

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
  """A reliability diagram: confidence and accuracy in bins of equal width.

  Attributes:
    edges: f64[bins + 1], from 0 to 1; a bin includes its upper edge only.
    counts: i64[bins], number of images; multi-label of pairs of an image and a
      label.
    confidence: f64[bins], mean probability of the most likely class, or of the
      label; NaN in an empty bin.
    accuracy: f64[bins], share of images of that class, or with the label; NaN
      in an empty bin.
    pooled: whether it is of all labels together.
  """

  edges: np.ndarray
  counts: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray
  pooled: bool = False

  def ece(self) -> float:
    """Returns the expected calibration error (Guo et al. 2017, equation 3)."""
    filled = self.counts > 0
    gaps = np.abs(self.accuracy - self.confidence)[filled]
    return float((gaps * self.counts[filled]).sum() / self.counts.sum())


class Bins:
  """Probabilities of what is predicted, sorted into bins."""

  def __init__(self, confidence: np.ndarray, hits: np.ndarray):
    """Sorts the images into bins.

    Args:
      confidence: f64[n], probability of what is predicted: the most likely
        class, or a label.
      hits: bool[n], whether the image is of that class, or has the label.
    """
    self._edges = np.linspace(0, 1, _BINS + 1)
    self._confidence, self._hits = confidence, hits
    self._bins = np.searchsorted(self._edges[1:-1], self._confidence)

  def reliability(self, weights: np.ndarray) -> Reliability:
    """Returns the diagram, with images counted by weights i64[n]."""

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
  """Returns the reliability diagram of the most likely class, in 15 bins.

  Where images have several labels it is that of all labels together.
  """
  probabilities = predictions.probabilities()
  if predictions.multi_label:
    bins = Bins(probabilities.ravel(), predictions.labels.ravel() > 0)
    diagram = bins.reliability(np.ones(probabilities.size, np.int64))
    return dataclasses.replace(diagram, pooled=True)
  bins = top_label(predictions, probabilities)
  return bins.reliability(np.ones(len(predictions.labels), np.int64))


def top_label(predictions: Predictions, probabilities: np.ndarray) -> Bins:
  """Returns the bins of the most likely classes.

  Args:
    predictions: of all n images, each of one class.
    probabilities: f64[n, classes], of the same images.
  """
  hits = predictions.predicted() == predictions.labels
  return Bins(probabilities.max(axis=1), hits)


def fit_temperature(predictions: Predictions) -> float:
  """Fits the temperature that logits are divided by (Guo et al. 2017).

  It minimises the mean cross-entropy (of several labels the binary one), which
  is convex in the inverse temperature, by the root of the derivative, in
  float64.

  Args:
    predictions: of the validation part.

  Returns:
    From 0.01 to 100. The least if the loss falls all the way down to it (all
    images are right), the greatest if it falls all the way up (the logits are
    worse than none). NaN if a logit is not finite.
  """
  logits = predictions.logits.astype(np.float64)
  if not np.isfinite(logits).all():
    return np.nan
  if predictions.multi_label:
    logits_of_label = logits * predictions.labels
  else:
    logits -= logits.max(axis=1, keepdims=True)
    logits_of_label = logits[np.arange(len(logits)), predictions.labels]

  def slope(log_temperature: float) -> float:
    """Of the cross-entropy over the inverse temperature."""
    scaled = logits / np.exp(log_temperature)
    if predictions.multi_label:
      expected = scipy.special.expit(scaled) * logits
    else:
      exp = np.exp(scaled)
      expected = (exp * logits).sum(axis=1) / exp.sum(axis=1)
    return float((expected - logits_of_label).mean())

  low, high = np.log(_TEMPERATURES)
  if slope(low) <= 0:
    return _TEMPERATURES[0]
  if slope(high) >= 0:
    return _TEMPERATURES[1]
  return float(np.exp(scipy.optimize.brentq(slope, low, high, xtol=1e-12)))


def is_inside(temperature: float) -> bool:
  """Whether a fitted temperature is one, and not an end of the range."""
  return _TEMPERATURES[0] < temperature < _TEMPERATURES[1]


def scale(predictions: Predictions, temperature: float) -> Predictions:
  """Returns predictions with their logits divided by a temperature.

  Args:
    predictions: of any part.
    temperature: above 0, from `fit_temperature`.
  """
  logits = predictions.logits.astype(np.float64) / temperature
  return dataclasses.replace(
    predictions,
    logits=logits.astype(np.float32),
    losses=losses(logits, predictions.labels),
  )
