"""Tests of measuring a part of a split, and of comparing two measurements."""

import dataclasses
import types

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import (
  calibration,
  classification,
  comparison,
  thresholds,
)
from mn_jax.metrics.predictions import Predictions
from mn_jax.run import assessment

PARTS = {"val": np.arange(0, 60), "test": np.arange(60, 140)}
DATA = types.SimpleNamespace(
  spec=types.SimpleNamespace(positive=1), part=PARTS.__getitem__
)


def predict(rows, *, seed=0):
  """Predictions that depend on the row alone."""
  draw = np.random.default_rng(seed)
  labels = draw.integers(0, 2, 200).astype(np.int32)
  logits = draw.normal(size=(200, 2)).astype(np.float32)
  logits[:, 1] += 4 * labels - 1
  losses = np.log(1 + np.exp(logits[:, 1] - logits[:, 0]))
  return Predictions(rows, labels[rows], logits[rows], losses[rows])


def predict_changed(rows):
  """For the same images, predictions that are a little off."""
  predictions = predict(rows)
  return dataclasses.replace(
    predictions, logits=predictions.logits + predict(rows, seed=1).logits / 4
  )


def predict_diverged(rows):
  predictions = predict(rows)
  return dataclasses.replace(
    predictions, logits=np.full_like(predictions.logits, np.nan)
  )


def assess(predict=predict, *, part="test", temperature=False, threshold=False):
  return assessment.assess(
    DATA, part, predict, temperature=temperature, threshold=threshold
  )


def test_metrics_of_a_part():
  assessed = assess()
  expected = predict(PARTS["test"])
  np.testing.assert_array_equal(assessed.predictions.ids, expected.ids)
  assert assessed.metrics == classification.summarize(expected, positive=1)
  assert (assessed.predicted, assessed.applied) == (None, {})


@pytest.mark.parametrize("part", PARTS)
def test_val_chooses_temperature_and_then_threshold(part):
  assessed = assess(part=part, temperature=True, threshold=True)
  temperature = calibration.fit_temperature(predict(PARTS["val"]))
  val, scaled = (
    calibration.scale(predict(PARTS[name]), temperature)
    for name in ("val", part)
  )
  threshold = thresholds.best_balanced_accuracy(val, positive=1)
  assert assessed.applied == {
    "temperature": temperature,
    "threshold": threshold,
  }
  np.testing.assert_array_equal(assessed.predictions.logits, scaled.logits)
  np.testing.assert_array_equal(
    assessed.predicted, scaled.probabilities()[:, 1] >= threshold
  )
  assert assessed.metrics == classification.summarize(
    scaled, positive=1, predicted=assessed.predicted
  )


def test_no_temperature_fits_logits_that_are_not_finite():
  with pytest.raises(InputError, match="--temperature-from-val: got logits"):
    assess(predict_diverged, temperature=True)


def test_comparison_of_metrics_and_predictions():
  for threshold in (False, True):
    before, after = (
      assess(way, threshold=threshold) for way in (predict, predict_changed)
    )
    compared = assessment.compare(before, after)
    assert compared.before == before.metrics
    assert compared.differences == {
      name: after.metrics[name] - value
      for name, value in before.metrics.items()
      if name not in classification.DEFINED
    }
    assert compared.differences["accuracy"] != 0
    assert compared.agreement == comparison.agreement(
      before.predictions,
      after.predictions,
      predicted_first=before.predicted,
      predicted_second=after.predicted,
    )
    assert compared.agreement.changed_share > 0
