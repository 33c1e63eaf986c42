"""Tests of intervals of shares."""

import numpy as np
import pytest
import scipy.stats

from mn_jax.metrics import bootstrap, shares
from tests.metrics import toy_predictions as toy


def test_intervals_are_those_of_the_bootstrap_of_all_metrics():
  outputs = toy.random(300, 2)
  groups = np.arange(300) // 7
  expected = bootstrap.intervals(outputs, positive=1, groups=groups)
  right = outputs.predicted() == outputs.labels
  positive = outputs.labels == 1
  codes = np.unique(groups, return_inverse=True)[1]
  for name, counted in (
    ("accuracy", np.full(300, True)),
    ("sensitivity", positive),
    ("specificity", ~positive),
  ):
    found = shares.interval(right, counted, codes)
    assert found.value == expected[name].value
    assert found.low == pytest.approx(expected[name].low, abs=1e-12)
    assert found.high == pytest.approx(expected[name].high, abs=1e-12)


def test_a_share_of_one_gets_the_interval_of_clopper_and_pearson():
  every = np.full(40, True)
  codes = np.arange(40) // 4
  exact = scipy.stats.binomtest(10, 10).proportion_ci(0.95, "exact")
  found = shares.interval(every, every, codes)
  assert (found.value, found.high) == (1, 1)
  assert found.low == pytest.approx(exact.low, rel=1e-9)
  none = shares.interval(~every, every, codes)
  assert (none.value, none.low) == (0, 0)
  assert none.high == pytest.approx(1 - exact.low, rel=1e-9)


def test_nothing_and_a_single_group_have_no_interval():
  hits = np.array([True, False, True, True])
  codes = np.array([0, 0, 1, 1])
  empty = shares.interval(hits, np.zeros(4, bool), codes)
  assert np.isnan([empty.value, empty.low, empty.high]).all()
  one = shares.interval(hits, codes == 0, codes)
  assert one.value == 0.5
  assert np.isnan([one.low, one.high]).all()
  assert one.undefined > 0  # resamples without that group
