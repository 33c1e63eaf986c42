"""Tests of means over folds."""

import numpy as np
import pytest
import scipy.stats

from mn_jax.metrics import folds


def test_without_shared_training_images_it_is_an_interval_of_student():
  values = [0.7, 0.8, 0.75, 0.9]
  found = folds.mean_over_folds(values, [0] * 4, [10] * 4)
  low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
  assert found.mean == pytest.approx(np.mean(values))
  assert found.std == pytest.approx(np.std(values, ddof=1))
  assert (found.low, found.high) == pytest.approx((low, high))


def test_shared_training_images_widen_it():
  """Nadeau and Bengio: 1/k + test/train in place of 1/k."""
  values = [0.7, 0.8, 0.75, 0.9, 0.85]
  plain = folds.mean_over_folds(values, [0] * 5, [10] * 5)
  found = folds.mean_over_folds(values, [20] * 5, [80] * 5)
  ratio = (found.high - found.low) / (plain.high - plain.low)
  assert ratio == pytest.approx(((1 / 5 + 1 / 4) / (1 / 5)) ** 0.5)


def test_undefined_folds_have_no_mean():
  found = folds.mean_over_folds([0.5, np.nan], [1, 1], [2, 2])
  assert np.isnan([found.mean, found.std, found.low, found.high]).all()
  one = folds.mean_over_folds([0.5], [1], [2])
  assert one.mean == 0.5
  assert np.isnan([one.std, one.low, one.high]).all()
