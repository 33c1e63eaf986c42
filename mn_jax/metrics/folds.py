"""The mean of a metric over the folds of a cross-validation."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mn_jax.metrics.estimates import Estimate


@dataclasses.dataclass(frozen=True)
class FoldMean:
  """A metric over folds.

  Attributes:
    mean: over folds; NaN if the metric is undefined in one, because a mean over
      some folds is not the mean over all.
    std: sample standard deviation over folds; no standard error, because folds
      share training images.
    low, high: interval of the mean; NaN of fewer than two folds.
  """

  mean: float
  std: float
  low: float
  high: float


def mean_over_folds(
  values: Sequence[float],
  test: Sequence[int],
  train: Sequence[int],
  *,
  bounds: tuple[float, float] = (0.0, 1.0),
  is_difference: bool = False,
  level: float = 0.95,
) -> FoldMean:
  """Returns the mean over folds with a corrected interval.

  Folds share most of their training images, so their values are correlated and
  a plain interval of Student's t is too narrow. The variance is corrected as by
  Nadeau and Bengio, "Inference for the generalization error", Machine Learning
  52 (2003), equation 9: `1 / folds + test / train` in place of `1 / folds`. It
  is an approximation: no estimate of this variance is unbiased (Bengio and
  Grandvalet, JMLR 5 (2004)).

  Args:
    values: of the metric, by fold.
    test, train: numbers of images of these parts, by fold.
    bounds: the least and the greatest value of the metric, between which the
      interval stays; see `estimates.Estimate`.
    is_difference: whether the values are differences of two such metrics.
    level: confidence, between 0 and 1.
  """
  folds = np.asarray(values, np.float64)
  mean = float(folds.mean())
  if np.isnan(mean) or len(folds) < 2:
    return FoldMean(mean, np.nan, np.nan, np.nan)
  std = float(folds.std(ddof=1))
  ratio = float(np.mean(np.asarray(test) / np.asarray(train)))
  error = std * (1 / len(folds) + ratio) ** 0.5
  estimate = Estimate(mean, (error,), (len(folds) - 1,), bounds, is_difference)
  return FoldMean(mean, std, *estimate.interval(level))
