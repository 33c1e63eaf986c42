"""Predictions of a whole part of a split, every image counted once."""

import collections
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from mn_jax.metrics.predictions import Predictions
from mn_jax.train.state import TrainState
from mn_jax.train.step import EvalStep

# Batches in flight: the device need not wait for the host, and holds no more
# results than these.
_LAG = 3
# Of the results of an eval step those that are predictions.
_PREDICTED = ("id", "label", "logits", "loss")


def predict(
  eval_step: EvalStep,
  state: TrainState,
  batches: Iterable[dict[str, np.ndarray]],
  put: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]],
) -> Predictions:
  """Runs `eval_step` over padded batches and drops the padding.

  Args:
    eval_step: from `step.make_eval_step`.
    state: what to evaluate.
    batches: from `loader.eval_batches`.
    put: host batch -> batch on the mesh.
  """
  return _predictions(_results(eval_step, state, batches, put, _PREDICTED))


def predict_with_features(
  eval_step: EvalStep,
  state: TrainState,
  batches: Iterable[dict[str, np.ndarray]],
  put: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]],
) -> tuple[Predictions, np.ndarray]:
  """As `predict`, and returns the features f32[n, channels] too."""
  names = (*_PREDICTED, "features")
  arrays = _results(eval_step, state, batches, put, names)
  return _predictions(arrays), arrays["features"]


def _results(
  eval_step: EvalStep,
  state: TrainState,
  batches: Iterable[dict[str, np.ndarray]],
  put: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]],
  names: Sequence[str],
) -> dict[str, np.ndarray]:
  """Those of an eval step's results that are named, without the padding."""
  pending: collections.deque = collections.deque()
  results = []
  for batch in batches:
    outputs = eval_step(state, put(batch))
    pending.append({name: outputs[name] for name in (*names, "mask")})
    if len(pending) > _LAG:
      results.append(jax.device_get(pending.popleft()))
  results += jax.device_get(list(pending))
  arrays = {
    key: np.concatenate([result[key] for result in results])
    for key in results[0]
  }
  valid = arrays["mask"] > 0
  return {name: arrays[name][valid] for name in names}


def _predictions(arrays: dict[str, np.ndarray]) -> Predictions:
  return Predictions(
    ids=arrays["id"],
    labels=arrays["label"],
    logits=arrays["logits"],
    losses=arrays["loss"],
  )
