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
    thresholds: f64[m], the distinct scores, falling; an image is predicted
      positive if its score is at least the threshold.
    true_positives: i64[m], positive images among them.
    false_positives: i64[m], other images among them.
  """

  thresholds: np.ndarray
  true_positives: np.ndarray
  false_positives: np.ndarray


def count_along_thresholds(positive: np.ndarray, scores: np.ndarray) -> Curve:
  """Counts positive and other images above each threshold.

  Args:
    positive: bool[n].
    scores: f64[n], finite, higher for the positive class.
  """
  order, ends = _sort_falling(scores)
  true_positives = np.cumsum(positive[order])[ends]
  return Curve(scores[order][ends], true_positives, ends + 1 - true_positives)


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
  return float((np.diff(tps, prepend=0) / tps[-1] * (tps / (tps + fps))).sum())


class WeightedAreas:
  """AUROC and average precision of the same scores under many weights.

  Scores are sorted once. The AUROC is the share of pairs in right order,
  ties being halves (Hanley and McNeil 1982), counted in integers; only
  thresholds that positive images pass are visited.
  """

  def __init__(self, positive: np.ndarray, scores: np.ndarray):
    """Sorts the scores.

    Args:
      positive: bool[n].
      scores: f64[n], finite, higher for the positive class.
    """
    self._order, ends = _sort_falling(scores)
    places = np.flatnonzero(positive[self._order])
    self._positives = self._order[places]
    passed = np.searchsorted(ends, places)
    # The last positive image of each threshold, and where the threshold's
    # images begin and end.
    self._last = np.flatnonzero(np.diff(passed, append=len(ends)))
    self._ends = ends[passed[self._last]]
    starts = np.concatenate([[-1], ends])
    self._starts = starts[passed[self._last]]

  def areas(
    self, weights: np.ndarray, above: np.ndarray
  ) -> tuple[float, float]:
    """Returns AUROC and average precision, with images counted by weights.

    Args:
      weights: i64[n], at least 0, how often each image counts.
      above: i64[n + 1], overwritten: allocating it in each call would cost
        more than the rest.

    Returns:
      Both areas; NaN where undefined.
    """
    np.take(weights, self._order, out=above[:-1], mode="clip")
    np.cumsum(above[:-1], out=above[:-1])
    # For the start -1: nothing is above the first score.
    above[-1] = 0
    tps = np.cumsum(weights[self._positives])[self._last]
    positives = int(tps[-1]) if len(tps) else 0
    if not positives:
      return np.nan, np.nan
    negatives = int(above[-2]) - positives
    gained = tps.copy()
    gained[1:] -= tps[:-1]
    passed = above[self._ends]
    # Weights of 0 may leave nothing at a threshold; then nothing is gained.
    precision = tps / np.maximum(passed, 1)
    area = float((gained / positives * precision).sum())
    if not negatives:
      return np.nan, area
    # Other images above the threshold, without and with those that tie.
    without, together = above[self._starts] - (tps - gained), passed - tps
    pairs = int((gained * (2 * negatives - without - together)).sum())
    return pairs / (2 * positives * negatives), area


def _sort_falling(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Images by falling score, and the last position of each distinct score."""
  order = np.argsort(-scores)
  steps = np.flatnonzero(np.diff(scores[order]))
  return order, np.append(steps, len(scores) - 1)
