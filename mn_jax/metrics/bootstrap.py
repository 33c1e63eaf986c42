"""Confidence intervals of metrics, by resampling groups or images.

The patients (or slides) of a test set are a sample, and the images of one are
alike. So whole groups are drawn with replacement, as many as there are, and
single images only where no groups are known. Nothing is stratified: the shares
of the classes vary with the groups, as in new samples.
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and
13.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from mn_jax.metrics import classification, multilabel
from mn_jax.metrics.predictions import Predictions, group_codes

# Resamples are fewer for many images and classes, so that resamples x logits
# stay below the last number.
_LEAST_RESAMPLES, _LOGITS = 50, 500_000_000
# Metrics that resampling makes larger.
BIASED = frozenset(("ece",))


@dataclasses.dataclass(frozen=True)
class Interval:
  """A metric and its confidence interval.

  Attributes:
    value: the metric of all images.
    low, high: ends of the interval; NaN if the metric is undefined or there are
      fewer than two groups.
    undefined: number of resamples in which the metric is undefined, which the
      interval leaves out.
    resamples: number of resamples.
  """

  value: float
  low: float
  high: float
  undefined: int
  resamples: int


def affordable(predictions: Predictions, resamples: int) -> int:
  """Returns how many resamples to draw of those that are asked for."""
  return min(
    resamples, max(_LEAST_RESAMPLES, _LOGITS // predictions.logits.size)
  )


def intervals(
  predictions: Predictions,
  *,
  positive: int | None,
  groups: np.ndarray | None = None,
  predicted: np.ndarray | None = None,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
) -> dict[str, Interval]:
  """Returns confidence intervals of the metrics of a part of a split.

  Args:
    predictions: of all n images.
    positive: index of the positive class, or None.
    groups: [n] numbers or names of the images' groups; None: each image is one.
    predicted: as in `classification.summarize`.
    seed: of the resamples, at least 0.
    resamples: number of resamples.
    level: confidence, between 0 and 1.

  Returns:
    Metric of `classification.summarize`, without the count -> interval between
    the percentiles of its resamples; that of `widen` for accuracy, sensitivity
    and specificity where no image is missed, or all are. The majority rate,
    which tells of the labels and is biased upward in resamples, has none.

  Raises:
    InputError: if there are no images, or not a group for each.
  """
  codes = group_codes(predictions, groups)
  values = classification.summarize(
    predictions, positive=positive, predicted=predicted
  )
  del values["count"]
  weighted = classification.weighted(
    predictions, positive=positive, predicted=predicted
  )
  samples = resample(weighted, codes, resamples=resamples, seed=seed)
  found = {
    name: interval(
      value,
      centred(name, value, samples[name]),
      groups=codes.max() + 1,
      level=level,
    )
    for name, value in values.items()
  }
  rate = found["majority_rate"]
  found["majority_rate"] = dataclasses.replace(rate, low=np.nan, high=np.nan)
  for name, counted in _counted(predictions, positive).items():
    found[name] = widen(
      found[name], groups=len(np.unique(codes[counted])), level=level
    )
  return found


def label_intervals(
  predictions: Predictions,
  *,
  groups: np.ndarray | None = None,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
) -> dict[str, list[Interval]]:
  """Returns confidence intervals of the areas of every label.

  Args:
    predictions: of all n images, whose labels are u8[n, classes].
    groups: [n] numbers or names of the images' groups; None: each image is one.
    seed: of the resamples, at least 0.
    resamples: number of resamples.
    level: confidence, between 0 and 1.

  Returns:
    'auroc' and 'average_precision' -> the interval of each label.

  Raises:
    InputError: if there are no images, or not a group for each.
  """
  codes = group_codes(predictions, groups)
  areas = multilabel.Areas(predictions)
  samples = resample(areas, codes, resamples=resamples, seed=seed)
  return {
    name: [
      interval(value, column, groups=codes.max() + 1, level=level)
      for value, column in zip(values.tolist(), samples[name].T, strict=True)
    ]
    for name, values in areas().items()
  }


def interval(
  value: float, samples: np.ndarray, *, groups: int, level: float
) -> Interval:
  """Returns the interval between the percentiles of a number's resamples.

  Args:
    value: the number of all images.
    samples: f64[resamples]; NaN where a resample does not define it.
    groups: number of groups that were resampled.
    level: confidence, between 0 and 1.
  """
  low = high = np.nan
  defined = samples[~np.isnan(samples)]
  if groups > 1 and len(defined) and not np.isnan(value):
    ends = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    low, high = ends.tolist()
  undefined = len(samples) - len(defined)
  return Interval(value, low, high, undefined, len(samples))


def centred(metric: str, value: float, samples: np.ndarray) -> np.ndarray:
  """Takes the bias of resampling from the resamples of a calibration error.

  The ECE sums absolute gaps, which chance makes larger: that of a test is above
  the true one, and that of a resample, which adds chance once more, above that
  of the test, so much that the interval between its percentiles often lies
  above the test's own. So resamples are moved by the bias that they show, their
  mean minus the value (Efron and Tibshirani 1993, chapter 10). The interval is
  then of the ECE that such networks have on average on tests of this size.
  Others are returned as they are.

  Args:
    metric: its name.
    value: of all images, or a difference.
    samples: f64[resamples]; NaN where a resample does not define it.
  """
  if metric not in BIASED or np.isnan(samples).all():
    return samples
  return samples - np.nanmean(samples) + value


def widen(found: Interval, *, groups: int, level: float) -> Interval:
  """Widens the interval of a share of which all resamples are 0 or all are 1.

  Resampling cannot tell how far a share is from 1 if every image is a hit: its
  interval is a single point, however few images there are. The interval of
  Clopper and Pearson (1934) for as many trials as groups is used there: of 10
  groups without a miss, from 0.692 to 1. Groups count as wholes, which is
  cautious where groups are of similar size.

  Args:
    found: interval of a share.
    groups: with images that count; of fewer than two there is no interval.
    level: confidence, between 0 and 1.
  """
  if groups < 2:
    return dataclasses.replace(found, low=np.nan, high=np.nan)
  if found.low != found.high or found.value not in (0.0, 1.0):
    return found
  end = ((1 - level) / 2) ** (1 / groups)
  if found.value:
    return dataclasses.replace(found, low=end)
  return dataclasses.replace(found, high=1 - end)


def _counted(
  predictions: Predictions, positive: int | None
) -> dict[str, np.ndarray]:
  """Returns bool[n] of each share, the images that it is a share of."""
  if predictions.multi_label:
    return {}
  counted = {"accuracy": np.full(len(predictions.labels), True)}
  if positive is not None:
    hits = predictions.is_of(positive)
    counted |= {"sensitivity": hits, "specificity": ~hits}
  return counted


def draw(groups: int, *, seed: int, number: int) -> np.ndarray:
  """Draws a resample: how often it contains each group.

  Philox's raw words are fixed by its definition, while NumPy's own draws of
  integers may change between versions. The upper 32 bits of each word, times
  the number of groups, divided by 2**32 and rounded down, are a group: none is
  likelier than another by more than the number of groups in 2**32. So the draws
  are the same on every machine, and with them metrics of counts and ranks; the
  Brier score and the calibration error are as far as the exponential function
  is, which may round differently on another processor.

  Args:
    groups: number of groups, below 2**32.
    seed: of all resamples.
    number: index of this resample.

  Returns:
    i64[groups], whose sum is `groups`.
  """
  bits = np.random.Philox(key=np.array([seed, number], np.uint64))
  upper = bits.random_raw(groups) >> np.uint64(32)
  drawn = (upper * np.uint64(groups)) >> np.uint64(32)
  return np.bincount(drawn.astype(np.int64), minlength=groups)


def resample(
  metrics: Callable[[np.ndarray], Mapping[str, float | np.ndarray]],
  codes: np.ndarray,
  *,
  resamples: int,
  seed: int,
) -> dict[str, np.ndarray]:
  """Computes the metrics of each resample.

  Args:
    metrics: computes them, numbers or arrays, from i64[n], how often each image
      counts.
    codes: i64[n], index of each image's group.
    resamples: number of resamples.
    seed: of the resamples.

  Returns:
    Metric -> f64[resamples, ...].
  """
  groups = int(codes.max()) + 1
  rows = [
    metrics(draw(groups, seed=seed, number=number)[codes])
    for number in range(resamples)
  ]
  return {name: np.array([row[name] for row in rows]) for name in rows[0]}
