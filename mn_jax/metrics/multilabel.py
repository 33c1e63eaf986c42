"""Metrics of images with several labels each, on the host, in float64.

Every label is a question of its own, answered yes from a probability of 0.5 or
another threshold on. 'macro' is the plain mean over labels, 'micro' is of all
pairs of an image and a label together. A label that no image has, or that all
have, has no AUROC, average precision, sensitivity, specificity or F1: they are
NaN, and macro means leave the label out (`data.classes.notes` names it).
"""

import dataclasses
import functools

import numpy as np

from mn_jax.metrics import calibration, curves
from mn_jax.metrics.predictions import Predictions

# Metrics that a network that diverged still has.
DEFINED = ("count", "majority_rate")


class Areas:
  """AUROC and average precision of every label, from weighted images."""

  def __init__(self, predictions: Predictions, *, repeated: bool = True):
    """Sorts the scores of every label.

    Args:
      predictions: of all n images, whose labels are u8[n, classes].
      repeated: whether sorted scores are kept for further weights.
    """
    finite = bool(np.isfinite(predictions.logits).all())
    self._labels = predictions.labels > 0
    self._scores = predictions.probabilities() if finite else None
    self._rank = functools.cache(self._sort) if repeated else self._sort

  def __call__(
    self, weights: np.ndarray | None = None
  ) -> dict[str, np.ndarray]:
    """Returns 'auroc' and 'average_precision', each f64[classes].

    Args:
      weights: i64[n], how often each image counts; None: once.
    """
    classes = self._labels.shape[1]
    if self._scores is None:
      nothing = np.full(classes, np.nan)
      return {"auroc": nothing, "average_precision": nothing}
    counts = [self._rank(label).curve(weights) for label in range(classes)]
    areas = np.array([curves.auroc(*count) for count in counts])
    precisions = np.array([curves.average_precision(*c) for c in counts])
    return {
      "auroc": areas,
      "average_precision": np.where(np.isnan(areas), np.nan, precisions),
    }

  def _sort(self, label: int) -> curves.Ranking:
    return curves.Ranking(self._labels[:, label], self._scores[:, label])


class WeightedMetrics:
  """Computes the metrics of a part of a split from weighted images.

  These are 'loss', the binary cross-entropy; 'macro_auroc',
  'macro_average_precision', 'micro_average_precision', 'macro_f1', 'micro_f1',
  'macro_sensitivity', 'macro_specificity'; 'label_accuracy', the share of pairs
  of an image and a label that are right (1 minus the Hamming loss);
  'exact_match', the share of images of which all labels are right (subset
  accuracy); 'majority_rate', the label accuracy of always predicting each
  label's more frequent answer; 'brier' and 'ece', means over the labels of
  (p - y)^2 and of the calibration error of the probability of the label; and
  'count'. All but the count and the majority rate are NaN if a logit is not
  finite.
  """

  def __init__(
    self,
    predictions: Predictions,
    *,
    predicted: np.ndarray | None = None,
    repeated: bool = True,
  ):
    """Sorts scores and bins probabilities.

    Args:
      predictions: of all n images, whose labels are u8[n, classes].
      predicted: u8[n, classes], predicted labels; None: those with a
        probability of at least 0.5.
      repeated: whether sorted scores are kept for further weights.
    """
    self._finite = bool(np.isfinite(predictions.logits).all())
    if not self._finite:
      predictions = dataclasses.replace(
        predictions, logits=np.zeros_like(predictions.logits)
      )
    if predicted is None:
      predicted = predictions.predicted()
    labels, predicted = predictions.labels > 0, predicted > 0
    self._losses = predictions.losses.astype(np.float64)
    # As float64, in which products of whole numbers are fast and exact.
    self._labels, self._predicted = labels * 1.0, predicted * 1.0
    self._hits = (labels & predicted) * 1.0
    right = labels == predicted
    self._right, self._exact = right.mean(axis=1), right.all(axis=1)
    probabilities = predictions.probabilities()
    self._errors = np.square(probabilities - labels).mean(axis=1)
    self._bins = [
      calibration.Bins(*columns)
      for columns in zip(probabilities.T, labels.T, strict=True)
    ]
    self._areas = Areas(predictions, repeated=repeated)

    def rank() -> curves.Ranking:
      return curves.Ranking(labels.ravel(), probabilities.ravel())

    self._rank = functools.cache(rank) if repeated else rank

  def __call__(self, weights: np.ndarray) -> dict[str, float]:
    """Returns the metrics.

    Args:
      weights: i64[n], how often each image counts, at least one above 0.
    """
    total = float(weights.sum())
    counts = weights.astype(np.float64)
    classes = self._labels.shape[1]
    present, found = counts @ self._labels, counts @ self._predicted
    of_label = from_counts(present, found, counts @ self._hits, total)
    of_label |= self._areas(weights)
    pairs = self._rank().curve(np.repeat(weights, classes))
    hits = (counts @ self._hits).sum()
    answers = present.sum() + found.sum()
    metrics = {
      "loss": counts @ self._losses / total,
      "macro_auroc": _mean(of_label["auroc"]),
      "macro_average_precision": _mean(of_label["average_precision"]),
      "micro_average_precision": curves.average_precision(*pairs),
      "macro_f1": _mean(of_label["f1"]),
      "micro_f1": 2 * hits / answers if present.any() else np.nan,
      "macro_sensitivity": _mean(of_label["recall"]),
      "macro_specificity": _mean(of_label["specificity"]),
      "label_accuracy": counts @ self._right / total,
      "exact_match": counts @ self._exact / total,
      "majority_rate": np.maximum(present, total - present).mean() / total,
      "brier": counts @ self._errors / total,
      "ece": np.mean([x.reliability(weights).ece() for x in self._bins]),
      "count": total,
    }
    return {
      name: float(value) if self._finite or name in DEFINED else np.nan
      for name, value in metrics.items()
    }


