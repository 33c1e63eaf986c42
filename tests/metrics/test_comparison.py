"""Tests of paired comparisons against SciPy and enumeration."""

import dataclasses

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap, classification, comparison
from tests.metrics import toy_predictions as toy


def _pair(n: int = 80, classes: int = 2):
  first = toy.random(n, classes, 0)
  rng = np.random.default_rng(9)
  noise = rng.normal(size=first.logits.shape).astype(np.float32)
  return first, dataclasses.replace(
    first, logits=first.logits + noise, losses=rng.random(n).astype(np.float32)
  )


def test_agreement_does_not_depend_on_labels():
  first, second = _pair(classes=3)
  found = comparison.agreement(first, second)
  ours, theirs = first.logits.argmax(1), second.logits.argmax(1)
  assert found.changed_share == (ours != theirs).mean()
  assert 0 < found.changed_share < 1
  largest = abs(first.probabilities() - second.probabilities()).max()
  assert found.largest_probability_difference == largest
  same = comparison.agreement(first, first)
  assert same == comparison.Agreement(0, 0)
  decided = comparison.agreement(
    first, second, predicted_first=ours, predicted_second=ours
  )
  assert decided.changed_share == 0
  assert decided.largest_probability_difference == largest
  second.logits[3, 1] = np.inf
  found = comparison.agreement(first, second)
  assert np.isnan(list(vars(found).values())).all()


def test_different_images_are_refused():
  first, second = _pair()
  for other in (
    toy.take(second, np.arange(79)),
    dataclasses.replace(second, ids=second.ids[::-1]),
    dataclasses.replace(second, labels=second.labels[::-1]),
  ):
    with pytest.raises(InputError, match="predictions: got 80 and"):
      comparison.agreement(first, other)


def test_holm_steps_down():
  # By hand: 0.01 x 4; 0.02 x 3; 0.03 x 2 = 0.06; 0.5.
  found = comparison.holm([0.03, 0.01, 0.5, 0.02])
  np.testing.assert_allclose(found, [0.06, 0.04, 0.5, 0.06], rtol=1e-12)
  # A p-value is never less than one before it, and never above 1.
  found = comparison.holm([0.021, 0.01, 0.022])
  np.testing.assert_allclose(found, [0.042, 0.03, 0.042], rtol=1e-12)
  np.testing.assert_array_equal(comparison.holm([0.7, 0.6]), [1, 1])
  assert len(comparison.holm([])) == 0
  # One that is not made yet counts among the three.
  found = comparison.holm([0.01, np.nan, 0.02])
  np.testing.assert_allclose(found, [0.03, np.nan, 0.04], rtol=1e-12)


@pytest.mark.parametrize("positive", [None, 1])
def test_differences_on_images_resample_both_networks_alike(positive):
  """As the metrics of both networks on each resample, one by one."""
  first, second = _pair()
  groups = np.arange(80) % 16
  found = comparison.on_images(
    first, second, positive=positive, groups=groups, seed=3, resamples=30
  )
  assert "count" not in found
  assert "majority_rate" not in found
  members = [np.flatnonzero(groups == group) for group in range(16)]
  gaps = []
  for number in range(30):
    chosen = np.repeat(members, bootstrap.draw(16, seed=3, number=number), 0)
    one, other = (
      classification.summarize(toy.take(x, chosen.ravel()), positive=positive)
      for x in (first, second)
    )
    gaps.append({name: one[name] - other[name] for name in found})
  for name, interval in found.items():
    values = np.array([gap[name] for gap in gaps])
    if name == "ece":  # without the bias of resampling
      values += interval.value - values.mean()
    ends = np.quantile(values, [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx(ends, abs=1e-12)
  whole = (
    classification.summarize(x, positive=positive) for x in (first, second)
  )
  one, other = whole
  assert found["loss"].value == one["loss"] - other["loss"]


def test_pairs_on_images_are_compared_more_narrowly_than_apart():
  first, second = _pair(400)
  second = dataclasses.replace(
    second, logits=first.logits * 1.1, losses=first.losses * 0.98
  )
  paired = comparison.on_images(first, second, positive=1, resamples=200)
  alone = bootstrap.intervals(first, positive=1, resamples=200)["loss"]
  loss = paired["loss"]
  assert 0 < loss.low < loss.value < loss.high
  assert loss.high - loss.low < (alone.high - alone.low) / 10
  same = comparison.on_images(first, first, positive=1, resamples=20)
  assert {(x.value, x.low, x.high) for x in same.values()} == {(0, 0, 0)}
  with pytest.raises(InputError, match="predictions: got 400 and"):
    comparison.on_images(first, toy.take(first, np.arange(9)), positive=1)
