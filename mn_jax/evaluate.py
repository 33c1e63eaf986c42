"""A whole split through the network, every image counted once."""

import collections
from collections.abc import Callable, Iterable

import jax
import numpy as np

from mn_jax.metrics.predictions import Predictions
from mn_jax.state import TrainState
from mn_jax.step import EvalStep

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
  # Results are fetched a few batches late, so that the device need not wait
  # for the host, and holds no more than those.
  pending: collections.deque = collections.deque()
  results = []
  for batch in batches:
    pending.append(eval_step(state, put(batch)))
    if len(pending) > _LAG:
      results.append(jax.device_get(pending.popleft()))
  results += jax.device_get(list(pending))
  whole = {
    key: np.concatenate([result[key] for result in results])
    for key in results[0]
  }
  valid = whole["mask"] > 0
  return Predictions(
    ids=whole["id"][valid],
    labels=whole["label"][valid],
    logits=whole["logits"][valid],
    losses=whole["loss"][valid],
  )
