"""Comparison of two networks by their predictions on the same images.

Differences are the first minus the second.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap, classification
from mn_jax.metrics.predictions import Predictions, group_codes


@dataclasses.dataclass(frozen=True)
class Agreement:
  """How far the predictions of two networks agree, image by image.

  Attributes:
    changed_share: share of images with different predicted classes; of images
      with several labels, that of which any label differs.
    largest_probability_difference: largest absolute difference of the
      probabilities of a class.
  """

  changed_share: float
  largest_probability_difference: float


def agreement(
  first: Predictions,
  second: Predictions,
  *,
  predicted_first: np.ndarray | None = None,
  predicted_second: np.ndarray | None = None,
) -> Agreement:
  """Compares predictions regardless of labels; NaN if a logit is not finite.

  Args:
    first, second: of the same images in the same order.
    predicted_first, predicted_second: i[n], predicted classes; None: those of
      the highest logits.

  Raises:
    InputError: if the images differ.
  """
  _check_same(first, second)
  if not (np.isfinite(first.logits) & np.isfinite(second.logits)).all():
    return Agreement(np.nan, np.nan)
  ours, theirs = predicted_first, predicted_second
  ours = first.predicted() if ours is None else ours
  theirs = second.predicted() if theirs is None else theirs
  changed = ours != theirs
  if first.multi_label:
    changed = changed.any(axis=1)
  gaps = first.probabilities() - second.probabilities()
  return Agreement(float(changed.mean()), float(np.abs(gaps).max()))


def on_images(
  first: Predictions,
  second: Predictions,
  *,
  positive: int | None,
  groups: np.ndarray | None = None,
  predicted_first: np.ndarray | None = None,
  predicted_second: np.ndarray | None = None,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
) -> dict[str, bootstrap.Interval]:
  """Compares the metrics of two networks on the same images.

  Every resample is one of images, or of groups, for both networks: what makes
  an image hard for both does not widen the interval of the difference.

  Args:
    first, second: of the same n images in the same order.
    positive: index of the positive class, or None.
    groups: [n] numbers or names of the images' groups; None: each image is one.
    predicted_first, predicted_second: as in `classification.summarize`.
    seed: of the resamples, at least 0.
    resamples: number of resamples.
    level: confidence, between 0 and 1.

  Returns:
    Metric of `classification.summarize`, without those that no network changes
    -> the difference, first minus second, and its bootstrap interval.

  Raises:
    InputError: if the images differ, there are none, or not a group for each.
  """
  _check_same(first, second)
  codes = group_codes(first, groups)
  weighted = [
    classification.weighted(outputs, positive=positive, predicted=predicted)
    for outputs, predicted in (
      (first, predicted_first),
      (second, predicted_second),
    )
  ]

  def difference(weights: np.ndarray) -> dict[str, float]:
    ours, theirs = (metrics(weights) for metrics in weighted)
    return {
      name: value - theirs[name]
      for name, value in ours.items()
      if name not in classification.DEFINED
    }

  samples = bootstrap.resample(
    difference, codes, resamples=resamples, seed=seed
  )
  values = difference(np.ones(len(codes), np.int64))
  return {
    name: bootstrap.interval(
      value,
      bootstrap.centred(name, value, samples[name]),
      groups=codes.max() + 1,
      level=level,
    )
    for name, value in values.items()
  }


def holm(p_values: Sequence[float]) -> np.ndarray:
  """Adjusts the p-values of several comparisons (Holm 1979).

  Calling those of at most alpha different errs anywhere among them with a
  chance of at most alpha.

  Args:
    p_values: of each comparison, 0 to 1; NaN of one that is not made yet. It
      stays NaN, but counts among those that are: no result depends on which of
      the planned comparisons were made.

  Returns:
    f64[n], in the order given.
  """
  adjusted = np.array(p_values, np.float64)
  order = np.argsort(adjusted, kind="stable")
  left = np.arange(len(order), 0, -1)
  raised = np.minimum(adjusted[order] * left, 1)
  # NaNs are the last, and make those after them NaN.
  adjusted[order] = np.maximum.accumulate(raised)
  return adjusted


def _check_same(first: Predictions, second: Predictions) -> None:
  same = np.array_equal(first.ids, second.ids)
  if not same or not np.array_equal(first.labels, second.labels):
    raise InputError(
      f"predictions: got {len(first.ids)} and {len(second.ids)} of different "
      "images, labels or order; valid: two networks' of the same"
    )
