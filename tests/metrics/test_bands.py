"""Tests of bands around curves."""

import numpy as np
import pytest

from mn_jax.metrics import bands, operating_point
from mn_jax.metrics.operating_point import Target
from tests.metrics import toy_predictions as toy


def measure(predictions, codes, **options):
  return bands.measure(
    predictions.labels == 1,
    predictions.probabilities()[:, 1],
    codes,
    **options,
  )


def test_a_band_has_the_intervals_of_operating_points():
  predictions, groups = toy.random(300, 2), np.arange(300) // 6
  found = measure(predictions, groups, resamples=200)
  for value in (0.5, 0.8, 0.9, 0.95):
    point = operating_point.from_own_roc(
      predictions,
      Target("specificity", value),
      positive=1,
      groups=groups,
      resamples=200,
    )
    place = round(100 * (1 - value))
    low, high = found.sensitivity[:, place]
    assert low == pytest.approx(point.sensitivity.low, abs=1e-12)
    assert high == pytest.approx(point.sensitivity.high, abs=1e-12)


def test_precision_at_a_recall_counts_the_images_above():
  predictions = toy.random(120, 2)
  hits = predictions.labels == 1
  scores = predictions.probabilities()[:, 1]
  found = measure(predictions, np.arange(120), resamples=300)
  for recall in (0.25, 0.5, 0.9):
    at = max(
      cut for cut in scores if (scores[hits] >= cut).mean() >= recall - 1e-12
    )
    precision = hits[scores >= at].mean()
    low, high = found.precision[:, round(100 * recall)]
    assert low < precision < high
  # Of every image the share of the class is left.
  low, high = found.precision[:, -1]
  assert low <= hits.mean() + 0.1
  assert np.isfinite(found.precision).all()


def test_bands_are_in_order_and_rise():
  found = measure(toy.random(200, 2), np.arange(200) // 5, resamples=100)
  low, high = found.sensitivity
  assert (low <= high).all()
  assert (np.diff(low) >= 0).all()
  assert (np.diff(high) >= 0).all()
  assert high[-1] == low[-1] == 1


def test_one_group_or_class_has_no_band():
  predictions = toy.random(50, 2)
  for found in (
    measure(predictions, np.zeros(50, int), resamples=20),
    bands.measure(np.ones(50, bool), np.ones(50), np.arange(50), resamples=20),
  ):
    assert np.isnan(found.sensitivity).all()
    assert np.isnan(found.precision).all()
