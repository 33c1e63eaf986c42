"""Tests of McNemar's test, of images and of groups of images."""

import math

import numpy as np
import pytest
import scipy.stats

from mn_jax.metrics import discordance


def _pair(both: int, first: int, second: int, neither: int):
  counts = (both, first, second, neither)
  ours = np.repeat([True, True, False, False], counts)
  theirs = np.repeat([True, False, True, False], counts)
  return ours, theirs


def test_images_alone_are_tested_exactly():
  ours, theirs = _pair(50, 15, 5, 30)
  found = discordance.measure(ours, theirs, np.arange(100))
  assert (found.first_only, found.second_only, found.groups) == (15, 5, 20)
  assert found.odds_ratio == 3
  # By hand: 2 x (1 + 20 + 190 + 1140 + 4845 + 15504) / 2^20.
  assert found.p_value == pytest.approx(2 * 21700 / 2**20)
  ends = scipy.stats.binomtest(15, 20).proportion_ci(0.95, "exact")
  odds = [ends.low / (1 - ends.low), ends.high / (1 - ends.high)]
  assert (found.low, found.high) == pytest.approx(odds)


def test_groups_count_once():
  """Ten times the images of every patient are no more evidence."""
  ours, theirs = _pair(10, 6, 4, 0)
  names = np.arange(20)
  repeated = [np.repeat(x, 10) for x in (ours, theirs, names)]
  found = discordance.measure(*repeated)
  assert (found.first_only, found.second_only, found.groups) == (60, 40, 10)
  assert found.odds_ratio == 1.5
  # By hand: (6 - 4) / sqrt(10), as McNemar's of ten patients.
  z = 2 / 10**0.5
  assert found.p_value == pytest.approx(2 * scipy.stats.norm.sf(z))
  # The share 0.6, whose error over ten patients is sqrt(0.24 / 9).
  reach = scipy.stats.t.ppf(0.975, 9) * (0.24 / 9) ** 0.5 / 0.24
  ends = [1.5 * math.exp(-reach), 1.5 * math.exp(reach)]
  assert (found.low, found.high) == pytest.approx(ends)


def test_error_of_the_clustered_test():
  """Of equal networks whose patients are alike, one in twenty differs."""
  rng = np.random.default_rng(0)
  found = {"group": [], "image": []}
  for _ in range(400):
    better = rng.random(60).repeat(8) < 0.5  # all images of a patient alike
    discordant = rng.random(480) < 0.3
    ours, theirs = discordant & better, discordant & ~better
    groups = np.arange(480) // 8
    for name, units in (("group", groups), ("image", np.arange(480))):
      test = discordance.measure(ours, theirs, units)
      found[name].append(test.p_value < 0.05)
  assert 0.02 < np.mean(found["group"]) < 0.09
  assert np.mean(found["image"]) > 0.15


def test_extremes():
  same = discordance.measure(*_pair(5, 0, 0, 5), np.arange(10))
  assert (same.p_value, same.groups) == (1, 0)
  assert math.isnan(same.odds_ratio)
  better = discordance.measure(*_pair(5, 8, 0, 5), np.arange(18))
  assert better.odds_ratio == better.high == math.inf
  assert better.low > 1
  assert better.p_value == pytest.approx(2 / 2**8)
  one = discordance.measure(*_pair(0, 3, 2, 0), np.zeros(5))
  assert np.isnan([one.low, one.high]).all()
