"""Tests of calibration against scikit-learn, SciPy and definitions."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import sklearn.calibration
import sklearn.metrics

from mn_jax.metrics import calibration, classification
from tests.metrics import toy_predictions as toy


def _loss(predictions, temperature: float) -> float:
  logits = predictions.logits.astype(np.float64) / temperature
  p = scipy.special.softmax(logits, axis=1)
  return sklearn.metrics.log_loss(
    predictions.labels, p, labels=range(logits.shape[1])
  )


@pytest.mark.parametrize("name", [*toy.extremes(), "random"])
def test_bins_are_scikit_learns(name):
  predictions = (toy.extremes() | {"random": toy.random(500, 3)})[name]
  hits = predictions.logits.argmax(1) == predictions.labels
  confidence = predictions.probabilities().max(axis=1)
  accuracy, mean = sklearn.calibration.calibration_curve(
    hits, confidence, n_bins=15
  )
  found = calibration.reliability(predictions)
  filled = found.counts > 0
  np.testing.assert_allclose(found.accuracy[filled], accuracy, atol=1e-12)
  np.testing.assert_allclose(found.confidence[filled], mean, atol=1e-12)
  assert np.isnan(found.accuracy[~filled]).all()
  assert np.isnan(found.confidence[~filled]).all()
  np.testing.assert_array_equal(found.edges, np.linspace(0, 1, 16))
  low, high = found.edges[:-1, None], found.edges[1:, None]
  np.testing.assert_array_equal(
    found.counts, ((low < confidence) & (confidence <= high)).sum(axis=1)
  )


def test_ece_is_the_mean_gap_of_the_images_bins():
  predictions = toy.random(300, 4)
  confidence = predictions.probabilities().max(axis=1)
  hits = predictions.logits.argmax(1) == predictions.labels
  bins = np.ceil(15 * confidence).astype(int)
  gaps = np.bincount(bins, hits) - np.bincount(bins, confidence)
  expected = abs(gaps).sum() / 300
  result = classification.summarize(predictions, positive=None)["ece"]
  assert result == pytest.approx(expected, abs=1e-12)
  sure = 50 * np.eye(3)[[0, 1, 2, 0]]
  for labels, expected in (([0, 1, 2, 0], 0), ([1, 2, 0, 1], 1)):
    ece = calibration.reliability(toy.of(labels, sure)).ece()
    assert ece == pytest.approx(expected, abs=1e-12)
  # Three quarters of the images that get 0.75 are right.
  predictions = toy.binary([1, 1, 1, 0], [0.75] * 4)
  assert calibration.reliability(predictions).ece() < 1e-7


@pytest.mark.parametrize(("classes", "factor"), [(2, 1), (5, 0.1), (5, 7)])
def test_the_temperature_minimises_the_loss(classes, factor):
  predictions = toy.random(200, classes)
  predictions = dataclasses.replace(
    predictions, logits=predictions.logits * np.float32(factor)
  )
  temperature = calibration.fit_temperature(predictions)
  best = scipy.optimize.minimize_scalar(
    lambda log_t: _loss(predictions, np.exp(log_t)),
    bounds=np.log([1e-2, 1e2]),
    method="bounded",
    options={"xatol": 1e-9},
  )
  assert temperature == pytest.approx(np.exp(best.x), rel=1e-5)
  assert _loss(predictions, temperature) <= best.fun + 1e-15


def test_the_temperature_undoes_scaled_logits():
  predictions = toy.random(300, 3)
  hot = dataclasses.replace(predictions, logits=4 * predictions.logits)
  assert calibration.fit_temperature(hot) == pytest.approx(
    4 * calibration.fit_temperature(predictions), rel=1e-9
  )


def test_scaling_changes_probabilities_and_losses():
  predictions = toy.random(100, 3)
  scaled = calibration.scale(predictions, 2.5)
  np.testing.assert_allclose(
    scaled.probabilities(),
    scipy.special.softmax(predictions.logits.astype(np.float64) / 2.5, axis=1),
    atol=1e-6,
  )
  assert scaled.losses.mean() == pytest.approx(
    _loss(predictions, 2.5), abs=1e-6
  )
  assert scaled.logits.dtype == scaled.losses.dtype == np.float32
  np.testing.assert_array_equal(
    scaled.logits.argmax(1), predictions.logits.argmax(1)
  )


def test_temperatures_at_the_ends():
  for logits, expected in (
    ([[1, 0], [0, 1]], 0.01),
    ([[1e30, 0], [0, 1e30]], 0.01),
    ([[0, 1], [1, 0]], 100),
    ([[0, 1e30], [1e30, 0]], 100),
    ([[0, 0], [0, 0]], 0.01),
    ([[0, np.nan], [0, 1]], np.nan),
    ([[0, np.inf], [0, 1]], np.nan),
  ):
    temperature = calibration.fit_temperature(toy.of([0, 1], logits))
    assert temperature == pytest.approx(expected, nan_ok=True)
