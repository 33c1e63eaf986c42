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


def test_classes_are_even_in_every_epoch():
  epochs = _ids(_batches()).reshape(-1, len(_ROWS))
  for epoch in epochs:
    counts = np.bincount(_LABELS[epoch], minlength=3)
    assert np.ptp(counts) <= 1
    assert counts.sum() == len(_ROWS)


@pytest.mark.parametrize("label", range(3))
def test_each_class_is_used_up_before_any_of_it_comes_again(label):
  members = np.flatnonzero(label == _LABELS)
  # In an epoch the order is shuffled, so only counts after epochs are exact.
  epochs = _ids(_batches()).reshape(-1, len(_ROWS))
  for stop in range(1, len(epochs) + 1):
    sampled = epochs[:stop].ravel()
    counts = np.bincount(sampled, minlength=len(_LABELS))[members]
    assert np.ptp(counts) <= 1


def test_the_order_is_shuffled_and_follows_the_seed():
  ids = _ids(_batches())
  labels = _LABELS[ids]
  assert (labels[1:] == labels[:-1]).mean() == pytest.approx(1 / 3, abs=0.05)
  assert not np.array_equal(ids, _ids(_batches(seed=1)))
  np.testing.assert_array_equal(ids, _ids(_batches()))


def test_any_batch_can_be_asked_for_first():
  batches, fresh = _batches(), _batches()
  for number in (59, 3, 17):
    np.testing.assert_array_equal(batches.ids(number), fresh.ids(number))


def test_processes_share_a_batch():
  whole = _batches(batch_size=30)
  shares = [
    _batches(batch_size=30, process_index=i, process_count=3) for i in range(3)
  ]
  for number in (0, 7):
    parts = [share.span(number, 1)[0]["id"] for share in shares]
    np.testing.assert_array_equal(np.concatenate(parts), whole.ids(number))


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
