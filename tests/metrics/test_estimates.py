"""Tests of estimates: hand-computed intervals, coverage, numbers of seeds."""

import math

import numpy as np
import pytest
import scipy.stats

from mn_jax.metrics import estimates
from mn_jax.metrics.estimates import Estimate


def of(mean, error, freedom, *rest, **options) -> Estimate:
  """Of one source."""
  return Estimate(mean, (error,), (freedom,), *rest, **options)


def test_a_difference_has_a_plain_interval():
  gaps = [0.02, 0.03, 0.05, 0.01]
  error = np.std(gaps, ddof=1) / 2
  found = of(np.mean(gaps), error, 3, is_difference=True)
  test = scipy.stats.ttest_1samp(gaps, 0)
  assert found.interval() == pytest.approx(test.confidence_interval(0.95))
  two_sided = 2 * min(found.chance_below(0), found.chance_above(0))
  assert two_sided == pytest.approx(test.pvalue)
  # No difference of shares is above 1, one of loss may be anything.
  wide = of(0.5, 1.0, 1, is_difference=True)
  assert wide.interval() == (-1, 1)
  free = of(0.5, 1.0, 1, (0, math.inf), is_difference=True)
  assert free.interval() == pytest.approx((0.5 - 12.7062, 0.5 + 12.7062))


