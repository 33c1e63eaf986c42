"""Predictions of a whole part of a split, every image counted once."""

import collections
from collections.abc import Callable, Iterable

import jax
import numpy as np

from mn_jax.metrics.predictions import Predictions
from mn_jax.train.state import TrainState
from mn_jax.train.step import EvalStep

# Batches in flight: the device need not wait for the host, and holds no more
# results than these.
_LAG = 3


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
  pending: collections.deque = collections.deque()
  results = []
  for batch in batches:
    pending.append(eval_step(state, put(batch)))
    if len(pending) > _LAG:
      results.append(jax.device_get(pending.popleft()))
  results += jax.device_get(list(pending))
  arrays = {
    key: np.concatenate([result[key] for result in results])
    for key in results[0]
  }
  valid = arrays["mask"] > 0
  return Predictions(
    ids=arrays["id"][valid],
    labels=arrays["label"][valid],
    logits=arrays["logits"][valid],
    losses=arrays["loss"][valid],
  )
