"""A whole split through the network, every image counted once."""

import collections
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np

from mn_jax.metrics.predictions import Predictions
from mn_jax.train.seeds import Replicas, States
from mn_jax.train.state import TrainState
from mn_jax.train.step import EvalStep

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
  return _gather(
    _run(lambda batch: eval_step(state, put(batch)), batches, jax.device_get)
  )


def predict_replicas(
  replicas: Replicas,
  states: States,
  batches: Iterable[dict[str, np.ndarray]],
) -> list[Predictions]:
  """The same of several replicas, each of them on every batch.

  Args:
    replicas: how they are stepped.
    states: as it holds them.
    batches: from `loader.eval_batches`.
  """
  results = _run(
    lambda batch: replicas.eval_step(states, batch), batches, replicas.fetch
  )
  return [_gather(own) for own in zip(*results, strict=True)]


def _run(
  evaluate: Callable, batches: Iterable[dict[str, np.ndarray]], fetch: Callable
) -> list:
  """What was fetched of every batch, in order.

  Results are fetched a few batches late, so that the device need not wait for
  the host, and holds no more than those.
  """
  pending: collections.deque = collections.deque()
  results = []
  for batch in batches:
    pending.append(evaluate(batch))
    if len(pending) > _LAG:
      results.append(fetch(pending.popleft()))
  return results + [fetch(result) for result in pending]


def _gather(results: Sequence[dict[str, np.ndarray]]) -> Predictions:
  """The predictions of a whole part, from those of its batches."""
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
