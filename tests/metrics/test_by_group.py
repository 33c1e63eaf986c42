"""Tests of the accuracy of groups."""

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import by_group
from mn_jax.metrics.by_group import Group
from tests.metrics import toy_predictions as toy

GROUPS = np.array(["b", "a", "b", "c", "c", "d", "d", "a"])
LABELS = [0, 0, 1, 1, 1, 0, 1, 1]
SCORES = [0.1, 0.9, 0.2, 0.7, 0.9, 0.8, 0.9, 0.1]


def test_the_worst_come_first_and_of_those_alike_the_largest():
  groups = np.where(np.arange(8) == 5, "b", GROUPS)
  assert by_group.by_group(toy.binary(LABELS, SCORES), groups) == [
    Group("a", 2, 0.0),
    Group("b", 3, 1 / 3),
    Group("c", 2, 1.0),
    Group("d", 1, 1.0),
  ]


def test_the_shares_add_up_to_the_accuracy():
  predictions = toy.random(200, 3)
  groups = np.random.default_rng(0).integers(0, 9, 200).astype(str)
  found = by_group.by_group(predictions, groups)
  hits = sum(group.images * group.accuracy for group in found)
  right = predictions.logits.argmax(axis=1) == predictions.labels
  assert hits == pytest.approx(right.sum())
  assert sum(group.images for group in found) == 200


def test_decisions_may_be_others():
  predictions = toy.binary(LABELS, SCORES)
  found = by_group.by_group(predictions, GROUPS, found=np.array(LABELS))
  assert [group.accuracy for group in found] == [1.0] * 4


def test_a_network_that_diverged_has_no_accuracy():
  predictions = toy.of(LABELS, np.full((8, 2), np.nan))
  found = by_group.by_group(predictions, GROUPS)
  assert np.isnan([group.accuracy for group in found]).all()


def test_each_image_needs_a_group():
  with pytest.raises(InputError, match="groups: got 7 for 8 images"):
    by_group.by_group(toy.binary(LABELS, SCORES), GROUPS[1:])
