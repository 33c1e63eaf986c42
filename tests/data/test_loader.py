"""Tests of the order and the content of batches."""

import threading

import numpy as np
import pytest

from mn_jax.data import loader
from mn_jax.errors import InputError

_NUM_IMAGES = 60
_IMAGES = np.random.default_rng(0).integers(
  0, 256, (_NUM_IMAGES, 3, 2, 3), np.uint8
)
_LABELS = (np.arange(_NUM_IMAGES) % 3).astype(np.int32)
# A split need not be in order, nor hold all rows.
_ROWS = np.random.default_rng(1).permutation(_NUM_IMAGES)[:23].astype(np.int64)


def _train(**options) -> loader.TrainBatches:
  values = {
    "images": _IMAGES,
    "labels": _LABELS,
    "rows": _ROWS,
    "batch_size": 8,
    "num_batches": 12,
    "seed": 0,
    **options,
  }
  positional = [values.pop(key) for key in ("images", "labels", "rows")]
  return loader.TrainBatches(*positional, **values)


def _batch(batches: loader.TrainBatches, number: int) -> loader.Batch:
  (batch,) = batches.span(number, 1)
  return batch


def _ids(batches: loader.TrainBatches) -> np.ndarray:
  return np.concatenate([batches.ids(k) for k in range(len(batches))])


def _eval(rows=_ROWS, images=_IMAGES, **options) -> list[loader.Batch]:
  values = {"batch_size": 8, **options}
  return list(loader.eval_batches(images, _LABELS, rows, **values))


def _assert_equal(one: loader.Batch, other: loader.Batch) -> None:
  assert one.keys() == other.keys()
  for key in one:
    np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.mark.parametrize("batch_size", [1, 8, 23, 50])
