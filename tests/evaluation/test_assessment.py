"""Tests of measuring a part of a split, and of comparing two measurements."""

import dataclasses
import types

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.evaluation import assessment
from mn_jax.metrics import calibration, classification, comparison, thresholds
from tests.metrics import toy_predictions

PARTS = {"val": np.arange(0, 60), "test": np.arange(60, 140)}
DATA = types.SimpleNamespace(
  spec=types.SimpleNamespace(positive=1), part=PARTS.__getitem__
)
PREDICTIONS = toy_predictions.random(140, 2)


def predict(rows, change=lambda logits: logits):
  predictions = toy_predictions.take(PREDICTIONS, rows)
  return dataclasses.replace(predictions, logits=change(predictions.logits))


def predict_changed(rows):
  noise = np.random.default_rng(1).normal(size=(len(rows), 2))
  return predict(rows, lambda logits: np.float32(logits + noise / 4))


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
    assess(lambda rows: predict(rows, lambda x: x * np.nan), temperature=True)


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
