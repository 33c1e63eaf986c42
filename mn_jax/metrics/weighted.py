"""The metrics of a split whose images count more or less than once.

A resample is such a split. What can be prepared is prepared once, so that
thousands of resamples are affordable.
"""

import numpy as np

from mn_jax.metrics import calibration, classification, curves
from mn_jax.metrics.predictions import Predictions


class WeightedMetrics:
  """Gives the metrics of `classification.summarize` for weights."""

  def __init__(
    self,
    predictions: Predictions,
    *,
    positive: int | None,
    found: np.ndarray | None = None,
  ):
    """Sorts and bins; the arguments are those of `summarize`."""
    self._labels = predictions.labels
    self._classes = predictions.logits.shape[1]
    self._positive = positive
    self._losses = predictions.losses.astype(np.float64)
    self._finite = bool(np.isfinite(predictions.logits).all())
    self._found = found
    if not self._finite:
      self._found = np.zeros_like(predictions.labels)
      return
    if found is None:
      self._found = predictions.logits.argmax(axis=1)
    self._above = np.empty(len(self._labels) + 1, np.int64)
    probabilities = predictions.probabilities()
    self._errors = calibration.squared_errors(self._labels, probabilities)
    self._top = calibration.TopLabel(predictions, probabilities)
    self._rankings = {
      label: curves.Weighted(self._labels == label, probabilities[:, label])
      for label in (np.unique(self._labels) if positive is None else [positive])
    }

  def __call__(self, weights: np.ndarray) -> dict[str, float]:
    """The metrics.

    Args:
      weights: i64[n], how often each image counts, at least one above 0.

    Returns:
      What `summarize` returns for images repeated so often; rounding differs.
    """
    matrix = classification.confusion_matrix(
      self._labels, self._found, self._classes, weights
    )
    counts = classification.of_counts(matrix, positive=self._positive)
    prefix = "macro_" if self._positive is None else ""
    names = (f"{prefix}auroc", f"{prefix}average_precision")
    if not self._finite:
      kept = {name: counts[name] for name in classification.DEFINED}
      names += ("loss", "brier", "ece")
      return dict.fromkeys([*counts, *names], np.nan) | kept
    present = matrix.sum(axis=1) > 0
    areas = [
      ranked.areas(weights, self._above)
      for label, ranked in self._rankings.items()
      if present[label] or self._positive is not None
    ]
    total = weights.sum()
    return {
      "loss": float((self._losses * weights).sum() / total),
      **counts,
      "brier": float((self._errors * weights).sum() / total),
      "ece": self._top.reliability(weights).ece(),
      **{
        name: float(np.mean(values))
        for name, values in zip(names, zip(*areas, strict=True), strict=True)
      },
    }
