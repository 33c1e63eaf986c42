"""Tests of the analysis of finished runs."""

import dataclasses
import json

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap, classification, predictions, thresholds
from mn_jax.report import run_analysis
from tests.report import toy_runs as toy


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
  """Of a run that no test changes."""
  folder = tmp_path_factory.mktemp("runs") / "run"
  return run_analysis.analyze(toy.write(folder))


def test_test_intervals_are_resampled_over_groups(analysis):
  answers = predictions.read(analysis.path / "predictions" / "test.npz")
  by_hand = bootstrap.intervals(
    answers.predictions, positive=1, groups=answers.groups, resamples=1000
  )
  assert analysis.intervals == by_hand
  by_image = bootstrap.intervals(
    answers.predictions, positive=1, resamples=1000
  )
  assert analysis.intervals["accuracy"].low != by_image["accuracy"].low
  right = answers.predictions.logits.argmax(1) == answers.predictions.labels
  assert analysis.matrix.trace() == right.sum()
  name, count, share = analysis.groups[0]
  of_group = right[answers.groups == name]
  assert (count, share) == (len(of_group), of_group.mean())
  assert [row[2] for row in analysis.groups] == sorted(
    x[2] for x in analysis.groups
  )


def test_threshold_and_temperature_depend_on_validation_only(tmp_path):
  folder = toy.write(tmp_path / "run")
  analysis = run_analysis.analyze(folder)
  val = predictions.read(folder / "predictions" / "val.npz")
  chosen = thresholds.best_balanced_accuracy(val.predictions, positive=1)
  assert analysis.threshold == chosen
  test = analysis.test.predictions
  decided = thresholds.decide(test, chosen, positive=1)
  by_hand = classification.summarize(test, positive=1, predicted=decided)
  assert dict(analysis.at_threshold) == by_hand
  # Another test changes neither the threshold nor the temperature.
  toy.predictions(90, 77).write(folder / "predictions" / "test.npz")
  other = run_analysis.analyze(folder)
  assert other.threshold == analysis.threshold
  assert other.temperature == analysis.temperature
  assert other.at_threshold != analysis.at_threshold
  # Another validation changes both.
  toy.predictions(60, 78).write(folder / "predictions" / "val.npz")
  third = run_analysis.analyze(folder)
  assert third.threshold != analysis.threshold
  assert third.temperature != analysis.temperature


def test_the_most_confident_errors_come_first(analysis):
  indices = analysis.most_confident_errors(5)
  answers = analysis.test.predictions
  guess = answers.logits.argmax(1)
  assert (guess[indices] != answers.labels[indices]).all()
  confidence = answers.probabilities()[indices, guess[indices]]
  assert (np.diff(confidence) <= 0).all()
  wrong = np.flatnonzero(guess != answers.labels)
  assert confidence[0] == answers.probabilities()[wrong, guess[wrong]].max()


def test_curves_skip_truncated_lines_and_undefined_values(analysis):
  assert analysis.curves == {
    "train/loss": [(5, 0.9)],
    "train/accuracy": [(5, 0.5)],
    "val/loss": [(10, 0.8)],
    "val/accuracy": [(10, 0.6), (20, 0.7)],
  }


def test_a_run_selected_on_the_test_has_no_test_metrics(tmp_path):
  analysis = run_analysis.analyze(toy.write(tmp_path / "run", chosen_on="test"))
  assert analysis.refused
  assert not analysis.intervals
  assert not analysis.at_threshold
  assert analysis.groups is analysis.matrix is None
  assert analysis.numbers() == {"refused": True}


def test_numbers_are_json_and_the_same_twice(tmp_path):
  folder = toy.write(tmp_path / "run", classes=("a", "b", "c"))
  analysis = run_analysis.analyze(folder)
  assert analysis.threshold is None
  text = json.dumps(analysis.numbers(), allow_nan=False)
  assert text == json.dumps(run_analysis.analyze(folder).numbers())


def test_damaged_folders_are_refused(tmp_path):
  folder = toy.write(tmp_path / "run")
  for name, content, message in (
    (
      "summary.json",
      b"{}",
      "whose summary.json cannot be read (it has no 'exp",
    ),
    ("summary.json", b"{", "whose summary.json cannot be read (it is no JSON"),
    (
      "summary.json",
      b"\xff",
      "whose summary.json cannot be read (it is no JSON",
    ),
    ("split.json", None, "whose split.json cannot be read (No such file"),
    ("config.json", b"[]", "whose config.json cannot be read (it is no object"),
    ("predictions/test.npz", b"PK", "cannot be read"),
    ("predictions/val.npz", None, "cannot be read"),
  ):
    path = folder / name
    before = path.read_bytes()
    path.unlink()
    if content is not None:
      path.write_bytes(content)
    with pytest.raises(InputError) as caught:
      run_analysis.analyze(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    path.write_bytes(before)
  path = folder / "predictions" / "test.npz"
  whole = toy.predictions(90, 1)
  dataclasses.replace(whole, names=whole.names[:-1]).write(path)
  with pytest.raises(InputError, match="cannot be read"):
    run_analysis.analyze(folder)
