"""Metrics of the order of scores: ROC and precision-recall curves.

Both curves move the threshold down through the distinct scores. Images with
the same score pass it together, so that neither depends on the order of ties.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Curve:
  """Counts of what is taken for positive at each threshold.

  Attributes:
    thresholds: f64[m], the distinct scores, falling; scores of at least the
      threshold are taken for positive.
    true_positives: i64[m], positive images among those.
    false_positives: i64[m], the other images among those.
  """

  thresholds: np.ndarray
  true_positives: np.ndarray
  false_positives: np.ndarray


def curve(positive: np.ndarray, scores: np.ndarray) -> Curve:
  """Counts along the thresholds.

  Args:
    positive: bool[n].
    scores: f64[n], finite, higher for the positive class.
  """
  order, ends = _fall(scores)
  found = np.cumsum(positive[order])[ends]
  return Curve(scores[order][ends], found, ends + 1 - found)


def auroc(counts: Curve) -> float:
  """The area under the ROC curve; NaN without images of both kinds.

  It is summed as scikit-learn's `roc_auc_score` does, to the last bit: points
  within straight lines are left out first. So results compare with old ones.
  """
  tps, fps = counts.true_positives, counts.false_positives
  if not (tps[-1] and fps[-1]):
    return np.nan
  if len(tps) > 2:
    corner = (np.diff(tps, 2) != 0) | (np.diff(fps, 2) != 0)
    kept = np.concatenate([[True], corner, [True]])
    tps, fps = tps[kept], fps[kept]
  tpr = np.concatenate([[0], tps]) / tps[-1]
  fpr = np.concatenate([[0], fps]) / fps[-1]
  return float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())


def average_precision(counts: Curve) -> float:
  """The mean precision over the positive images; NaN without any.

  The precision at a positive image is that of the threshold it passes; no
  interpolation (scikit-learn's `average_precision_score`).
  """
  tps, fps = counts.true_positives, counts.false_positives
  if not tps[-1]:
    return np.nan
  return float((np.diff(tps, prepend=0) / tps[-1] * (tps / (tps + fps))).sum())


class Weighted:
  """Both areas for many sets of weights over the same scores.

  The sorting is done once. The AUROC is the share of pairs in right order,
  ties being halves (Hanley and McNeil 1982), counted in integers; only the
  thresholds that positive images pass are looked at.
  """

  def __init__(self, positive: np.ndarray, scores: np.ndarray):
    """Sorts.

    Args:
      positive: bool[n].
      scores: f64[n], finite, higher for the positive class.
    """
    self._order, ends = _fall(scores)
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
    """AUROC and average precision with every image counted so often.

    Args:
      weights: i64[n], at least 0.
      above: i64[n + 1] to work in, because fresh memory costs more than what is
        done in it.

    Returns:
      Both; NaN where they are undefined.
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
    found = above[self._ends]
    # Weights of 0 may leave nothing at a threshold; then nothing is gained.
    precision = tps / np.maximum(found, 1)
    area = float((gained / positives * precision).sum())
    if not negatives:
      return np.nan, area
    # Other images above the threshold, without and with those that tie.
    without, together = above[self._starts] - (tps - gained), found - tps
    pairs = int((gained * (2 * negatives - without - together)).sum())
    return pairs / (2 * positives * negatives), area


def _fall(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Images by falling score, and the last place of each distinct score."""
  order = np.argsort(-scores)
  steps = np.flatnonzero(np.diff(scores[order]))
  return order, np.append(steps, len(scores) - 1)
