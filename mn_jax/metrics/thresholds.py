"""Decision thresholds on the probability of the positive class.

The argmax of a network trained on unbalanced classes is seldom the decision
that is wanted. A threshold is chosen on the validation part, among the scores
of its images (of equally good ones the highest), and applied to other parts.
"""

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import curves
from mn_jax.metrics.predictions import Predictions


def best_balanced_accuracy(predictions: Predictions, *, positive: int) -> float:
  """Returns the threshold with the best mean of sensitivity and specificity.

  It maximises Youden's index (Youden 1950).

  Args:
    predictions: of the validation part.
    positive: index of the positive class, or of a label.

  Returns:
    From 0 to 1; NaN without images of both kinds or if a logit is not finite.
  """
  hits = predictions.is_of(positive)
  if (
    not 0 < hits.sum() < len(hits) or not np.isfinite(predictions.logits).all()
  ):
    return np.nan
  ranking = curves.Ranking(hits, predictions.probabilities()[:, positive])
  tps, fps = ranking.curve()
  # In integers, so that equal ones are equal.
  best = np.argmax(tps * fps[-1] - fps * tps[-1])
  return float(ranking.thresholds()[best])


def decide(
  predictions: Predictions, threshold: float, *, positive: int
) -> np.ndarray:
  """Returns the classes predicted with a threshold.

  Args:
    predictions: of any part.
    threshold: least probability of an image that is predicted positive.
    positive: index of the positive class.

  Returns:
    i64[n]: the positive class, or the likeliest of the others.

  Raises:
    InputError: if the threshold is undefined.
  """
  if np.isnan(threshold):
    raise InputError(
      "threshold: got nan, chosen without images of both kinds or by a network "
      "that diverged; valid: a number"
    )
  others = predictions.logits.astype(np.float64)
  others[:, positive] = -np.inf
  above = predictions.probabilities()[:, positive] >= threshold
  return np.where(above, positive, others.argmax(axis=1))


def of_labels(predictions: Predictions) -> np.ndarray:
  """Returns each label's threshold with the best balanced accuracy.

  Args:
    predictions: of the validation part, whose labels are u8[n, classes].

  Returns:
    f64[classes]; NaN for a label that no image has, or that all have, and if a
    logit is not finite.
  """
  labels = range(predictions.labels.shape[1])
  return np.array(
    [best_balanced_accuracy(predictions, positive=label) for label in labels]
  )


def decide_labels(
  predictions: Predictions, thresholds: np.ndarray
) -> np.ndarray:
  """Returns the labels predicted with a threshold for each.

  Args:
    predictions: of any part, whose labels are u8[n, classes].
    thresholds: f64[classes], least probability with which a label is predicted;
      for NaN, 0.5.

  Returns:
    u8[n, classes].
  """
  least = np.where(np.isnan(thresholds), 0.5, thresholds)
  return (predictions.probabilities() >= least).astype(np.uint8)
