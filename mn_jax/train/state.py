"""The training state: arrays only, no functions, no random keys."""

import hashlib
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mn_jax.train.rules import Rules


@flax.struct.dataclass
class TrainState:
  """Everything that changes from step to step.

  Random numbers derive from (seed, step), and the order of samples from
  (seed, epoch), so neither is kept here.

  Attributes:
    step: i32[], completed updates.
    params: the network's parameters.
    batch_stats: its running statistics.
    opt_state: optax's.
    ema_params: the average of `params`, or an empty dict without one.
    ema_batch_stats: the average of `batch_stats` beside it.
  """

  step: jax.Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState
  ema_params: dict
  ema_batch_stats: dict


def create(
  variables: dict,
  tx: optax.GradientTransformation,
  rules: Rules,
  *,
  ema: bool,
) -> TrainState:
  """The state before the first step.

  Args:
    variables: 'params' and 'batch_stats'.
    tx: the optimizer.
    rules: tell which parameters are trained; the optimizer knows no others.
    ema: whether averages of parameters and running statistics are kept.
  """
  params, batch_stats = (
    jax.tree.map(jnp.asarray, variables[collection])
    for collection in ("params", "batch_stats")
  )
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=batch_stats,
    opt_state=tx.init(rules.split(params)[0]),
    # A copy: the train step donates its arguments, and one buffer cannot be
    # donated twice.
    ema_params=jax.tree.map(jnp.copy, params) if ema else {},
    ema_batch_stats=jax.tree.map(jnp.copy, batch_stats) if ema else {},
  )


def eval_variables(state: TrainState) -> dict:
  """What the network is evaluated with: the averages where there are some."""
  return {
    "params": state.ema_params or state.params,
    "batch_stats": state.ema_batch_stats or state.batch_stats,
  }


def with_eval_variables(state: TrainState, variables: dict) -> TrainState:
  """The state that is evaluated with other variables, put where its own are."""
  changes = {}
  for name, values in variables.items():
    field = f"ema_{name}" if getattr(state, f"ema_{name}") else name
    changes[field] = jax.tree.map(
      lambda value, own: jax.device_put(value, own.sharding),
      values,
      getattr(state, field),
    )
  return state.replace(**changes)


def sha256(state: Any) -> str:
  """Digest of a tree of arrays: every one's path, type, shape and bits."""
  digest = hashlib.sha256()
  leaves = jax.tree_util.tree_leaves_with_path(state)
  for path, leaf in leaves:
    value = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    digest.update(f"{name}\t{value.dtype}\t{value.shape}\n".encode())
    digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
  return digest.hexdigest()
