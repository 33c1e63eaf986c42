"""Tests of tables of features."""

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import feature_table

ARRAYS = {
  "pooled": np.arange(12, dtype=np.float32).reshape(4, 3),
  "texture": np.array([[1.0], [np.nan], [2.0], [3.0]]),
  "labels": np.array([0, 2, 1, 0], np.int8),
  "slides": np.array([7, 7, 9, 10]),
}


@pytest.fixture
def save(tmp_path):
  def save(**changes):
    arrays = {**ARRAYS, **changes}
    path = tmp_path / "table.npz"
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path

  return save


def test_a_table_of_any_origin(save):
  table = feature_table.read(save(), groups="slides")
  assert list(table.sets) == ["pooled", "texture"]
  assert table.sets["pooled"].dtype == np.float64
  assert table.labels.tolist() == [0, 2, 1, 0]
  assert table.classes == ("0", "1", "2")
  assert table.groups.tolist() == ["7", "7", "9", "10"]
  assert table.names.tolist() == ["0", "1", "2", "3"]
  joined = table.joined("texture+pooled")
  assert joined[2].tolist() == [2, 6, 7, 8]
  assert np.isnan(joined[1, 0])
  assert table.take(np.array([3, 1])).groups.tolist() == ["10", "7"]
  assert feature_table.read(save()).groups is None


def test_labels_may_be_words(save):
  table = feature_table.read(save(labels=np.array(["b", "a", "b", "c"])))
  assert table.classes == ("a", "b", "c")
  assert table.labels.tolist() == [1, 0, 1, 2]


def test_what_was_written_is_read(tmp_path):
  path = tmp_path / "features.npz"
  feature_table.write(
    path,
    sets={"pooled": ARRAYS["pooled"]},
    labels=np.array([0, 1, 1, 0]),
    classes=("cat", "dog", "bird"),
    names=np.array(["w", "x", "y", "z"]),
    groups=np.array(["p", "p", "q", "q"]),
  )
  table = feature_table.read(path)
  assert table.classes == ("cat", "dog", "bird")
  assert table.names.tolist() == ["w", "x", "y", "z"]
  assert table.groups.tolist() == ["p", "p", "q", "q"]
  np.testing.assert_array_equal(table.sets["pooled"], ARRAYS["pooled"])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"labels": None}, "--labels: got 'labels'; valid: an array of .*: pooled"),
    ({"labels": np.zeros(4)}, "--labels: got 'labels', float64 of the shape"),
    ({"labels": np.zeros((4, 2), int)}, "int64 of the shape \\(4, 2\\)"),
    ({"labels": np.array([0, -1, 1, 0])}, "got -1 in 'labels'; valid: 0 on"),
    ({"labels": np.zeros(3, int)}, "'pooled' of the shape \\(4, 3\\) with 3"),
    ({"classes": np.array(["a", "b"])}, "got 2 with 2 classes; valid: below"),
    ({"names": np.array(["a"] * 4)}, "got names that repeat; valid: each once"),
    ({"pooled": np.full((4, 1), np.inf)}, "'pooled' with infinite values"),
    ({"pooled": None, "texture": None}, "got no features; valid: a two-dim"),
  ],
)
def test_what_is_refused(save, changes, message):
  with pytest.raises(InputError, match=message):
    feature_table.read(save(**changes))


def test_other_files_are_refused(tmp_path, save):
  path = tmp_path / "table.txt"
  path.write_text("1,2")
  with pytest.raises(InputError, match=r"cannot be read .*; valid: an .npz"):
    feature_table.read(path)
  table = feature_table.read(save())
  with pytest.raises(InputError, match="--sets: got 'lbp'; valid: pooled, tex"):
    table.joined("pooled+lbp")
