"""Tests of bootstrap intervals: exact resamples, definitions, coverage."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from mn_jax.metrics import bootstrap, calibration, classification
from tests.metrics import toy_predictions as toy


def test_resamples_are_the_same_on_every_machine():
  drawn = [bootstrap.draw(8, seed=3, number=n).tolist() for n in range(3)]
  assert drawn == [
    [2, 0, 1, 2, 0, 0, 2, 1],
    [1, 2, 2, 0, 0, 1, 2, 0],
    [0, 0, 0, 2, 2, 2, 1, 1],
  ]
  # A Philox word, then the product with 5 in integers of any length.
  words = np.random.Philox(key=[9, 4]).random_raw(5)
  groups = [(int(word) >> 32) * 5 >> 32 for word in words]
  np.testing.assert_array_equal(
    bootstrap.draw(5, seed=9, number=4), np.bincount(groups, minlength=5)
  )


def test_intervals_do_not_depend_on_the_order_of_images():
  predictions = toy.random(60, 2)
  groups = np.array([f"patient {i % 11}" for i in range(60)])
  options = {"positive": 1, "resamples": 50}
  for given in (groups, None):
    first = bootstrap.intervals(predictions, groups=given, **options)
    again = bootstrap.intervals(predictions, groups=given, **options)
    assert repr(first) == repr(again)
    rows = np.random.default_rng(0).permutation(60)
    moved = bootstrap.intervals(
      toy.take(predictions, rows),
      groups=None if given is None else given[rows],
      **options,
    )
    for name, interval in first.items():
      assert dataclasses.astuple(moved[name]) == pytest.approx(
        dataclasses.astuple(interval), abs=1e-12, nan_ok=True
      )
  seeded = bootstrap.intervals(predictions, groups=groups, seed=1, **options)
  assert seeded["loss"].low != first["loss"].low


@pytest.mark.parametrize("positive", [None, 1])
def test_intervals_are_quantiles_of_resampled_metrics(positive):
  predictions = toy.random(65, 3)
  groups = np.arange(65) % 13
  members = [np.flatnonzero(groups == group) for group in range(13)]
  rows = []
  for number in range(40):
    chosen = np.repeat(members, bootstrap.draw(13, seed=5, number=number), 0)
    resampled = toy.take(predictions, chosen.ravel())
    rows.append(classification.summarize(resampled, positive=positive))
  options = {"groups": groups, "seed": 5, "resamples": 40, "level": 0.8}
  result = bootstrap.intervals(predictions, positive=positive, **options)
  summary = classification.summarize(predictions, positive=positive)
  assert result.keys() == summary.keys() - {"count"}
  for name, interval in result.items():
    values = np.array([row[name] for row in rows])
    if name == "ece":  # without the bias of resampling
      values += summary[name] - values.mean()
    low, high = np.nanquantile(values, [0.1, 0.9])
    assert interval.value == summary[name]
    if name == "majority_rate":  # has none
      continue
    assert interval.low == pytest.approx(low, abs=1e-12)
    assert interval.high == pytest.approx(high, abs=1e-12)
    assert interval.undefined == np.isnan(values).sum()
    assert interval.resamples == 40


def test_intervals_of_calibration_errors_cover_what_is_measured():
  """The percentiles of resamples lie above: they add chance a second time."""
  covered, above = [], 0
  for seed in range(100):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, 300)
    right = rng.random(300) < confidence  # calibrated
    predictions = toy.binary(np.where(right, 1, 0), confidence)
    options = {"positive": None, "seed": seed, "resamples": 100}
    found = bootstrap.intervals(predictions, **options)["ece"]
    assert found.low <= found.value <= found.high
    covered.append((found.low, found.high))
    weighted = classification.weighted(predictions, positive=None)
    samples = bootstrap.resample(
      weighted, np.arange(300), resamples=20, seed=seed
    )
    above += samples["ece"].mean() > found.value
  assert above > 90  # without the correction
  # The mean over many tests of this size, by as many of these.
  rng = np.random.default_rng(1000)
  measured = []
  for _ in range(400):
    confidence = rng.uniform(0.5, 1, 300)
    right = rng.random(300) < confidence
    drawn = toy.binary(np.where(right, 1, 0), confidence)
    measured.append(calibration.reliability(drawn).ece())
  inside = [low <= np.mean(measured) <= high for low, high in covered]
  assert np.mean(inside) >= 0.88  # 95 %, less three standard errors


def test_similar_images_within_groups_widen_the_interval():
  predictions = toy.take(toy.random(20, 2), np.repeat(np.arange(20), 25))
  predictions = dataclasses.replace(predictions, ids=np.arange(500))
  width = {}
  for name, groups in (("image", None), ("group", np.arange(500) // 25)):
    interval = bootstrap.intervals(
      predictions, positive=1, groups=groups, resamples=200
    )["accuracy"]
    width[name] = interval.high - interval.low
  # By the square root of 25.
  assert 4 < width["group"] / width["image"] < 6


def test_coverage_of_intervals():
  covered = []
  for seed in range(80):
    rng = np.random.default_rng(seed)
    right = rng.random(60) < 0.7
    predictions = toy.of(np.where(right, 1, 0), [[0, 1]] * 60)
    options = {"seed": seed, "resamples": 40, "level": 0.8}
    result = bootstrap.intervals(predictions, positive=None, **options)
    interval = result["accuracy"]
    covered.append(interval.low <= 0.7 <= interval.high)
  # Three standard errors.
  assert np.mean(covered) == pytest.approx(0.8, abs=0.13)


def test_undefined_resamples_are_counted():
  # Half of the resamples of two groups lack one of them, and so a class.
  predictions = toy.binary([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.2])
  result = bootstrap.intervals(
    predictions, positive=1, groups=np.array([0, 0, 1, 1]), resamples=200
  )
  interval = result["auroc"]
  assert 70 < interval.undefined < 130
  assert interval.low == interval.value == interval.high == 0.75
  assert result["accuracy"].undefined == 0
  # Metrics that are undefined have no interval.
  options = {"positive": 1, "resamples": 30}
  one_class = toy.binary([1, 1, 1], [0.9, 0.4, 0.6])
  result = bootstrap.intervals(one_class, **options)
  for name in ("auroc", "specificity", "mcc"):
    interval = result[name]
    assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert interval.undefined == 30
  diverged = toy.of([0, 1], [[0, np.nan], [1, 0]])
  result = bootstrap.intervals(diverged, **options)
  assert {name for name, x in result.items() if not np.isnan(x.value)} == {
    "majority_rate"
  }
  # It tells of the labels alone.
  result = bootstrap.intervals(toy.random(30, 3), positive=None, resamples=30)
  rate = result.pop("majority_rate")
  assert rate.value > 1 / 3
  assert np.isnan([rate.low, rate.high]).all()
  assert all(x.low <= x.value <= x.high for x in result.values())
  # Nor has one group.
  result = bootstrap.intervals(
    toy.random(30, 2), groups=np.zeros(30), **options
  )
  for interval in result.values():
    assert not np.isnan(interval.value)
    assert np.isnan([interval.low, interval.high]).all()


def test_shares_of_one_are_as_uncertain_as_their_groups_are_few():
  labels = np.array([1] * 12 + [0] * 30)
  predictions = toy.of(labels, np.eye(2)[labels])
  groups = np.concatenate([np.arange(12) // 3, 4 + np.arange(30) // 3])
  found = bootstrap.intervals(
    predictions, positive=1, groups=groups, resamples=50
  )
  for name, units in (
    ("accuracy", 14),
    ("sensitivity", 4),
    ("specificity", 10),
  ):
    exact = scipy.stats.binomtest(units, units).proportion_ci(0.95, "exact")
    assert found[name].value == found[name].high == 1
    assert found[name].low == pytest.approx(exact.low, rel=1e-9)
  groups[:12] = 0  # all of one patient
  found = bootstrap.intervals(
    predictions, positive=1, groups=groups, resamples=50
  )
  assert np.isnan([found["sensitivity"].low, found["sensitivity"].high]).all()


def _check_weights(predictions, positive, weights, predicted=None):
  rows = np.repeat(np.arange(len(weights)), weights)
  expected = classification.summarize(
    toy.take(predictions, rows),
    positive=positive,
    predicted=None if predicted is None else predicted[rows],
  )
  result = classification.WeightedMetrics(
    predictions, positive=positive, predicted=predicted
  )(weights)
  assert result == {
    name: pytest.approx(value, rel=0, abs=1e-12, nan_ok=True)
    for name, value in expected.items()
  }
  assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize("name", [*toy.extremes(), "random"])
@pytest.mark.parametrize("positive", [None, 0, 1])
def test_weights_count_as_repetitions(name, positive):
  predictions = (toy.extremes() | {"random": toy.random(90, 3)})[name]
  rng = np.random.default_rng(0)
  count = len(predictions.labels)
  weights = rng.poisson(0.7, count)
  weights[rng.integers(count)] += 1
  _check_weights(predictions, positive, weights)
  predicted = rng.integers(0, predictions.logits.shape[1], count)
  _check_weights(predictions, positive, weights, predicted)


@pytest.mark.parametrize("positive", [None, 1])
def test_weights_of_a_missing_class_and_a_diverged_network(positive):
  predictions = toy.random(60, 3)
  for label in range(3):
    weights = np.where(predictions.labels == label, 0, 2)
    _check_weights(predictions, positive, weights)
    _check_weights(predictions, positive, 2 - weights)
  predictions.logits[3, 1] = np.nan
  _check_weights(predictions, positive, np.arange(60))
