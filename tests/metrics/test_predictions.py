"""Tests of predictions: probabilities against SciPy, indices of groups."""

import dataclasses

import numpy as np
import pytest
import scipy.special

from mn_jax.errors import InputError
from mn_jax.metrics import predictions as predictions_lib
from tests.metrics import toy_predictions as toy


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_are_the_softmax(classes):
  predictions = toy.random(40, classes)
  np.testing.assert_allclose(
    predictions.probabilities(),
    scipy.special.softmax(predictions.logits.astype(np.float64), axis=1),
    rtol=1e-12,
  )
  predictions = toy.of([0, 1], [[1e30, -1e30], [0, 1e4]])
  np.testing.assert_array_equal(predictions.probabilities(), [[1, 0], [0, 1]])


def test_group_codes_follow_the_order_of_names_or_ids():
  predictions = toy.random(4, 2)
  groups = np.array(["b", "a", "c", "a"])
  codes = predictions_lib.group_codes(predictions, groups)
  assert codes.tolist() == [1, 0, 2, 0]
  shuffled = toy.take(predictions, np.array([2, 0, 1, 3]))
  codes = predictions_lib.group_codes(shuffled, None)
  assert codes.tolist() == [2, 0, 1, 3]


def test_each_image_needs_a_group():
  predictions = toy.random(9, 2)
  with pytest.raises(InputError, match="groups: got 8 for 9 images; valid: on"):
    predictions_lib.group_codes(predictions, np.arange(8))
  with pytest.raises(InputError, match="predictions: got none"):
    predictions_lib.group_codes(toy.take(predictions, np.arange(0)), None)


def test_a_damaged_file_is_refused_or_the_same(tmp_path):
  path = tmp_path / "test.npz"
  saved = predictions_lib.NamedPredictions(
    predictions=toy.random(4, 2),
    names=np.array(["a", "b", "c", "d"]),
    groups=None,
    classes=("no", "yes"),
    positive=1,
  )
  saved.write(path)
  intact = path.read_bytes()
  np.save(tmp_path / "one.npy", np.arange(3))
  damaged = [b"", intact[:200], (tmp_path / "one.npy").read_bytes()]
  for place in range(0, len(intact), 2):
    flipped = bytearray(intact)
    flipped[place] ^= 1 << place // 2 % 8
    damaged.append(bytes(flipped))
  refused = 0
  for content in damaged:
    path.write_bytes(content)
    try:
      read = predictions_lib.read(path)
    except InputError:
      refused += 1
    else:
      np.testing.assert_equal(
        dataclasses.asdict(read), dataclasses.asdict(saved)
      )
  assert refused > len(damaged) / 2
