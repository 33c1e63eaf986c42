"""Tests of thresholds against the trial of all of them."""

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.errors import InputError
from mn_jax.metrics import classification, thresholds
from tests.metrics import toy_predictions as toy


def _sensitivity(labels, found):
  return found[labels].mean()


def _trials(predictions, positive, metric) -> tuple[np.ndarray, np.ndarray]:
  """Every threshold, rising, and what it would give."""
  scores = predictions.probabilities()[:, positive]
  tried = np.unique(scores)
  labels = predictions.labels == positive
  return tried, np.array([metric(labels, scores >= t) for t in tried])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize(
  ("choose", "metric"),
  [
    (
      thresholds.best_balanced_accuracy,
      sklearn.metrics.balanced_accuracy_score,
    ),
    (thresholds.best_f1, sklearn.metrics.f1_score),
  ],
)
def test_no_threshold_is_better(seed, positive, choose, metric):
  predictions = toy.random(25, 2, seed)
  threshold = choose(predictions, positive=positive)
  tried, values = _trials(predictions, positive, metric)
  assert threshold in tried
  best = np.isclose(values, values.max(), rtol=0, atol=1e-12)
  assert threshold == tried[best].max()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sensitivity", [1e-9, 0.5, 0.9, 0.95, 1])
def test_a_sensitivity_is_reached_by_the_highest_threshold(seed, sensitivity):
  predictions = toy.random(25, 2, seed)
  threshold = thresholds.at_sensitivity(predictions, sensitivity, positive=1)
  tried, values = _trials(predictions, 1, _sensitivity)
  assert threshold == tried[values >= sensitivity].max()


def test_a_sensitivity_that_is_a_share_of_the_images_is_reached_exactly():
  scores = np.linspace(0.99, 0.01, 20)
  predictions = toy.binary([1] * 20, scores)
  threshold = thresholds.at_sensitivity(predictions, 0.95, positive=1)
  assert threshold == pytest.approx(scores[18], abs=1e-6)


def test_of_equally_good_thresholds_the_highest_is_chosen():
  predictions = toy.binary([1, 0, 1, 0], [0.9, 0.7, 0.5, 0.3])
  for choose, expected in (
    (thresholds.best_balanced_accuracy, 0.9),
    (thresholds.best_f1, 0.5),
  ):
    threshold = choose(predictions, positive=1)
    assert threshold == pytest.approx(expected, abs=1e-6)


def test_a_choice_is_kept_on_other_predictions():
  validation, test = toy.random(200, 2, 0), toy.random(100, 2, 1)
  threshold = thresholds.best_balanced_accuracy(validation, positive=1)
  for predictions in (validation, test):
    found = thresholds.decide(predictions, threshold, positive=1)
    np.testing.assert_array_equal(
      found, predictions.probabilities()[:, 1] >= threshold
    )
  chosen = classification.summarize(
    validation,
    positive=1,
    predicted=thresholds.decide(validation, threshold, positive=1),
  )
  usual = classification.summarize(validation, positive=1)
  assert chosen["balanced_accuracy"] > usual["balanced_accuracy"]
  assert chosen["auroc"] == usual["auroc"]


def test_what_is_not_positive_is_the_likeliest_of_the_others():
  predictions = toy.of([0, 1, 2], [[3, 2, 1], [2, 3, 1], [1, 2, 9]])
  found = thresholds.decide(predictions, 2.0, positive=2)
  np.testing.assert_array_equal(found, [0, 1, 1])
  found = thresholds.decide(predictions, 0.5, positive=2)
  np.testing.assert_array_equal(found, [0, 1, 2])
  found = thresholds.decide(predictions, 0.0, positive=2)
  np.testing.assert_array_equal(found, [2, 2, 2])


@pytest.mark.parametrize(
  ("labels", "defined"),
  [([0, 0], (False, False, False)), ([1, 1], (False, True, True))],
)
def test_without_images_of_a_kind_a_threshold_may_be_undefined(labels, defined):
  predictions = toy.binary(labels, [0.2, 0.8])
  found = (
    thresholds.best_balanced_accuracy(predictions, positive=1),
    thresholds.best_f1(predictions, positive=1),
    thresholds.at_sensitivity(predictions, 0.9, positive=1),
  )
  assert tuple(not np.isnan(x) for x in found) == defined


def test_a_network_that_diverged_has_no_threshold():
  predictions = toy.of([0, 1], [[0, np.nan], [0, 1]])
  threshold = thresholds.best_f1(predictions, positive=1)
  assert np.isnan(threshold)
  with pytest.raises(InputError, match="threshold: got nan"):
    thresholds.decide(predictions, threshold, positive=1)


@pytest.mark.parametrize("sensitivity", [0, -1, 1.01, np.nan])
def test_sensitivities_out_of_range_are_refused(sensitivity):
  with pytest.raises(InputError, match=r"sensitivity: got .*; valid: above 0"):
    thresholds.at_sensitivity(toy.random(9, 2), sensitivity, positive=1)