def from_counts(
  present: np.ndarray, found: np.ndarray, hits: np.ndarray, total: float
) -> dict[str, np.ndarray]:
  """Returns what numbers of images determine of every label.

  Args:
    present, found, hits: f64[classes], numbers of images that have the label,
      for which it is predicted, and of which both is true.
    total: number of images.

  Returns:
    'precision', 'recall', 'specificity' and 'f1', each f64[classes]; NaN of a
    label that no image has, or that all have.
  """
  absent = total - present
  metrics = {
    "precision": _ratio(hits, found),
    "recall": _ratio(hits, present),
    "specificity": _ratio(absent - (found - hits), absent),
    "f1": _ratio(2 * hits, present + found),
  }
  undefined = (present == 0) | (absent == 0)
  return {k: np.where(undefined, np.nan, v) for k, v in metrics.items()}


def per_label(
  predictions: Predictions, predicted: np.ndarray | None = None
) -> dict[str, np.ndarray]:
  """Returns metrics of every label.

  Args:
    predictions: of all n images, whose labels are u8[n, classes].
    predicted: u8[n, classes], predicted labels; None: those with a probability
      of at least 0.5.

  Returns:
    Those of `from_counts`, 'support' (images with the label), 'auroc' and
    'average_precision', each f64[classes]. All but the support are NaN if a
    logit is not finite.
  """
  if predicted is None:
    predicted = predictions.predicted()
  labels, predicted = predictions.labels > 0, predicted > 0
  support = labels.sum(axis=0).astype(np.float64)
  hits = (labels & predicted).sum(axis=0)
  metrics = from_counts(support, predicted.sum(axis=0), hits, len(labels))
  if not np.isfinite(predictions.logits).all():
    metrics = {k: np.full_like(v, np.nan) for k, v in metrics.items()}
  areas = Areas(predictions, repeated=False)()
  return {**metrics, **areas, "support": support}


def _mean(values: np.ndarray) -> float:
  """The mean of what is defined; NaN of nothing."""
  defined = values[~np.isnan(values)]
  return float(defined.mean()) if len(defined) else np.nan


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.asarray(numerator, np.float64) / denominator
