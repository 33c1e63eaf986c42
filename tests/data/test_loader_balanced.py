"""Tests of sampling every class equally often."""

import numpy as np
import pytest

from mn_jax.data import loader

# 70, 20, 3 and 0 images of classes 0 to 3.
_LABELS = np.repeat(np.arange(3), (70, 20, 3)).astype(np.int32)
_ROWS = np.random.default_rng(1).permutation(len(_LABELS)).astype(np.int64)


def _batches(**options) -> loader.TrainBatches:
  values = {
    "batch_size": 31,
    "num_batches": 60,
    "seed": 0,
    "balanced": True,
    **options,
  }
  return loader.TrainBatches(None, _LABELS, _ROWS, **values)


def _ids(batches: loader.TrainBatches) -> np.ndarray:
  return np.concatenate([batches.ids(k) for k in range(len(batches))])


def test_classes_are_even_and_each_is_used_up_before_any_of_it_comes_again():
  epochs = _ids(_batches()).reshape(-1, len(_ROWS))
  for stop, epoch in enumerate(epochs, 1):
    counts = np.bincount(_LABELS[epoch], minlength=3)
    assert np.ptp(counts) <= 1
    assert counts.sum() == len(_ROWS)
    # In an epoch the order is shuffled, so only counts after epochs are exact.
    counts = np.bincount(epochs[:stop].ravel(), minlength=len(_LABELS))
    for label in range(3):
      assert np.ptp(counts[label == _LABELS]) <= 1


def test_the_order_is_shuffled_and_follows_the_seed():
  ids = _ids(_batches())
  labels = _LABELS[ids]
  assert (labels[1:] == labels[:-1]).mean() == pytest.approx(1 / 3, abs=0.05)
  assert not np.array_equal(ids, _ids(_batches(seed=1)))
  np.testing.assert_array_equal(ids, _ids(_batches()))
  # Any batch can be the first.
  fresh = _batches()
  for number in (59, 3, 17):
    expected = ids[number * 31 : (number + 1) * 31]
    np.testing.assert_array_equal(fresh.ids(number), expected)


def test_even_classes_are_each_seen_once_per_epoch():
  labels = np.tile(np.arange(3, dtype=np.int32), 8)
  batches = loader.TrainBatches(
    None,
    labels,
    np.arange(24),
    batch_size=24,
    num_batches=4,
    seed=0,
    balanced=True,
  )
  for number in range(4):
    assert np.sort(batches.ids(number)).tolist() == list(range(24))
