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


def test_probabilities_of_several_labels_are_sigmoids():
  predictions = toy.of([[0, 1, 1]], [[-40.0, 0.0, 1e4]])
  assert predictions.multi_label
  np.testing.assert_allclose(
    predictions.probabilities(), [[np.exp(-40), 0.5, 1]], rtol=1e-12
  )
  assert predictions.predicted().tolist() == [[0, 1, 1]]
  assert predictions.predicted().dtype == np.uint8


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


def _named(predictions, classes, attributes=None):
  count = len(predictions.ids)
  return predictions_lib.NamedPredictions(
    predictions=predictions,
    names=np.array([f"image{i}" for i in range(count)]),
    groups=None,
    classes=classes,
    positive=None,
    attributes=attributes or {},
  )


def test_a_file_keeps_labels_of_either_shape_and_attributes(tmp_path):
  attributes = {"site": np.array(["a", "b", ""]), "age": np.array(["7"] * 3)}
  logits = np.arange(6.0).reshape(3, 2)
  for labels in ([0, 1, 0], [[0, 0], [1, 1], [0, 1]]):
    saved = _named(toy.of(labels, logits), ("x", "y"), attributes)
    saved.write(tmp_path / "test.npz")
    read = predictions_lib.read(tmp_path / "test.npz")
    np.testing.assert_equal(dataclasses.asdict(read), dataclasses.asdict(saved))
    assert read.predictions.labels.dtype == saved.predictions.labels.dtype
    assert read.predictions.multi_label == (np.ndim(labels) == 2)


def test_a_file_whose_arrays_do_not_fit_is_refused(tmp_path):
  path = tmp_path / "test.npz"
  logits = np.zeros((3, 2))
  wrong = [
    _named(toy.of(np.zeros((3, 4)), logits), ("x", "y")),
    _named(toy.of(np.zeros((3, 2)), logits), ("x", "y", "z")),
    _named(toy.of([0, 1, 0], logits), ("x", "y"), {"site": np.array(["a"])}),
  ]
  for saved in wrong:
    saved.write(path)
    with pytest.raises(InputError, match="cannot be read"):
      predictions_lib.read(path)


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
