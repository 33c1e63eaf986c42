"""Tests of running a whole split through an evaluation step."""

import numpy as np
import pytest

from mn_jax.data import loader
from mn_jax.train import evaluate

_N, _CLASSES = 23, 3


def _answers() -> tuple[np.ndarray, np.ndarray]:
  """Logits and losses of every image of a made-up network."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(_N, _CLASSES)).astype(np.float32)
  return logits, rng.random(_N).astype(np.float32)


def _predict(rows: np.ndarray, batch_size: int, on_batch=lambda batch: None):
  logits, losses = _answers()
  labels = np.arange(_N, dtype=np.int32) % _CLASSES

  def eval_step(state, batch):
    assert state == "state"
    on_batch(batch)
    ids = batch["id"]
    return {
      "logits": logits[ids],
      "loss": losses[ids],
      **{key: batch[key] for key in ("label", "mask", "id")},
    }

  batches = loader.eval_batches(None, labels, rows, batch_size=batch_size)
  return evaluate.predict(eval_step, "state", batches, lambda batch: batch)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 23, 64])
def test_every_image_once_in_order(batch_size):
  rows = np.random.default_rng(1).permutation(_N)[:17]
  logits, losses = _answers()
  predictions = _predict(rows, batch_size)
  np.testing.assert_array_equal(predictions.ids, rows)
  np.testing.assert_array_equal(predictions.labels, rows % _CLASSES)
  np.testing.assert_array_equal(predictions.logits, logits[rows])
  np.testing.assert_array_equal(predictions.losses, losses[rows])


def test_results_are_fetched_while_later_batches_run(monkeypatch):
  """The device need not wait for the host, and holds a few results only."""
  events = []
  real = evaluate.jax.device_get

  def fetch(results):
    events.append("fetch")
    return real(results)

  monkeypatch.setattr(evaluate.jax, "device_get", fetch)
  _predict(np.arange(20), 2, lambda batch: events.append("step"))
  waiting = [
    events[: i + 1].count("step") - events[: i + 1].count("fetch")
    for i in range(len(events))
  ]
  assert events.count("step") == 10
  assert 2 <= max(waiting) <= 5
  assert events[:2] == ["step", "step"]


def test_padding_is_dropped_though_it_repeats_an_image():
  sizes = []
  predictions = _predict(
    np.arange(5), 4, lambda batch: sizes.append(len(batch["id"]))
  )
  assert sizes == [4, 4]
  assert predictions.ids.tolist() == [0, 1, 2, 3, 4]
