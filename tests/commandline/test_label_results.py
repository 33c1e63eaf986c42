"""Tests of what programs print of each label."""

import numpy as np

from mn_jax.commandline import label_results
from mn_jax.metrics import bootstrap, multilabel
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.observe.console import Console

NAMES = ("red", "blue")


def named(labels: np.ndarray) -> NamedPredictions:
  """Predictions for five images of each of eight groups."""
  draw = np.random.default_rng(0)
  count = len(labels)
  outputs = Predictions(
    ids=np.arange(count, dtype=np.int32),
    labels=labels,
    logits=draw.normal(size=(count, 2)).astype(np.float32),
    losses=np.zeros(count, np.float32),
  )
  names = np.array([f"{i}.png" for i in range(count)])
  groups = np.array([f"g{i // 5}" for i in range(count)])
  return NamedPredictions(outputs, names, groups, NAMES, positive=None)


def test_every_label_has_its_metrics_and_intervals(capsys):
  labels = np.random.default_rng(1).integers(0, 2, (40, 2), np.uint8)
  test = named(labels)
  found = label_results.measure(test, None, intervals=True)
  values = label_results.as_json(found)["labels"]
  assert list(values) == list(NAMES)
  expected = multilabel.per_label(test.predictions)
  ends = bootstrap.label_intervals(test.predictions, groups=test.groups)
  for i, name in enumerate(NAMES):
    for metric, of_label in expected.items():
      assert values[name][metric] == of_label[i]
    for metric, intervals in ends.items():
      low, high = intervals[i].low, intervals[i].high
      assert values[name][f"{metric}_interval"] == {"low": low, "high": high}
      assert low < values[name][metric] < high
  label_results.show(Console(), found)
  out = capsys.readouterr().out
  assert "Labels" in out
  assert all(name in out for name in NAMES)


def test_images_of_one_class_have_none(capsys):
  test = named(np.arange(40, dtype=np.int32) % 2)
  assert label_results.measure(test, None, intervals=True) is None
  assert label_results.as_json(None) == {}
  label_results.show(Console(), None)
  assert not capsys.readouterr().out


def test_a_threshold_that_validation_cannot_choose_is_told():
  text = label_results.thresholds({"red": 0.41234, "blue": float("nan")})
  assert text == "red 0.4123, blue 0.5 (undefined)"
