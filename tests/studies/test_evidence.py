"""Tests of intervals over seeds and tests, by hand and by other ways."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats

from mn_jax.metrics import bootstrap, comparison
from mn_jax.studies import evidence, resampling
from mn_jax.studies import numbers as numbers_lib
from mn_jax.studies.evidence import Evidence
from tests.studies import toy_evidence as toy

KEY = "test/balanced_accuracy"
GROUPS = np.array([f"patient{i % 15}" for i in range(90)])


@pytest.fixture(scope="module")
def shared():
  """Two rows of four seeds on one test."""
  rows = {
    name: {
      seed: toy.of(toy.named(toy.noisy(seed, better=better), GROUPS))
      for seed in range(4)
    }
    for name, better in (("a", 0.8), ("b", 0.0))
  }
  return rows, Evidence(rows, resamples=200)


def test_one_seed_has_the_interval_of_its_test_alone(shared):
  rows, _ = shared
  result = rows["a"][2]
  found = Evidence({"a": {2: result}}, resamples=200).measure("a", "", KEY)
  expected = bootstrap.intervals(
    result.predictions("test").predictions,
    positive=1,
    groups=GROUPS,
    resamples=200,
  )["balanced_accuracy"]
  assert found.over_groups == (expected.low, expected.high)
  assert found.unit == "group"
  assert found.estimate.mean == expected.value
  assert np.isnan([*found.over_seeds, *found.estimate.interval()]).all()
  assert math.isnan(found.spread)


def test_seeds_on_one_test_add_the_variance_of_its_groups(shared):
  rows, found = shared
  numbers = found.measure("a", "", KEY)
  values = [x.summary[KEY] for x in rows["a"].values()]
  assert numbers.estimate.mean == pytest.approx(np.mean(values))
  assert numbers.spread == pytest.approx(np.std(values, ddof=1))
  assert numbers.holds == numbers_lib.SHARED
  # The same resamples of patients for all seeds.
  metrics = [
    bootstrap.resample(
      evidence.classification.weighted(
        x.predictions("test").predictions, positive=1
      ),
      np.unique(GROUPS, return_inverse=True)[1],
      resamples=200,
      seed=0,
    )["balanced_accuracy"]
    for x in rows["a"].values()
  ]
  of_test = np.mean(metrics, axis=0).var(ddof=1) * 15 / 14
  of_seeds = np.var(values, ddof=1) / 4
  errors = (of_seeds**0.5, of_test**0.5)
  assert numbers.estimate.errors == pytest.approx(errors)
  assert numbers.estimate.freedoms == (3, 14)
  assert numbers.test_error**2 == pytest.approx(of_test)
  low, high = numbers.estimate.interval()
  assert low < numbers.over_groups[0] < numbers.over_groups[1] < high


def test_predictions_that_rows_share_are_resampled_once(monkeypatch):
  drawn, draw = [], bootstrap.draw

  def count(*args, **options):
    drawn.append(options["number"])
    return draw(*args, **options)

  monkeypatch.setattr(bootstrap, "draw", count)
  one, other = (
    toy.named(toy.noisy(seed, better=0.8), GROUPS) for seed in range(2)
  )
  rows = {"a": {0: toy.of(one)}, "b": {0: toy.of(one)}, "c": {0: toy.of(other)}}
  found = Evidence(rows, resamples=50)
  measured = [found.measure(row, "", KEY).over_groups for row in rows]
  assert drawn == [*range(50)] * 2
  assert measured[0] == measured[1] != measured[2]


def test_rows_are_compared_on_the_same_resamples(shared):
  rows, found = shared
  numbers = found.measure("a", "b", KEY)
  one, other = (rows[x][1].predictions("test").predictions for x in "ab")
  expected = comparison.on_images(
    one, other, positive=1, groups=GROUPS, resamples=200
  )["balanced_accuracy"]
  alone = Evidence({x: {1: rows[x][1]} for x in "ab"}, resamples=200)
  single = alone.measure("a", "b", KEY)
  assert single.over_groups == pytest.approx((expected.low, expected.high))
  gaps = [
    rows["a"][i].summary[KEY] - rows["b"][i].summary[KEY] for i in rows["a"]
  ]
  test = scipy.stats.ttest_1samp(gaps, 0)
  assert numbers.over_seeds == pytest.approx(test.confidence_interval(0.95))
  nothing = found.measure("a", "a", KEY)
  assert nothing.over_groups == (0, 0)


def test_seeds_that_split_anew_are_corrected_for_their_overlap():
  """By hand: the error is s x sqrt(1 / 3 + 90 / 300)."""
  rows = {"a": {}}
  for seed in range(3):
    outputs = toy.noisy(seed)
    moved = dataclasses.replace(outputs, ids=outputs.ids + 40 * seed)
    rows["a"][seed] = toy.of(toy.named(moved), f"split {seed}")
  numbers = Evidence(rows, resamples=50).measure("a", "", KEY)
  values = [x.summary[KEY] for x in rows["a"].values()]
  assert (numbers.holds, numbers.unit) == (numbers_lib.OWN, "image")
  assert numbers.ratio == 0.3
  error = np.std(values, ddof=1) * (1 / 3 + 0.3) ** 0.5
  assert numbers.estimate.errors == pytest.approx((error,))
  assert numbers.estimate.freedoms == (2,)
  assert numbers.over_seeds == numbers.estimate.interval()
  assert numbers.test_error == 0
  # A publisher's test stays the same, whatever is validation.
  fixed = {
    "a": {i: toy.of(toy.named(toy.noisy(i)), f"split {i}") for i in range(3)}
  }
  numbers = Evidence(fixed, resamples=50).measure("a", "", KEY)
  assert (numbers.holds, numbers.ratio) == (numbers_lib.SHARED, 0)


def test_a_test_that_one_of_two_rows_shares_is_a_source_of_its_own():
  """As random and spatial splits: the first row splits anew, the other not."""
  rows = {"random": {}, "spatial": {}}
  for seed in range(3):
    outputs = toy.noisy(seed, better=1)
    moved = dataclasses.replace(outputs, ids=outputs.ids + 40 * seed + 500)
    anew = toy.of(toy.named(moved), f"split {seed}")
    images = {"train": 100, "val": 50, "test": 90}
    rows["random"][seed] = dataclasses.replace(anew, images=images)
    rows["spatial"][seed] = toy.of(toy.named(toy.noisy(seed)), "spatial")
  found = Evidence(rows, resamples=100)
  alone = found.measure("spatial", "", KEY)
  for pair in (("random", "spatial"), ("spatial", "random")):
    numbers = found.measure(*pair, KEY)
    assert numbers.holds == numbers_lib.MIXED
    assert numbers.ratio == 0.9  # of the row that splits anew alone
    assert numbers.test_error == pytest.approx(alone.test_error)
    over_seeds = numbers.spread * (1 / 3 + 0.9) ** 0.5
    errors = (over_seeds, alone.test_error)
    assert numbers.estimate.errors == pytest.approx(errors)
    assert numbers.estimate.freedoms == (2, 89)
    low, high = numbers.estimate.interval()
    assert low < numbers.over_seeds[0] < numbers.over_seeds[1] < high


def test_groups_on_both_sides_are_a_source_of_their_own():
  """Splits by image have the same patients in every test."""
  groups = np.array([f"p{i // 6:02}" for i in range(90)])
  kinds = {"random": numbers_lib.BY_IMAGE, "grouped": numbers_lib.OWN}
  found = {}
  for kind, holds in kinds.items():
    rows = {"a": {}}
    for seed in range(3):
      named = toy.named(toy.noisy(seed), groups)
      # Other images of the same patients.
      ids = named.predictions.ids + 90 * seed
      outputs = dataclasses.replace(named.predictions, ids=ids)
      named = dataclasses.replace(named, predictions=outputs)
      rows["a"][seed] = toy.of(named, f"split {seed}", split_kind=kind)
    found[kind] = Evidence(rows, resamples=200).measure("a", "", KEY)
    assert found[kind].holds == holds
  by_image, grouped = found["random"], found["grouped"]
  assert by_image.estimate.errors[0] == grouped.estimate.errors[0]
  assert by_image.estimate.freedoms == (2, 14)
  assert by_image.test_error > 0 == grouped.test_error
  low, high = by_image.estimate.interval()
  assert low < by_image.over_groups[0] < by_image.over_groups[1] < high
  # Beside a row of other tests, its own groups are added.
  mixed = {"a": rows["a"], "b": {}}
  for seed, result in rows["a"].items():
    summary = {**result.summary, "split": "random"}
    mixed["b"][seed] = dataclasses.replace(result, summary=summary)
  both = Evidence(mixed, resamples=200).measure("b", "a", KEY)
  assert both.holds == numbers_lib.BY_IMAGE
  assert both.test_error == pytest.approx(by_image.test_error)


def test_an_image_moves_a_share_of_its_class_by_more():
  outputs = toy.noisy(0)
  named = toy.named(outputs)
  ill = np.count_nonzero(outputs.labels)
  assert resampling.one_image(named, "accuracy") == 1 / 90
  assert resampling.one_image(named, "sensitivity") == 1 / ill
  assert resampling.one_image(named, "specificity") == 1 / (90 - ill)
  expected = 1 / (2 * min(ill, 90 - ill))
  assert resampling.one_image(named, "balanced_accuracy") == expected


def test_a_gain_varies_with_the_test_as_the_accuracy_does(shared):
  rows, _ = shared
  key = "chosen_by_test/gain"
  gains = {
    seed: dataclasses.replace(x, summary={**x.summary, key: 0.02 + seed / 1000})
    for seed, x in rows["a"].items()
  }
  found = Evidence({"a": gains}, resamples=200)
  gain, accuracy = (found.measure("a", "", x) for x in (key, "test/accuracy"))
  assert gain.holds == numbers_lib.SHARED
  assert gain.test_error == pytest.approx(accuracy.test_error)
  low, high = gain.estimate.interval()
  assert low < 0.0215 < high
  assert high - low == pytest.approx(
    2 * scipy.stats.t.ppf(0.975, 14) * gain.test_error, rel=0.05
  )


def test_other_checkpoints_vary_with_the_test_as_the_chosen_one_does(shared):
  rows, _ = shared
  last = {
    "a": {
      seed: dataclasses.replace(
        x, summary={**x.summary, "last/" + KEY: x.summary[KEY] - 0.1}
      )
      for seed, x in rows["a"].items()
    }
  }
  found = Evidence(last, resamples=200)
  chosen, other = (found.measure("a", "", key) for key in (KEY, "last/" + KEY))
  assert other.holds == numbers_lib.SHARED
  assert other.test_error == pytest.approx(chosen.test_error)
  assert other.estimate.mean == pytest.approx(chosen.estimate.mean - 0.1)
  width = [x.over_groups[1] - x.over_groups[0] for x in (chosen, other)]
  assert width[0] == pytest.approx(width[1])
  assert other.over_groups[0] < other.estimate.mean < other.over_groups[1]


def test_without_predictions_there_are_seeds_alone():
  key = "last/train/accuracy"
  values = [0.7, 0.8, 0.75]
  rows = {"a": {i: toy.bare(key, x) for i, x in enumerate(values)}}
  numbers = Evidence(rows).measure("a", "", key)
  assert (numbers.holds, numbers.unit) == (numbers_lib.SEEDS, "")
  error = np.std(values, ddof=1) / 3**0.5
  assert numbers.estimate.errors == pytest.approx((error,))
  assert np.isnan(numbers.over_groups).all()
  # Of splits whose sizes are not known the overlap is not known either.
  rows = {
    "a": {
      i: dataclasses.replace(toy.bare(key, x, f"split {i}"), images={})
      for i, x in enumerate(values)
    }
  }
  numbers = Evidence(rows).measure("a", "", key)
  assert np.isnan(numbers.estimate.errors).all()


def test_equal_seeds_may_differ_by_an_image():
  """By hand: one of 90 images over the square root of three seeds."""
  key = "test/accuracy"
  rows = {"a": {i: toy.bare(key, 0.5) for i in range(3)}}
  numbers = Evidence(rows).measure("a", "", key)
  assert numbers.spread == 0
  assert numbers.estimate.errors == pytest.approx((1 / 90 / 3**0.5,))


def test_runs_selected_on_the_test_do_not_count_but_their_last_epoch_does():
  keys = ("test/accuracy", "last/test/accuracy")
  rows = {
    "a": {
      i: toy.bare(keys[0], 0.8, chosen_on=part, **{keys[1]: 0.7})
      for i, part in enumerate(("val", "test"))
    }
  }
  found = Evidence(rows)
  assert found.values("a", keys[0]) == {0: 0.8}
  assert found.values("a", keys[1]) == {0: 0.7, 1: 0.7}
  assert evidence.refused_seeds(rows["a"]) == [1]
  assert found.values("never", keys[0]) == {}
  nothing = found.measure("a", "never", keys[1])
  assert nothing.values == []
  assert math.isnan(nothing.estimate.mean)


def test_images_of_two_rows_are_matched_by_row_of_the_data(shared):
  rows, found = shared
  counted = found.compare_images("a", "b")
  right = [
    [x.predictions("test").predictions for x in rows[name].values()]
    for name in "ab"
  ]
  right = [[x.predicted() == x.labels for x in row] for row in right]
  ours, theirs = map(np.concatenate, right)
  assert counted.first_only == (ours & ~theirs).sum()
  assert counted.second_only == (theirs & ~ours).sum()
  assert counted.groups <= 15
  order = np.random.default_rng(0).permutation(90)
  mixed = {
    **rows,
    "b": {
      seed: toy.of(x.predictions("test").take(order))
      for seed, x in rows["b"].items()
    },
  }
  again = Evidence(mixed, resamples=10).compare_images("a", "b")
  assert again == counted
  fewer = {
    **rows,
    "b": {0: toy.of(rows["b"][0].predictions("test").take(order[:80]))},
  }
  assert Evidence(fewer, resamples=10).compare_images("a", "b") is None
  # Rows of another data set have the same numbers, but other labels.
  outputs = rows["b"][0].predictions("test").predictions
  other = dataclasses.replace(outputs, labels=1 - outputs.labels)
  others = {**rows, "b": {0: toy.of(toy.named(other, GROUPS))}}
  assert Evidence(others, resamples=10).compare_images("a", "b") is None