@pytest.mark.parametrize("mean", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("freedom", [1, 2, 9])
def test_intervals_stay_between_the_bounds(mean, freedom):
  for bounds in ((0, 1), (0, math.inf), (-1, 1), (0, 2)):
    found = of(mean, 0.03, freedom, bounds)
    low, high = found.interval()
    assert bounds[0] < low < mean < high < bounds[1]
    # Both ends are those that a test just does not refuse.
    assert found.chance_below(low) == pytest.approx(0.025)
    assert found.chance_above(high) == pytest.approx(0.025)
    assert found.chance_below(bounds[0]) == 0
  # By hand: logit(0.5) = 0, its error 0.03 / 0.25 = 0.12, t of 2 is 4.3027.
  low, high = of(0.5, 0.03, 2).interval()
  assert (low, high) == pytest.approx((0.37371, 0.62629), abs=1e-5)


def test_small_errors_give_the_plain_interval():
  found = of(0.8, 0.0005, 4).interval()
  reach = 2.776445 * 0.0005
  assert found == pytest.approx((0.8 - reach, 0.8 + reach), abs=1e-5)


def test_what_is_not_known_has_no_interval():
  for found in (
    of(0.8, math.nan, 2),
    of(1.0, 0.0, 4),  # all seeds right: how far others are is not known
    of(0.0, 0.01, 4),
  ):
    assert np.isnan(found.interval()).all()
    assert math.isnan(found.chance_below(0.5))
    assert math.isnan(found.chance_above(0.5))
  # A network that predicts one class has this balanced accuracy, always.
  constant = of(0.5, 0.0, 4)
  assert constant.interval() == (0.5, 0.5)
  assert (constant.chance_above(0.55), constant.chance_below(0.55)) == (0, 1)


def test_bounds_are_those_of_the_metric():
  for key, bounds in (
    ("test/accuracy", (0, 1)),
    ("balanced_accuracy", (0, 1)),
    ("val/loss", (0, math.inf)),
    ("test/mcc", (-1, 1)),
    ("chosen_by_test/gain", (-1, 1)),
    ("wall_seconds", (0, math.inf)),
  ):
    assert estimates.bounds_of(key) == bounds


def test_sources_add_their_half_widths_in_squares():
  # By hand: t of 2 is 4.302653, t of 100 is 1.983972.
  found = Estimate(0.1, (0.01, 0.02), (2, 100), is_difference=True)
  reach = ((4.302653 * 0.01) ** 2 + (1.983972 * 0.02) ** 2) ** 0.5
  assert found.interval() == pytest.approx((0.1 - reach, 0.1 + reach))
  # Another source never makes it narrower; without an error it changes nothing.
  alone = of(0.1, 0.01, 2, is_difference=True)
  assert found.interval()[0] < alone.interval()[0]
  with_none = Estimate(0.1, (0.01, 0.0), (2, 100), is_difference=True)
  assert with_none.interval() == pytest.approx(alone.interval())
  for value in (0.0, 0.08, 0.13):
    for one, other in (
      (with_none.chance_below(value), alone.chance_below(value)),
      (with_none.chance_above(value), alone.chance_above(value)),
    ):
      assert one == pytest.approx(other, rel=1e-6)
  # A p-value of 5 % is that of the end of the interval.
  low, high = found.interval()
  assert 2 * found.chance_below(low) == pytest.approx(0.05)
  assert 2 * found.chance_above(high) == pytest.approx(0.05)
  assert found.chance_below(0.13) > 0.5
  assert found.chance_below(-1e9) == pytest.approx(0, abs=1e-9)
  unknown = Estimate(0.1, (0.01, np.nan), (2, np.nan))
  assert np.isnan(unknown.interval()).all()


def test_coverage_of_both_sources():
  """Seeds and patients vary; either interval alone is too narrow."""
  rng = np.random.default_rng(0)
  seeds, groups, covered, alone = 4, 40, [], []
  for _ in range(2000):
    of_groups = rng.normal(0, 1, groups)
    of_seeds = rng.normal(0, 0.15, seeds)
    own = rng.normal(0, 0.5, (seeds, groups))
    table = of_seeds[:, None] + of_groups + own
    over_seeds = table.mean(axis=1).var(ddof=1) / seeds
    over_groups = table.mean(axis=0).var(ddof=1) / groups
    free = {"bounds": (-math.inf, math.inf), "is_difference": True}
    errors = (over_seeds**0.5, over_groups**0.5)
    freedoms = (seeds - 1, groups - 1)
    for kept, sources in ((covered, 2), (alone, 1)):
      low, high = Estimate(
        table.mean(), errors[:sources], freedoms[:sources], **free
      ).interval()
      kept.append(low <= 0 <= high)
  assert 0.935 < np.mean(covered) < 0.99
  assert np.mean(alone) < 0.9


def test_seeds_are_enough_for_the_power():
  """Of that many studies, four fifths decide; of fewer not."""
  margin, spread = 0.02, 0.012
  needed = estimates.seeds_needed(margin, spread)
  rng = np.random.default_rng(0)
  for seeds, enough in ((needed, True), (needed - 1, False)):
    runs = rng.normal(margin, spread, (20_000, seeds))
    p_values = scipy.stats.ttest_1samp(runs, 0, axis=1).pvalue
    assert (np.mean(p_values <= 0.05) >= 0.796) == enough
  # At a power of 80 % Altman's table has 6 for a margin of 1.5 deviations.
  assert estimates.seeds_needed(1.5, 1.0) == 6
  assert estimates.seeds_needed(1.5, 1.0, tests=8) > 6
  assert estimates.seeds_needed(0.1, 0.001) == 3
  assert estimates.seeds_needed(0.1, 0.0) == 3


def test_no_number_of_seeds_makes_up_for_a_small_test():
  assert estimates.seeds_needed(0.02, 0.01, test_error=0.01) is None
  assert estimates.seeds_needed(0.02, 0.02, ratio=0.3) is None
  assert estimates.seeds_needed(0.02, 0.02) < 15


def test_seeds_of_an_equivalence_are_enough():
  margin, spread = 0.02, 0.012
  needed = estimates.seeds_needed(margin, spread, equivalence=True)
  rng = np.random.default_rng(0)
  for seeds, enough in ((needed, True), (needed - 1, False)):
    runs = rng.normal(0, spread, (20_000, seeds))
    reach = scipy.stats.t.ppf(0.975, seeds - 1) * runs.std(axis=1, ddof=1)
    reach /= seeds**0.5
    share = np.mean(abs(runs.mean(axis=1)) + reach <= margin)
    assert (share >= 0.78) == enough
