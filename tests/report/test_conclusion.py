"""Tests of sentences that are made from a run's numbers."""

import dataclasses

import numpy as np
import pytest

from mn_jax.metrics import calibration, classification
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.report import conclusion, run_analysis
from tests.report import toy_runs as toy


@pytest.fixture
def analysis(tmp_path):
  return run_analysis.analyze(toy.write(tmp_path / "run"))


def replaced(named, logits):
  outputs = named.predictions
  return dataclasses.replace(
    named,
    predictions=dataclasses.replace(
      outputs,
      logits=logits,
      losses=predictions_lib.losses(logits, outputs.labels),
    ),
  )


def right(named, confidence=3.0):
  """Predictions that are all right."""
  labels = named.predictions.labels
  return replaced(named, np.eye(2, dtype=np.float32)[labels] * confidence)


def compare(analysis, **baselines):
  metrics = {
    name: classification.summarize(x.predictions, positive=1)
    for name, x in baselines.items()
  }
  return conclusion.compare(analysis.test, baselines, metrics, resamples=200)


def test_a_network_is_ahead_only_where_the_interval_is(analysis):
  """Against itself, the truth, and the opposite of it."""
  test = analysis.test
  same = compare(analysis, mean=test)
  assert "it is not shown that" in conclusion.against(same)
  assert same.differences["balanced_accuracy"].value == 0
  best = compare(analysis, mean=test, truth=right(test))
  assert best.name == "truth"
  text = conclusion.against(best)
  assert "truth, trained on the same images, has balanced accuracy 1.000" in (
    text
  )
  assert "The network is behind: \N{MINUS SIGN}0." in text
  worst = compare(analysis, wrong=right(test, -3.0))
  text = conclusion.against(worst)
  assert "The network is ahead by +0." in text
  assert worst.values["balanced_accuracy"] == 0


def test_no_baseline_no_comparison(analysis):
  assert compare(analysis) is None
  first, *_ = conclusion.of_run(analysis, None)
  values = analysis.intervals
  assert first.startswith("On 91 test images of 10 patients without an image")
  split = {**analysis.split, "kind": "fixed"}
  split["groups"] = {"train": ["a", "b"], "val": ["c"], "test": ["b", "c"]}
  shared = dataclasses.replace(analysis, split=split)
  first, *_ = conclusion.of_run(shared, None)
  assert "10 patients (2 of them are in training or validation too, " in first
  assert f"AUROC {values['auroc'].value:.3f} (" in first
  assert f"specificity {values['specificity'].value:.3f}." in first


def test_a_refused_test_says_nothing_else(tmp_path):
  folder = toy.write(tmp_path / "run", chosen_on="test")
  (text,) = conclusion.of_run(run_analysis.analyze(folder), None)
  assert "selected on the test part" in text


def test_what_validation_makes_worse_is_said_first(analysis):
  """Of a network that is calibrated on the test, and not on validation."""
  test = right(analysis.test, 6.0)
  outputs = test.predictions
  ece = calibration.reliability(outputs).ece()
  analysis = dataclasses.replace(
    analysis,
    test=test,
    intervals=analysis.intervals
    | {
      "ece": dataclasses.replace(analysis.intervals["ece"], value=ece),
      "balanced_accuracy": dataclasses.replace(
        analysis.intervals["balanced_accuracy"], value=1.0
      ),
    },
    temperature=9.0,
    at_temperature=classification.summarize(
      calibration.scale(outputs, 9.0), positive=1
    ),
    threshold=0.999,
    at_threshold={"balanced_accuracy": 0.5},
  )
  _, threshold, temperature = conclusion.of_run(analysis, None)
  assert "from 1.000 to 0.500, by \N{MINUS SIGN}0.500 (" in threshold
  assert "it makes the test worse" in threshold
  assert "more than chance" in threshold
  assert f"from {ece:.3f} to " in temperature
  assert "it makes calibration worse" in temperature
  assert conclusion.of_validation(analysis, harms=False) == []
  assert len(conclusion.of_validation(analysis, harms=True)) == 2


def test_what_validation_improves_is_no_warning(analysis):
  better = dataclasses.replace(
    analysis,
    at_threshold={"balanced_accuracy": 1.0},
    at_temperature={"ece": 0.0},
    temperature=1.5,
  )
  assert len(conclusion.of_run(better, None)) == 1
  texts = conclusion.of_validation(better, harms=False)
  assert [text.endswith("1.000.") for text in texts] == [True, False]
  assert "worse" not in " ".join(texts)


def test_generated_images_say_nothing_about_real_ones(analysis):
  config = analysis.config["config"]
  data = {**config["data"], "name": "idc_sample"}
  sample = dataclasses.replace(
    analysis, config={"config": {**config, "data": data}}
  )
  assert "generated" in conclusion.of_run(sample, None)[1]
