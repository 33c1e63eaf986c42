"""Tests of paired comparisons against SciPy and enumeration."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap, classification, comparison, thresholds
from tests.metrics import toy_predictions as toy


def _pair(n: int = 80, classes: int = 2):
  first = toy.random(n, classes, 0)
  rng = np.random.default_rng(9)
  noise = rng.normal(size=first.logits.shape).astype(np.float32)
  return first, dataclasses.replace(
    first,
    logits=first.logits + noise,
    losses=rng.random(n).astype(np.float32),
  )


def _right(labels, right):
  """Predictions that are right where `right` says."""
  found = np.where(right, labels, 1 - np.asarray(labels))
  return toy.of(labels, np.eye(2)[found])


def test_agreement_is_of_answers_whatever_is_true():
  first, second = _pair(classes=3)
  found = comparison.agreement(first, second)
  ours, theirs = first.logits.argmax(1), second.logits.argmax(1)
  assert found.changed_share == (ours != theirs).mean()
  assert 0 < found.changed_share < 1
  largest = max(
    abs(a - b)
    for a, b in zip(
      first.probabilities().ravel(),
      second.probabilities().ravel(),
      strict=True,
    )
  )
  assert found.largest_probability_difference == largest
  same = comparison.agreement(first, first)
  assert same == comparison.Agreement(0, 0)
  decided = comparison.agreement(
    first, second, predicted_first=ours, predicted_second=ours
  )
  assert decided.changed_share == 0
  assert decided.largest_probability_difference == largest


def test_agreement_is_undefined_where_an_answer_is():
  first, second = _pair()
  second.logits[3, 1] = np.inf
  found = comparison.agreement(first, second)
  assert np.isnan(
    [found.changed_share, found.largest_probability_difference]
  ).all()


@pytest.mark.parametrize(
  ("only_first", "only_second"), [(0, 0), (1, 0), (3, 8), (8, 3), (6, 6)]
)
def test_mcnemar_is_a_test_of_coin_tosses(only_first, only_second):
  both = 10
  first = [True] * (both + only_first) + [False] * (only_second + 2)
  second = [True] * both + [False] * only_first + [True] * only_second
  second += [False] * 2
  labels = np.arange(len(first)) % 2
  result = comparison.mcnemar(_right(labels, first), _right(labels, second))
  tosses = only_first + only_second
  tail = sum(
    math.comb(tosses, k) for k in range(min(only_first, only_second) + 1)
  )
  assert (result.only_first, result.only_second) == (only_first, only_second)
  assert result.p_value == pytest.approx(min(1, 2 * tail / 2**tosses))


def test_mcnemar_takes_decisions():
  first, second = _pair()
  threshold = thresholds.best_f1(first, positive=1)
  found = thresholds.decide(first, threshold, positive=1)
  result = comparison.mcnemar(first, second, predicted_first=found)
  ours = found == first.labels
  theirs = second.logits.argmax(1) == second.labels
  assert result.only_first == (ours & ~theirs).sum()
  assert result.only_second == (theirs & ~ours).sum()
  turned = comparison.mcnemar(second, first, predicted_second=found)
  assert turned.only_first == result.only_second
  assert turned.p_value == result.p_value


@pytest.mark.parametrize("positive", [None, 1])
def test_differences_are_those_of_metrics_on_the_same_resamples(positive):
  first, second = _pair(60, 3)
  groups = np.arange(60) % 9
  result = comparison.differences(
    first, second, positive=positive, groups=groups, seed=2, resamples=60
  )
  one, two = (
    classification.summarize(x, positive=positive) for x in (first, second)
  )
  assert result.keys() == one.keys() - {"count", "majority_rate"}
  rows = []
  for number in range(60):
    weights = bootstrap.draw(9, seed=2, number=number)[groups]
    chosen = np.repeat(np.arange(60), weights)
    a, b = (
      classification.summarize(toy.take(x, chosen), positive=positive)
      for x in (first, second)
    )
    rows.append({name: a[name] - b[name] for name in result})
  for name, found in result.items():
    values = np.array([row[name] for row in rows])
    low, high = np.nanquantile(values, [0.025, 0.975])
    assert found.value == pytest.approx(one[name] - two[name], abs=1e-12)
    assert found.low == pytest.approx(low, abs=1e-12)
    assert found.high == pytest.approx(high, abs=1e-12)
    assert found.undefined == np.isnan(values).sum()


def test_turning_a_comparison_round_turns_its_results():
  first, second = _pair()
  options = {"positive": 1, "resamples": 99}
  ahead = comparison.differences(first, second, **options)
  back = comparison.differences(second, first, **options)
  for name, found in ahead.items():
    assert back[name].value == -found.value
    assert back[name].low == pytest.approx(-found.high, abs=1e-12)
    assert back[name].p_value == found.p_value


def test_p_values_of_differences():
  labels = np.arange(40) % 2
  perfect = _right(labels, np.full(40, True))
  result = comparison.differences(perfect, perfect, positive=1, resamples=99)
  assert {found.p_value for found in result.values()} == {1.0}
  poor = _right(labels, np.arange(40) % 4 > 1)
  result = comparison.differences(perfect, poor, positive=1, resamples=99)
  # No resample is at 0 or below.
  assert result["accuracy"].p_value == pytest.approx(2 / 100)
  assert result["accuracy"].value == 0.5
  assert result["loss"].p_value == 1


def test_a_p_value_agrees_with_its_interval():
  for seed in range(3):
    first, second = _pair()
    found = comparison.differences(
      first, second, positive=1, seed=seed, resamples=299
    )
    for difference in found.values():
      outside = difference.low > 0 or difference.high < 0
      if abs(difference.p_value - 0.05) > 0.01:
        assert outside == (difference.p_value < 0.05)


def test_undefined_differences_have_no_p_value():
  first, second = _pair()
  broken = dataclasses.replace(second, logits=second.logits * np.nan)
  for found in (
    comparison.differences(first, broken, positive=1, resamples=9)["auroc"],
    comparison.differences(
      first, second, positive=1, resamples=9, groups=np.zeros(80)
    )["auroc"],
  ):
    assert np.isnan([found.low, found.high, found.p_value]).all()


@pytest.mark.parametrize("change", ["ids", "labels", "rows"])
def test_different_images_are_refused(change):
  first, second = _pair()
  if change == "rows":
    second = toy.take(second, np.arange(79))
  else:
    changed = getattr(second, change)[::-1]
    second = dataclasses.replace(second, **{change: changed})
  with pytest.raises(InputError, match="predictions: got 80 and"):
    comparison.mcnemar(first, second)
  with pytest.raises(InputError, match="predictions: got 80 and"):
    comparison.differences(first, second, positive=1)


@pytest.mark.parametrize("pairs", [2, 3, 5, 12])
def test_seeds_are_compared_as_by_scipy(pairs):
  rng = np.random.default_rng(pairs)
  first, second = rng.normal(0.8, 0.02, pairs), rng.normal(0.79, 0.02, pairs)
  result = comparison.across_seeds(first, second, level=0.9)
  expected = scipy.stats.ttest_rel(first, second)
  interval = expected.confidence_interval(0.9)
  assert result.mean == pytest.approx((first - second).mean())
  assert result.low == pytest.approx(interval.low)
  assert result.high == pytest.approx(interval.high)
  assert result.t_p_value == pytest.approx(expected.pvalue)
  assert result.pairs == pairs
  assert result.wilcoxon_p_value == pytest.approx(_by_ranks(first - second))


def _by_ranks(gaps) -> float:
  """Of all signs that ranks could have had, those as one-sided or more."""
  ranks = scipy.stats.rankdata(abs(gaps))
  sums = np.array(list(np.ndindex(*[2] * len(gaps)))) @ ranks
  found = ((gaps > 0) * ranks).sum()
  return min(1, 2 * min((sums <= found).mean(), (sums >= found).mean()))


def test_pairs_without_a_difference_leave_the_test_of_ranks_exact():
  gaps = np.random.default_rng(0).normal(0.4, 1, 14)
  result = comparison.across_seeds([*gaps, 0.5], [0.0] * 14 + [0.5])
  assert result.pairs == 15
  assert result.wilcoxon_p_value == pytest.approx(_by_ranks(gaps))


def test_the_least_p_value_of_five_pairs_by_ranks():
  first = [0.81, 0.82, 0.83, 0.84, 0.86]
  result = comparison.across_seeds(first, [0.7] * 5)
  assert result.wilcoxon_p_value == pytest.approx(1 / 16)
  assert result.t_p_value < 1e-3


def test_seeds_that_say_little():
  one = comparison.across_seeds([0.75], [0.5])
  assert one.mean == 0.25
  assert np.isnan([one.low, one.high, one.t_p_value]).all()
  assert one.wilcoxon_p_value == 1
  equal = comparison.across_seeds([0.5, 0.75], [0.5, 0.75])
  assert (equal.mean, equal.low, equal.high) == (0, 0, 0)
  assert np.isnan([equal.t_p_value, equal.wilcoxon_p_value]).all()
  # Pairs without a difference do not count.
  some = comparison.across_seeds([0.5, 0.75, 0.75], [0.5, 0.5, 0.25])
  assert some.wilcoxon_p_value == pytest.approx(0.5)


@pytest.mark.parametrize(
  ("first", "second", "level", "message"),
  [
    ([0.1], [0.1, 0.2], 0.9, "runs: got 1 and 2; valid: pairs"),
    ([], [], 0.9, "runs: got 0 and 0; valid: pairs"),
    ([0.1, np.nan], [0.1, 0.2], 0.9, "runs: got a metric that is undefined"),
    ([0.1], [0.2], 1.0, "level: got 1.0; valid: between 0 and 1"),
  ],
)
def test_runs_that_do_not_pair_are_refused(first, second, level, message):
  with pytest.raises(InputError) as caught:
    comparison.across_seeds(first, second, level=level)
  assert str(caught.value).startswith(message)


def test_holm_steps_down():
  # By hand: 0.01 x 4; 0.02 x 3; 0.03 x 2 = 0.06; 0.5.
  found = comparison.holm([0.03, 0.01, 0.5, 0.02])
  np.testing.assert_allclose(found, [0.06, 0.04, 0.5, 0.06], rtol=1e-12)
  # A p-value is never less than one before it, and never above 1.
  found = comparison.holm([0.021, 0.01, 0.022])
  np.testing.assert_allclose(found, [0.042, 0.03, 0.042], rtol=1e-12)
  np.testing.assert_array_equal(comparison.holm([0.7, 0.6]), [1, 1])
  assert len(comparison.holm([])) == 0


def test_holm_does_not_count_what_is_undefined():
  found = comparison.holm([0.01, np.nan, 0.02])
  np.testing.assert_allclose(found, [0.02, np.nan, 0.02], rtol=1e-12)


def test_holm_rejects_what_the_procedure_rejects():
  rng = np.random.default_rng(0)
  for _ in range(50):
    p_values = rng.random(6) ** 4
    rejected = np.zeros(6, bool)
    for rank, place in enumerate(np.argsort(p_values)):
      if p_values[place] > 0.05 / (6 - rank):
        break
      rejected[place] = True
    np.testing.assert_array_equal(comparison.holm(p_values) <= 0.05, rejected)
