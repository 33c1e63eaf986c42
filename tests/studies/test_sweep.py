"""Tests of search spaces and of the files that name them."""

import json
import math
import pathlib

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.studies import sweep
from mn_jax.studies.sweep import Choice, LogUniform, Sweep, Uniform

ROOT = pathlib.Path(__file__).parents[2]
SPACE = {
  "optim.learning_rate": LogUniform(1e-4, 1e-1),
  "model.dropout": Uniform(-0.25, 0.75),
  "augment.crop_padding": Choice((0, 2, 4)),
}


def test_grid_has_every_combination():
  points = sweep.grid({"a.x": (1, 2), "b": (3, 4)})
  pairs = ((1, 3), (1, 4), (2, 3), (2, 4))
  assert points == tuple({"a.x": x, "b": y} for x, y in pairs)
  with pytest.raises(InputError, match=r"optim.name: got 'sgd'; valid: "):
    sweep.grid({"optim.name": "sgd"})
  with pytest.raises(InputError, match=r"model.width: got \(\); valid: "):
    sweep.grid({"model.width": ()})


def test_a_larger_search_begins_with_the_same_points():
  many = sweep.random_search(SPACE, 30, seed=1)
  assert sweep.random_search(SPACE, 7, seed=1) == many[:7]
  others = sweep.random_search(SPACE, 30, seed=2)
  assert not any(point in others for point in many)


def test_another_field_leaves_the_values_of_the_others():
  few = {name: SPACE[name] for name in ("model.dropout", "optim.learning_rate")}
  for more, point in zip(
    sweep.random_search(SPACE, 9, seed=0),
    sweep.random_search(few, 9, seed=0),
    strict=True,
  ):
    assert {name: more[name] for name in few} == point


def test_samples_are_the_same_in_every_version():
  """A folder of runs is continued by whatever machine and version."""
  points = sweep.random_search(SPACE, 2, seed=0)
  # Hashes of seed, number and field, to four digits.
  values = [(0.01224, 0.3583, 0), (0.0008163, 0.6122, 0)]
  assert [tuple(point.values()) for point in points] == values
  assert all(point.keys() == SPACE.keys() for point in points)


def test_samples_follow_their_distributions():
  points = sweep.random_search(SPACE, 2000, seed=0)
  rates = np.array([point["optim.learning_rate"] for point in points])
  # Three orders of magnitude, a third of the draws in each: 4 sigma are 0.042.
  for low, high in ((1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 1e-1)):
    assert np.mean((rates >= low) & (rates < high)) == pytest.approx(
      1 / 3, abs=0.042
    )
  dropouts = np.array([point["model.dropout"] for point in points])
  assert dropouts.min() >= -0.25
  assert dropouts.max() <= 0.75
  # The deviation of a uniform number is its range over the root of 12.
  assert dropouts.mean() == pytest.approx(
    0.25, abs=4 / math.sqrt(12) / math.sqrt(2000)
  )
  counts = np.unique(
    [point["augment.crop_padding"] for point in points], return_counts=True
  )
  assert counts[0].tolist() == [0, 2, 4]
  np.testing.assert_allclose(counts[1] / 2000, 1 / 3, atol=0.042)
  assert abs(np.corrcoef(rates, dropouts)[0, 1]) < 4 / math.sqrt(2000)
  # JSON and the command line take them as they are.
  assert json.loads(json.dumps(points)) == list(points)


def test_samples_are_rounded_within_their_range():
  for draw in (Uniform(0.12344, 0.98766), LogUniform(0.12344, 0.98766)):
    assert draw.at(0.0) == 0.12344
    assert draw.at(1 - 2**-53) == 0.98766
    assert len(str(draw.at(0.4321))) <= 6


def test_sampled_points_are_unique():
  space = {"a": Choice((1, 2)), "b": Choice(("x", "y", "z"))}
  points = sweep.random_search(space, 6, seed=0)
  assert len({tuple(point.values()) for point in points}) == 6
  with pytest.raises(InputError, match=r"count 7, but only 6 different"):
    sweep.random_search(space, 7, seed=0)


def test_invalid_search_spaces_are_refused():
  for make, arguments, message in (
    (Uniform, (1, 1), r"Uniform\(low=1, high=1\): got it; valid: low"),
    (LogUniform, (0, 1), r"valid: low below high, above 0"),
    (Uniform, (0, math.nan), r"valid: low below high$"),
    (Choice, ((),), r"Choice: got \(\); valid: a tuple"),
    (Choice, ("ab",), r"Choice: got 'ab'; valid: a tuple"),
    (sweep.random_search, (SPACE, 0, 0), r"got count 0; valid: 1"),
    (sweep.random_search, ({"a": (1,)}, 1, 0), r"a: got \(1,\); valid: "),
    (Sweep, ("t", "c", ()), "sweep: got no points"),
  ):
    with pytest.raises(InputError, match=message):
      make(*arguments)


def test_points_may_come_from_a_generator():
  made = Sweep("t", "c", ({"model.width": width} for width in (0.5, 1.0)))
  assert len(made.points) == len(made.points) == 2