def test_every_row_once_per_epoch(batch_size):
  num_batches = -(-5 * len(_ROWS) // batch_size)
  ids = _ids(_train(batch_size=batch_size, num_batches=num_batches))
  epochs = ids[: 5 * len(_ROWS)].reshape(5, len(_ROWS))
  for epoch in epochs:
    np.testing.assert_array_equal(np.sort(epoch), np.sort(_ROWS))
  assert len({tuple(epoch) for epoch in epochs.tolist()}) == 5


def test_batches_are_full_and_straddle_epochs():
  batches = _train()
  assert len(batches) == 12
  assert all(len(batches.ids(k)) == 8 for k in range(12))
  # 23 rows: batch 2 has the last 7 of epoch 0 and the first of epoch 1.
  first_two = np.concatenate([batches.ids(0), batches.ids(1)])
  left = np.setdiff1d(_ROWS, first_two)
  np.testing.assert_array_equal(np.sort(batches.ids(2)[:7]), left)
  whole = _train(batch_size=23, num_batches=2)
  assert batches.ids(2)[7] == whole.ids(1)[0]


def test_order_depends_on_seed_and_epoch_alone():
  expected = _ids(_train(num_batches=24))
  for options in (
    {"batch_size": 16, "num_batches": 12},
    {"batch_size": 2, "num_batches": 96},
    {"images": None, "num_batches": 24},
    {"process_index": 1, "process_count": 2, "num_batches": 24},
    {"labels": _LABELS[::-1], "num_batches": 24},
  ):
    np.testing.assert_array_equal(_ids(_train(**options)), expected)
  assert not np.array_equal(_ids(_train(seed=1, num_batches=24)), expected)
  batches = _train(num_batches=24)
  for k in (23, 0, 11, 12, 0):  # in any order
    np.testing.assert_array_equal(batches.ids(k), expected[8 * k : 8 * k + 8])


def test_order_never_changes():
  # A run may be resumed with another version of NumPy.
  batches = _train(rows=np.arange(9), batch_size=9, num_batches=2, seed=3)
  assert [batches.ids(k).tolist() for k in range(2)] == [
    [6, 1, 8, 5, 2, 7, 4, 3, 0],
    [7, 8, 3, 5, 6, 4, 0, 2, 1],
  ]


def test_order_is_not_biased():
  # Each row is first about equally often: 46 times, give or take 7.
  first = [
    int(_train(seed=seed, rows=np.arange(10)).ids(0)[0]) for seed in range(460)
  ]
  counts = np.bincount(first, minlength=10)
  assert counts.min() > 20
  assert counts.max() < 80


def test_batch_is_rows_of_the_cache_with_or_without_images():
  for k in range(12):
    batch = _batch(_train(), k)
    ids = _train().ids(k)
    np.testing.assert_array_equal(batch["id"], ids)
    np.testing.assert_array_equal(batch["label"], _LABELS[ids])
    np.testing.assert_array_equal(batch["image"], _IMAGES[ids])
    np.testing.assert_array_equal(batch["mask"], np.ones(8))
    dtypes = {key: values.dtype for key, values in batch.items()}
    assert dtypes == {
      "id": np.int32,
      "label": np.int32,
      "image": np.uint8,
      "mask": np.float32,
    }
    del batch["image"]
    _assert_equal(_batch(_train(images=None), k), batch)
  for batch, with_images in zip(_eval(images=None), _eval(), strict=True):
    del with_images["image"]
    _assert_equal(batch, with_images)


def test_batches_are_gathered_ahead_and_not_all(monkeypatch):
  calls, ahead = [], threading.Event()
  real = loader._gather

  def gather(*args):
    calls.append(args)
    if len(calls) == 4:
      ahead.set()
    return real(*args)

  monkeypatch.setattr(loader, "_gather", gather)
  monkeypatch.setattr(loader, "_SPAN_BYTES", 1)  # batches go one by one
  iterator = _train().iterate(start=0, prefetch=4)
  next(iterator)
  assert ahead.wait(timeout=30)
  assert len(calls) < 10
  assert len(list(iterator)) == 11
  assert len(calls) == 12


@pytest.mark.parametrize("images", [_IMAGES, None])
@pytest.mark.parametrize("span", [1, 2, 5, 32])
def test_iteration_from_any_batch_is_the_tail(monkeypatch, span, images):
  monkeypatch.setattr(loader, "_MAX_SPAN", span)
  batches = _train(
    num_batches=40, images=images, process_index=1, process_count=2
  )
  for start in (0, 7, 39, 40):
    seen = list(batches.iterate(start=start, prefetch=3))
    assert len(seen) == 40 - start
    for k, batch in enumerate(seen, start):
      _assert_equal(batch, _batch(batches, k))


def test_batch_that_does_not_divide_is_refused():
  with pytest.raises(
    InputError, match=r"train\.batch_size: got 8; .* of the 3"
  ):
    _train(process_count=3)
  with pytest.raises(InputError, match=r"eval\.batch_size: got 8; .* of the 3"):
    _eval(process_count=3)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 16, 23])
@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_evaluation_sees_each_row_once(size, process_count):
  rows = _ROWS[:size]
  shares = [
    _eval(rows, process_index=i, process_count=process_count)
    for i in range(process_count)
  ]
  # As many batches of one shape for everyone, or the others would wait.
  assert {len(share) for share in shares} == {-(-size // 8)}
  for share in shares:
    for batch in share:
      assert batch["image"].shape == (8 // process_count, 3, 2, 3)
      ids = batch["id"]
      np.testing.assert_array_equal(batch["image"], _IMAGES[ids])
      np.testing.assert_array_equal(batch["label"], _LABELS[ids])
      assert batch["mask"].dtype == np.float32
      assert set(batch["mask"].tolist()) <= {0, 1}
  seen = [
    batch["id"][batch["mask"] > 0]
    for step in zip(*shares, strict=True)
    for batch in step
  ]
  np.testing.assert_array_equal(np.concatenate(seen), rows)
  # Padding is at the end, and repeats the first row.
  mask = np.concatenate([share[-1]["mask"] for share in shares])
  assert mask.tolist() == [1] * (1 + (size - 1) % 8) + [0] * (-size % 8)
  padding = np.concatenate([share[-1]["id"] for share in shares])[mask == 0]
  assert set(padding.tolist()) <= {rows[0]}
