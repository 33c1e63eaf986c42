"""Tests of predictions at the threshold that validation chose."""

import dataclasses
import math

import numpy as np
import pytest

from mn_jax.metrics import classification, operating_point
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.studies import fixed_sensitivity
from mn_jax.studies import numbers as numbers_lib
from mn_jax.studies.evidence import Evidence
from mn_jax.studies.resampling import Result


def _named(seed, count, shift, classes=2):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, classes, count).astype(np.int32)
  logits = rng.normal(size=(count, classes)).astype(np.float32)
  logits[np.arange(count), labels] += 1.5
  logits[:, 1] += shift
  return NamedPredictions(
    predictions=Predictions(
      ids=np.arange(count, dtype=np.int32),
      labels=labels,
      logits=logits,
      losses=np.zeros(count, np.float32),
    ),
    names=np.array([f"{i}" for i in range(count)]),
    groups=None,
    classes=tuple("abc"[:classes]),
    positive=1,
    attributes={},
  )


def test_the_threshold_of_validation_becomes_a_half():
  # Networks that lean to the positive class: of 0.5 the threshold is far.
  val, test = _named(0, 400, 3.0), _named(1, 300, 2.5)
  shifted = fixed_sensitivity.predictions(val, test)
  found = classification.summarize(shifted.predictions, positive=1)
  expected = operating_point.from_validation(
    val.predictions,
    test.predictions,
    fixed_sensitivity.TARGET,
    positive=1,
    resamples=10,
  )
  assert found["sensitivity"] == pytest.approx(expected.sensitivity.value)
  assert found["specificity"] == pytest.approx(expected.specificity.value)
  before = classification.summarize(test.predictions, positive=1)
  assert found["specificity"] > before["specificity"] + 0.1
  # The order of the images stays.
  assert found["auroc"] == pytest.approx(before["auroc"])
  # On validation itself the target is reached, and only just.
  own = fixed_sensitivity.predictions(val, val)
  own = classification.summarize(own.predictions, positive=1)
  images = (val.predictions.labels == 1).sum()
  assert 0 <= own["sensitivity"] - 0.95 < 1 / images


def test_equal_scores_pass_the_threshold_together():
  val = _named(0, 400, 0.0)
  rounded = dataclasses.replace(
    val.predictions, logits=np.round(val.predictions.logits)
  )
  val = dataclasses.replace(val, predictions=rounded)
  own = fixed_sensitivity.predictions(val, val)
  assert (
    classification.summarize(own.predictions, positive=1)["sensitivity"] >= 0.95
  )


def test_without_a_choice_there_are_none():
  test = _named(1, 300, 0.0)
  assert fixed_sensitivity.predictions(None, test) is None
  few = _named(0, 8, 0.0)
  assert fixed_sensitivity.predictions(few, test) is None
  three = _named(0, 300, 0.0, classes=3)
  assert fixed_sensitivity.predictions(three, three) is None
  other = dataclasses.replace(test, positive=None)
  assert fixed_sensitivity.predictions(other, other) is None


def test_evidence_measures_and_resamples_them():
  parts = {"val": _named(0, 400, 3.0), "test": _named(1, 300, 2.5)}
  summary = {"chosen_on": "val", "split_sha256": "0", "test/accuracy": 0.5}
  rows = {
    "v2": {k: Result(summary, {}, parts.get) for k in range(3)},
    "chose": {0: Result({**summary, "chosen_on": "test"}, {}, parts.get)},
  }
  key = f"{fixed_sensitivity.PART}/specificity"
  numbers = Evidence(rows, resamples=50).measure("v2", "", key)
  shifted = fixed_sensitivity.predictions(parts["val"], parts["test"])
  expected = classification.summarize(shifted.predictions, positive=1)
  assert numbers.estimate.mean == pytest.approx(expected["specificity"])
  low, high = numbers.over_groups
  assert low < numbers.estimate.mean < high
  assert numbers.unit == "image"
  assert Evidence(rows).measure("chose", "", key).values == []


def test_validation_is_a_source_of_its_own_where_seeds_share_it():
  few, many = (_named(0, count, 3.0) for count in (60, 6000))
  test = _named(1, 300, 2.5)
  key, errors = f"{fixed_sensitivity.PART}/specificity", []
  for val in (few, many):
    summary = {"chosen_on": "val", "split_sha256": "0"}
    rows = {
      "v2": {
        k: Result(summary, {}, {"val": val, "test": test}.get) for k in range(3)
      }
    }
    numbers = Evidence(rows, resamples=200).measure("v2", "", key)
    assert numbers.holds == numbers_lib.CHOSEN
    of_test, of_val = numbers.estimate.errors[1:]
    assert numbers.estimate.freedoms == (2, 299, len(val.names) - 1)
    assert numbers.test_error == pytest.approx(math.hypot(of_test, of_val))
    errors.append(of_val)
  # By hand: resampled and chosen again.
  rng, found = np.random.default_rng(5), []
  for _ in range(200):
    drawn = few.take(rng.integers(0, 60, 60))
    shifted = fixed_sensitivity.predictions(drawn, test)
    metrics = classification.summarize(shifted.predictions, positive=1)
    found.append(metrics["specificity"])
  assert errors[0] == pytest.approx(np.std(found, ddof=1), rel=0.25)
  assert errors[1] < errors[0] / 3
