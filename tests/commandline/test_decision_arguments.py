"""Tests of what is printed of operating points and of attributes."""

import argparse

import numpy as np

from mn_jax.commandline import decision_arguments
from mn_jax.metrics.operating_point import Target
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe.console import Console
from tests.metrics import toy_predictions

ARGUMENTS = argparse.Namespace(
  at_specificity=(Target("specificity", 0.6), Target("specificity", 0.7)),
  at_sensitivity=(),
  by_attribute=["age"],
)


def images(labels, *, groups, ages):
  """Predictions of two classes, better than chance."""
  scores = np.clip(0.5 * np.array(labels) + np.linspace(0, 0.5, 12), 0.01, 0.99)
  return NamedPredictions(
    predictions=toy_predictions.binary(labels, scores),
    names=np.array([f"{i}.png" for i in range(12)]),
    groups=np.array(groups),
    classes=("no", "yes"),
    positive=1,
    attributes={"age": np.array(ages)},
  )


def shown(capsys, val, test):
  """What is printed of them."""
  found = decision_arguments.measure(ARGUMENTS, val, test, None)
  decision_arguments.show(Console(), found, test, "patient")
  # Tables are as wide as they need, lines as the terminal.
  return " ".join(capsys.readouterr().out.split())


def test_what_makes_numbers_mean_little_is_said(capsys):
  test = images(
    [0, 1] * 6,
    groups=[f"p{i // 4}" for i in range(12)],
    ages=[str(20 + i) for i in range(12)],
  )
  out = shown(capsys, test, test)
  assert "specificity 0.6, on validation" in out
  assert "is undefined" not in out
  assert "Small: 20 to 22.75, 1 group, 3 images, 1 positive, 2 negative" in out
  assert "age: 12 numbers, in ranges between the quartiles" in out
  assert "3 patients have images of several values" in out


def test_why_a_point_is_undefined_is_said_once(capsys):
  groups, ages = [f"p{i}" for i in range(12)], ["20"] * 12
  none = images([0] * 12, groups=groups, ages=ages)
  out = shown(capsys, none, none)
  # Two targets lack the same in both parts.
  for part in ("validation", "the test"):
    assert out.count(f"- is undefined: {part} has no image of the posi") == 1
  assert "of several values" not in out
