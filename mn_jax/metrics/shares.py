"""Confidence intervals of shares of images, by resampling groups.

Accuracy, sensitivity and specificity are shares: of the images that count,
those that are hits. A resample is a weighted sum over groups, so the groups'
counts are all that is needed.
"""

import dataclasses

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
    0 and 1: see `widen`. All NaN if no image counts; NaN ends if the images
    that count are of a single group.
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
  value = divide(*counts.sum(axis=0))
  samples = np.array([divide(*row) for row in sums])
  units = int(np.count_nonzero(counts[:, 1]))
  return widen(percentiles(value, samples, units, level), units, level)


def percentiles(
  value: float, samples: np.ndarray, units: int, level: float = 0.95
) -> Interval:
  """Returns the interval between the percentiles of resamples.

  Args:
    value: the metric of all images.
    samples: f64[resamples], the metric of each; NaN where it is undefined.
    units: groups with images that count; there is no interval for one.
    level: confidence, between 0 and 1.
  """
  defined = samples[~np.isnan(samples)]
  low = high = np.nan
  if units > 1 and len(defined) and not np.isnan(value):
    ends = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    low, high = ends.tolist()
  return Interval(value, low, high, len(samples) - len(defined), len(samples))


def widen(found: Interval, units: int, level: float = 0.95) -> Interval:
  """Widens the interval of a share of which all resamples are 0 or all are 1.

  Resampling cannot tell how far a share is from 1 if every image is a hit: its
  interval is a single point, however few images there are. The interval of
  Clopper and Pearson (1934) for as many trials as groups is used there: of 10
  groups without a miss, from 0.692 to 1. Groups count as wholes, which is
  cautious where groups are of similar size.

  Args:
    found: interval of a share.
    units: groups with images that count.
    level: confidence, between 0 and 1.
  """
  if found.low != found.high or found.value not in (0.0, 1.0):
    return found
  end = ((1 - level) / 2) ** (1 / units)
  if found.value:
    return dataclasses.replace(found, low=end)
  return dataclasses.replace(found, high=1 - end)


def divide(numerator: float, denominator: float) -> float:
  """Returns a share; NaN of nothing."""
  return float(numerator / denominator) if denominator else np.nan
