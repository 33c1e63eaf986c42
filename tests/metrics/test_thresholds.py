"""Tests of thresholds against the trial of all of them."""

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.errors import InputError
from mn_jax.metrics import classification, thresholds
from tests.metrics import toy_predictions as toy


@pytest.mark.parametrize("positive", [0, 1])
def test_no_threshold_is_better(positive):
  for seed in range(4):
    predictions = toy.random(25, 2, seed)
    threshold = thresholds.best_balanced_accuracy(
      predictions, positive=positive
    )
    scores = predictions.probabilities()[:, positive]
    tried, labels = np.unique(scores), predictions.labels == positive
    balanced = sklearn.metrics.balanced_accuracy_score
    values = np.array([balanced(labels, scores >= each) for each in tried])
    assert threshold in tried
    best = np.isclose(values, values.max(), rtol=0, atol=1e-12)
    assert threshold == tried[best].max()
  # Ties go to the highest threshold.
  predictions = toy.binary([1, 0, 1, 0], [0.9, 0.7, 0.5, 0.3])
  threshold = thresholds.best_balanced_accuracy(predictions, positive=1)
  assert threshold == pytest.approx(0.9, abs=1e-6)


def test_a_threshold_applies_to_other_predictions():
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


def test_below_the_threshold_the_most_likely_other_class_is_predicted():
  predictions = toy.of([0, 1, 2], [[3, 2, 1], [2, 3, 1], [1, 2, 9]])
  found = thresholds.decide(predictions, 2.0, positive=2)
  np.testing.assert_array_equal(found, [0, 1, 1])
  found = thresholds.decide(predictions, 0.5, positive=2)
  np.testing.assert_array_equal(found, [0, 1, 2])
  found = thresholds.decide(predictions, 0.0, positive=2)
  np.testing.assert_array_equal(found, [2, 2, 2])


def test_one_class_and_a_diverged_network_have_no_threshold():
  for predictions in (
    toy.binary([0, 0], [0.2, 0.8]),
    toy.binary([1, 1], [0.2, 0.8]),
    toy.of([0, 1], [[0, np.nan], [0, 1]]),
  ):
    threshold = thresholds.best_balanced_accuracy(predictions, positive=1)
    assert np.isnan(threshold)
    with pytest.raises(InputError, match="threshold: got nan"):
      thresholds.decide(predictions, threshold, positive=1)
