"""Tests of running a whole split through an evaluation step."""

import numpy as np

from mn_jax.data import loader
from mn_jax.train import evaluate

_N, _CLASSES = 23, 3
# Of every image, by a made-up network.
_LOGITS = np.random.default_rng(0).normal(size=(_N, _CLASSES)).astype("f4")
_LOSSES = np.random.default_rng(1).random(_N).astype("f4")


def _predict(
  rows: np.ndarray,
  batch_size: int,
  on_batch=lambda batch: None,
  predict=evaluate.predict,
):
  labels = np.arange(_N, dtype=np.int32) % _CLASSES

  def eval_step(state, batch):
    assert state == "state"
    on_batch(batch)
    ids = batch["id"]
    return {
      "logits": _LOGITS[ids],
      "features": 2 * _LOGITS[ids],
      "loss": _LOSSES[ids],
      **{key: batch[key] for key in ("label", "mask", "id")},
    }

  batches = loader.eval_batches(None, labels, rows, batch_size=batch_size)
  return predict(eval_step, "state", batches, lambda batch: batch)


def test_every_image_is_predicted_once_in_order():
  """The last batch is filled up with an image again, which is dropped."""
  rows = np.random.default_rng(1).permutation(_N)[:17]
  for batch_size in (1, 2, 5, 17, 64):
    sizes = []
    predictions = _predict(
      rows,
      batch_size,
      lambda batch, sizes=sizes: sizes.append(len(batch["id"])),
    )
    assert sizes == [batch_size] * -(-17 // batch_size)
    np.testing.assert_array_equal(predictions.ids, rows)
    np.testing.assert_array_equal(predictions.labels, rows % _CLASSES)
    np.testing.assert_array_equal(predictions.logits, _LOGITS[rows])
    np.testing.assert_array_equal(predictions.losses, _LOSSES[rows])


def test_features_come_with_the_predictions_that_they_are_of(monkeypatch):
  rows = np.random.default_rng(1).permutation(_N)[:17]
  predictions, features = _predict(
    rows, 5, predict=evaluate.predict_with_features
  )
  np.testing.assert_array_equal(features, 2 * _LOGITS[rows])
  np.testing.assert_array_equal(predictions.logits, _LOGITS[rows])
  # Nobody pays for features that are not asked for.
  fetched = []
  monkeypatch.setattr(
    evaluate.jax, "device_get", lambda x: fetched.append(x) or x
  )
  _predict(rows, 5)
  assert "features" not in str(fetched)
  assert "logits" in str(fetched)


def test_results_are_fetched_while_later_batches_run(monkeypatch):
  """The device need not wait for the host, and holds a few results only."""
  events = []
  device_get = evaluate.jax.device_get

  def fetch(results):
    events.append("fetch")
    return device_get(results)

  monkeypatch.setattr(evaluate.jax, "device_get", fetch)
  _predict(np.arange(20), 2, lambda batch: events.append("step"))
  waiting = [
    events[: i + 1].count("step") - events[: i + 1].count("fetch")
    for i in range(len(events))
  ]
  assert events.count("step") == 10
  assert 2 <= max(waiting) <= 5
  assert events[:2] == ["step", "step"]
