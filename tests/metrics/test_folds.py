"""Tests of means over folds."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from mn_jax.metrics import folds


def test_without_shared_training_images_it_is_an_interval_of_student():
  values = [0.7, 0.8, 0.75, 0.9]
  bounds = (-1e6, 1e6)  # so far away that they bend nothing
  found = folds.mean_over_folds(values, [0] * 4, [10] * 4, bounds=bounds)
  low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
  assert found.mean == pytest.approx(np.mean(values))
  assert found.std == pytest.approx(np.std(values, ddof=1))
  assert (found.low, found.high) == pytest.approx((low, high), rel=1e-5)


def test_shared_training_images_widen_it():
  """Nadeau and Bengio: 1/k + test/train in place of 1/k."""
  values = [0.7, 0.8, 0.75, 0.9, 0.85]
  plain = folds.mean_over_folds(values, [0] * 5, [10] * 5)
  found = folds.mean_over_folds(values, [20] * 5, [80] * 5)
  logit = scipy.special.logit
  ratio = logit(found.high) - logit(found.low)
  ratio /= logit(plain.high) - logit(plain.low)
  assert ratio == pytest.approx(((1 / 5 + 1 / 4) / (1 / 5)) ** 0.5)
  wide = folds.mean_over_folds([0.99, 0.6, 1.0], [20] * 3, [40] * 3)
  assert 0 < wide.low < wide.mean < wide.high < 1


def test_undefined_folds_have_no_mean():
  found = folds.mean_over_folds([0.5, np.nan], [1, 1], [2, 2])
  assert np.isnan([found.mean, found.std, found.low, found.high]).all()
  one = folds.mean_over_folds([0.5], [1], [2])
  assert one.mean == 0.5
  assert np.isnan([one.std, one.low, one.high]).all()


def test_coverage_of_means_over_overlapping_splits():
  """Splits drawn anew of one data set; a plain interval is far too narrow."""
  rng = np.random.default_rng(0)
  images, train, test = 60, 45, 15
  corrected, plain = [], []
  for _ in range(1500):
    data = rng.normal(size=images)
    values = []
    for _ in range(5):
      order = rng.permutation(images)
      mean = data[order[:train]].mean()  # what is learnt
      values.append(((data[order[train:]] - mean) ** 2).mean())
    for kept, ratio in ((corrected, test), (plain, 0)):
      found = folds.mean_over_folds(
        values, [ratio] * 5, [train] * 5, bounds=(0, np.inf)
      )
      kept.append(found.low <= 1 + 1 / train <= found.high)
  assert 0.9 < np.mean(corrected) < 0.99
  assert np.mean(plain) < 0.85
