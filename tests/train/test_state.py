"""Tests of the training state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mn_jax.train import state as state_lib
from mn_jax.train.rules import Rules

pytestmark = pytest.mark.devices(4)

_VARIABLES = {
  "params": {
    "head": {"kernel": np.ones((3, 2), np.float32)},
    "stem": {"kernel": np.full((2, 2), 0.5, np.float32)},
  },
  "batch_stats": {"norm": {"mean": np.zeros(3, np.float32)}},
}


def _state(*, ema: bool = False) -> state_lib.TrainState:
  return state_lib.create(_VARIABLES, optax.adam(1e-3), Rules([".*"]), ema=ema)


def test_initial_state():
  state = _state()
  assert state.step.dtype == jnp.int32
  assert state.step == 0
  assert state.ema_params == state.ema_batch_stats == {}
  jax.tree.map(
    np.testing.assert_array_equal,
    {"params": state.params, "batch_stats": state.batch_stats},
    _VARIABLES,
  )
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
  live = state_lib.eval_variables(state)
  assert live["params"] is state.params
  assert live["batch_stats"] is state.batch_stats


def test_averages_start_at_the_initial_values_and_are_what_is_evaluated():
  state = _state(ema=True)
  averages = {
    "params": state.ema_params,
    "batch_stats": state.ema_batch_stats,
  }
  jax.tree.map(np.testing.assert_array_equal, averages, _VARIABLES)
  assert state_lib.eval_variables(state) == averages


def test_the_whole_state_can_be_donated():
  """One buffer cannot be donated twice: the EMA has memory of its own."""
  state = _state(ema=True)
  step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  assert step(state).step == 1
  # The values that it was made from are untouched.
  assert _VARIABLES["params"]["head"]["kernel"][0, 0] == 1


def test_sha256_depends_on_the_values_alone():
  state = _state(ema=True)
  digest = state_lib.sha256(state)
  # Pinned: summaries of different versions are compared by it.
  assert digest == (
    "a77eee2d572659968db3793dd5a09cdef776faed88af73b233bc924ed5f3e5f7"
  )
  on_another = jax.device_put(state, jax.devices()[1])
  assert state_lib.sha256(on_another) == digest
  assert state_lib.sha256(jax.tree.map(np.asarray, state)) == digest


def test_sha256_changes_with_one_bit_of_any_array():
  leaves, structure = jax.tree.flatten(_state(ema=True))
  assert len(leaves) == 12
  digests = {state_lib.sha256(structure.unflatten(leaves))}
  for index, leaf in enumerate(leaves):
    changed = np.array(leaf)
    changed.reshape(-1)[-1:].view(np.uint8)[0] ^= 1
    replaced = [*leaves[:index], changed, *leaves[index + 1 :]]
    digests.add(state_lib.sha256(structure.unflatten(replaced)))
  assert len(digests) == 13


def test_sha256_changes_with_a_path_a_type_and_a_shape():
  kernel = np.arange(4, dtype=np.int32)
  digests = {
    state_lib.sha256(_state().replace(params=params))
    for params in (
      {"a": kernel},
      {"b": kernel},
      {"a": kernel.view(np.float32)},
      {"a": kernel.reshape(2, 2)},
      {"a": kernel[:2], "b": kernel[2:]},
    )
  }
  assert len(digests) == 5
