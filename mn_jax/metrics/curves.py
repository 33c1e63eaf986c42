"""ROC and precision-recall curves, and the areas under them.

Both curves move the threshold down through the distinct scores. Images with
equal scores pass it together, so that neither depends on the order of ties.
"""

import numpy as np


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

  def curve(
    self, weights: np.ndarray | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Counts the images that are predicted positive at each threshold.

    Args:
      weights: i64[n], at least 0, how often each image counts; None: once.

    Returns:
      Two i64[m]: true and false positives, by falling threshold.
    """
    if weights is None:
      tps = np.cumsum(self._positive)[self._ends]
      return tps, self._ends + 1 - tps
    ranked = weights[self._order]
    tps = np.cumsum(ranked * self._positive)[self._ends]
    return tps, np.cumsum(ranked)[self._ends] - tps


def auroc(tps: np.ndarray, fps: np.ndarray) -> float:
  """Returns the area under the ROC curve; NaN without images of both kinds.

  Summed as in scikit-learn's `roc_auc_score`, to the last bit: points within
  straight lines are left out first.

  Args:
    tps, fps: i64[m], true and false positives, from `Ranking.curve`.
  """
  if not (tps[-1] and fps[-1]):
    return np.nan
  if len(tps) > 2:
    corner = (np.diff(tps, 2) != 0) | (np.diff(fps, 2) != 0)
    corner = np.concatenate([[True], corner, [True]])
    tps, fps = tps[corner], fps[corner]
  tpr = np.concatenate([[0], tps]) / tps[-1]
  fpr = np.concatenate([[0], fps]) / fps[-1]
  return float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())


def average_precision(tps: np.ndarray, fps: np.ndarray) -> float:
  """Returns the mean precision over the positive images; NaN without any.

  The precision at a positive image is that of the threshold it passes, without
  interpolation, as in scikit-learn's `average_precision_score`.

  Args:
    tps, fps: i64[m], true and false positives, from `Ranking.curve`.
  """
  if not tps[-1]:
    return np.nan
  # Weights of 0 may leave nothing at a threshold; then nothing is gained.
  precision = tps / np.maximum(tps + fps, 1)
  return float((np.diff(tps, prepend=0) / tps[-1] * precision).sum())
