"""ROC and precision-recall curves, and the areas under them.

Both curves move the threshold down through the distinct scores. Images with
equal scores pass it together, so that neither depends on the order of ties.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Curve:
  """Counts of images that are predicted positive at each threshold.

  Attributes:
    true_positives: i64[m], positive images among them, by falling threshold.
    false_positives: i64[m], other images among them.
  """

  true_positives: np.ndarray
  false_positives: np.ndarray


class Ranking:
  """Images by falling score, from which curves of any weights are counted."""

  def __init__(self, positive: np.ndarray, scores: np.ndarray):
    """Sorts the scores.

    Args:
      positive: bool[n].
      scores: f64[n], finite, higher for the positive class.
    """
    self._order = np.argsort(-scores)
    ranked = scores[self._order]
    # The last position of each distinct score.
    self._ends = np.append(np.flatnonzero(np.diff(ranked)), len(scores) - 1)
    self._positive = positive[self._order]
    self._scores = scores

  def thresholds(self) -> np.ndarray:
    """Returns f64[m], the distinct scores, falling.

    An image is predicted positive if its score is at least the threshold.
    """
    return self._scores[self._order[self._ends]]

  def curve(self, weights: np.ndarray | None = None) -> Curve:
    """Counts positive and other images above each threshold.

    Args:
      weights: i64[n], at least 0, how often each image counts; None: once.
    """
    if weights is None:
      true_positives = np.cumsum(self._positive)[self._ends]
      return Curve(true_positives, self._ends + 1 - true_positives)
    ranked = weights[self._order]
    true_positives = np.cumsum(ranked * self._positive)[self._ends]
    return Curve(true_positives, np.cumsum(ranked)[self._ends] - true_positives)


def auroc(curve: Curve) -> float:
  """Returns the area under the ROC curve; NaN without images of both kinds.

  Summed as in scikit-learn's `roc_auc_score`, to the last bit: points within
  straight lines are left out first.
  """
  tps, fps = curve.true_positives, curve.false_positives
  if not (tps[-1] and fps[-1]):
    return np.nan
  if len(tps) > 2:
    corner = (np.diff(tps, 2) != 0) | (np.diff(fps, 2) != 0)
    corner = np.concatenate([[True], corner, [True]])
    tps, fps = tps[corner], fps[corner]
  tpr = np.concatenate([[0], tps]) / tps[-1]
  fpr = np.concatenate([[0], fps]) / fps[-1]
  return float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())


def average_precision(curve: Curve) -> float:
  """Returns the mean precision over the positive images; NaN without any.

  The precision at a positive image is that of the threshold it passes, without
  interpolation, as in scikit-learn's `average_precision_score`.
  """
  tps, fps = curve.true_positives, curve.false_positives
  if not tps[-1]:
    return np.nan
  # Weights of 0 may leave nothing at a threshold; then nothing is gained.
  precision = tps / np.maximum(tps + fps, 1)
  return float((np.diff(tps, prepend=0) / tps[-1] * precision).sum())
