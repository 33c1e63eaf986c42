"""Confidence intervals of shares of images, by resampling groups.

Accuracy, sensitivity and specificity are shares: of the images that count,
those that are hits. A resample is a weighted sum over groups, so the groups'
counts are all that is needed.
"""

import numpy as np

from mn_jax.metrics import bootstrap
from mn_jax.metrics.bootstrap import Interval


def interval(
  hits: np.ndarray,
  counted: np.ndarray,
  codes: np.ndarray,
  *,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
) -> Interval:
  """Returns the share of hits among the images that count, with an interval.

  Args:
    hits: bool[n].
    counted: bool[n], such as the images of the positive class for the
      sensitivity.
    codes: i64[n], index of each image's group, from `group_codes`.
    seed: of the resamples, at least 0.
    resamples: number of resamples.
    level: confidence, between 0 and 1.

  Returns:
    The percentile interval, as `bootstrap.intervals` has it, but for shares of
    0 and 1: see `bootstrap.widen`. All NaN if no image counts; NaN ends if the
    images that count are of a single group.
  """
  counts = np.stack(
    [np.bincount(codes, weights) for weights in (hits & counted, counted)], 1
  )
  sums = np.stack(
    [
      bootstrap.draw(len(counts), seed=seed, number=number) @ counts
      for number in range(resamples)
    ]
  )
  value = _divide(*counts.sum(axis=0))
  samples = np.array([_divide(*row) for row in sums])
  groups = int(np.count_nonzero(counts[:, 1]))
  found = bootstrap.interval(value, samples, groups=groups, level=level)
  return bootstrap.widen(found, groups=groups, level=level)


def _divide(numerator: float, denominator: float) -> float:
  """Returns a share; NaN of nothing."""
  return float(numerator / denominator) if denominator else np.nan
