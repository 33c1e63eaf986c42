"""Confidence intervals of metrics, by resampling groups or images.

The patients (slides) of a test set are a sample of those there are, and the
images of one are alike. So whole groups are drawn, as many as there are, with
replacement; images one by one only where no groups are known. Nothing is
stratified: the shares of the classes vary with the groups, as they would.
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8, 13
and 14.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.special

from mn_jax.errors import InputError
from mn_jax.metrics import classification
from mn_jax.metrics.predictions import Predictions
from mn_jax.metrics.weighted import WeightedMetrics

Metrics = dict[str, float]
_METHODS = ("percentile", "bca")


@dataclasses.dataclass(frozen=True)
class Interval:
  """A metric and the interval that its value lies in with some confidence.

  Attributes:
    value: of the whole split.
    low, high: the ends; NaN if the value is undefined or there are fewer than
      two groups.
    undefined: resamples in which the metric is undefined; the interval is that
      of the others.
    resamples: all of them.
  """

  value: float
  low: float
  high: float
  undefined: int
  resamples: int


def intervals(
  predictions: Predictions,
  *,
  positive: int | None,
  groups: np.ndarray | None = None,
  found: np.ndarray | None = None,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
  method: str = "percentile",
) -> dict[str, Interval]:
  """Intervals of the metrics of `classification.summarize`.

  Args:
    predictions: of the whole split.
    positive: the class that is looked for, or None.
    groups: [n] numbers or names of the images' groups; None: each image is one.
    found: as of `summarize`.
    seed: of the draws, at least 0.
    resamples: how many.
    level: confidence, between 0 and 1.
    method: 'percentile', or 'bca' (bias-corrected and accelerated; Efron
      1987), which leaves each group out once and is NaN where all resamples
      lie on one side of the value.

  Returns:
    By metric, without the count.

  Raises:
    InputError: for groups, a number or a method that cannot be used.
  """
  check(resamples=resamples, level=level, seed=seed)
  if method not in _METHODS:
    raise InputError(
      f"method: got {method!r}; valid: {', '.join(map(repr, _METHODS))}"
    )
  codes = group_codes(predictions, groups)
  values = classification.summarize(predictions, positive=positive, found=found)
  del values["count"]
  weighted = WeightedMetrics(predictions, positive=positive, found=found)
  samples = resample(weighted, codes, resamples=resamples, seed=seed)
  single = codes.max() == 0
  if method == "percentile" or single:
    ends = {name: percentiles(samples[name], level) for name in values}
  else:
    center = weighted(np.ones(len(codes), np.int64))
    left_out = _leave_one_out(weighted, codes)
    ends = {
      name: _bca(center[name], samples[name], left_out[name], level)
      for name in values
    }
  result = {}
  for name, value in values.items():
    low, high = (np.nan, np.nan) if single or np.isnan(value) else ends[name]
    undefined = int(np.isnan(samples[name]).sum())
    result[name] = Interval(value, low, high, undefined, resamples)
  return result


def check(*, resamples: int, level: float, seed: int) -> None:
  """Refuses what no interval can be made with.

  Raises:
    InputError: naming the argument.
  """
  if resamples < 1:
    raise InputError(f"resamples: got {resamples}; valid: at least 1")
  if not 0 < level < 1:
    raise InputError(f"level: got {level}; valid: between 0 and 1")
  if not 0 <= seed < 2**64:
    raise InputError(f"seed: got {seed}; valid: 0 to 2**64 - 1")


def group_codes(
  predictions: Predictions, groups: np.ndarray | None
) -> np.ndarray:
  """i64[n]: the number of each image's group, in the order of their names.

  Without groups, images are numbered in the order of their ids. So the
  intervals do not depend on the order of the predictions.

  Raises:
    InputError: if there are no images, or not a group for each.
  """
  if not len(predictions.ids):
    raise InputError("predictions: got none; valid: at least one image")
  if groups is None:
    groups = predictions.ids
  if len(groups) != len(predictions.ids):
    raise InputError(
      f"groups: got {len(groups)} for {len(predictions.ids)} images; valid: "
      "one for each"
    )
  return np.unique(groups, return_inverse=True)[1]


def draw(groups: int, *, seed: int, number: int) -> np.ndarray:
  """How often a resample has each group.

  Philox's raw words are fixed by its definition, while NumPy's own draws of
  integers may change between versions. The upper 32 bits of each word, times
  the number of groups, divided by 2**32 and rounded down, are a group: none is
  likelier than another by more than the number of groups in 2**32. So the draws
  are the same on every machine, and with them metrics of counts and ranks; the
  Brier score and the calibration error are as far as the exponential function
  is, which may round differently on another processor.

  Args:
    groups: their number, below 2**32.
    seed: of all resamples.
    number: of this one.

  Returns:
    i64[groups], with the sum `groups`.
  """
  bits = np.random.Philox(key=np.array([seed, number], np.uint64))
  upper = bits.random_raw(groups) >> np.uint64(32)
  drawn = (upper * np.uint64(groups)) >> np.uint64(32)
  return np.bincount(drawn.astype(np.int64), minlength=groups)


def resample(
  metrics: Callable[[np.ndarray], Metrics],
  codes: np.ndarray,
  *,
  resamples: int,
  seed: int,
) -> dict[str, np.ndarray]:
  """The metrics of each resample.

  Args:
    metrics: from i64[n], how often each image counts.
    codes: i64[n], from `group_codes`.
    resamples: how many.
    seed: of the draws.

  Returns:
    f64[resamples] by metric.
  """
  groups = int(codes.max()) + 1
  rows = [
    metrics(draw(groups, seed=seed, number=number)[codes])
    for number in range(resamples)
  ]
  return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def percentiles(samples: np.ndarray, level: float) -> tuple[float, float]:
  """The middle share `level` of f64[resamples]; NaN if none is defined."""
  return _quantiles(samples, (1 - level) / 2, (1 + level) / 2)


def _quantiles(
  samples: np.ndarray, low: float, high: float
) -> tuple[float, float]:
  defined = samples[~np.isnan(samples)]
  if not len(defined) or np.isnan(low) or np.isnan(high):
    return np.nan, np.nan
  low, high = np.quantile(defined, [low, high])
  return float(low), float(high)


def _leave_one_out(
  metrics: Callable[[np.ndarray], Metrics], codes: np.ndarray
) -> dict[str, np.ndarray]:
  rows = [
    metrics((codes != code).astype(np.int64)) for code in np.unique(codes)
  ]
  return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _bca(
  value: float, samples: np.ndarray, left_out: np.ndarray, level: float
) -> tuple[float, float]:
  """Quantiles shifted by bias and skewness (Efron and Tibshirani, 14.9-15)."""
  defined = samples[~np.isnan(samples)]
  left_out = left_out[~np.isnan(left_out)]
  if not len(defined) or not len(left_out):
    return np.nan, np.nan
  below = ((defined < value).mean() + (defined <= value).mean()) / 2
  if below in (0, 1):
    return np.nan, np.nan
  bias = scipy.special.ndtri(below)
  gaps = left_out.mean() - left_out
  spread = (gaps**2).sum() ** 1.5
  skew = (gaps**3).sum() / (6 * spread) if spread else 0.0
  z = bias + scipy.special.ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
  low, high = scipy.special.ndtr(bias + z / (1 - skew * z))
  return _quantiles(samples, low, high)
