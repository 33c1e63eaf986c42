"""Tests that images that count twice are images that are there twice."""

import dataclasses

import numpy as np
import pytest

from mn_jax.metrics import classification
from mn_jax.metrics.weighted import WeightedMetrics
from tests.metrics import toy_predictions as toy


def _check(predictions, positive, weights, found=None):
  rows = np.repeat(np.arange(len(weights)), weights)
  expected = classification.summarize(
    toy.take(predictions, rows),
    positive=positive,
    found=None if found is None else found[rows],
  )
  result = WeightedMetrics(predictions, positive=positive, found=found)(weights)
  assert result == {
    name: pytest.approx(value, rel=0, abs=1e-12, nan_ok=True)
    for name, value in expected.items()
  }
  assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize("name", [*toy.extremes(), "random"])
@pytest.mark.parametrize("positive", [None, 0, 1])
@pytest.mark.parametrize("seed", range(2))
def test_weights_count_as_repetitions(name, positive, seed):
  predictions = (toy.extremes() | {"random": toy.random(90, 3)})[name]
  rng = np.random.default_rng(seed)
  count = len(predictions.labels)
  weights = rng.poisson(0.7, count)
  weights[rng.integers(count)] += 1
  _check(predictions, positive, weights)
  _check(predictions, positive, np.ones(count, np.int64))
  found = rng.integers(0, predictions.logits.shape[1], count)
  _check(predictions, positive, weights, found)


@pytest.mark.parametrize("positive", [None, 1])
def test_a_class_may_drop_out(positive):
  predictions = toy.random(60, 3)
  for label in range(3):
    weights = np.where(predictions.labels == label, 0, 2)
    _check(predictions, positive, weights)
    _check(predictions, positive, 2 - weights)


@pytest.mark.parametrize("positive", [None, 1])
def test_of_a_network_that_diverged_little_is_defined(positive):
  predictions = toy.random(30, 2)
  logits = predictions.logits.copy()
  logits[3, 1] = np.nan
  predictions = dataclasses.replace(predictions, logits=logits)
  _check(predictions, positive, np.arange(30))
