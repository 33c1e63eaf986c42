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
  assert state.ema_params == {}
  jax.tree.map(
    np.testing.assert_array_equal,
    {"params": state.params, "batch_stats": state.batch_stats},
    _VARIABLES,
  )
  assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
  assert state_lib.eval_variables(state)["params"] is state.params


def test_the_ema_starts_at_the_parameters_and_is_what_is_evaluated():
  state = _state(ema=True)
  jax.tree.map(np.testing.assert_array_equal, state.ema_params, state.params)
  state = state.replace(ema_params=jax.tree.map(lambda x: 2 * x, state.params))
  assert state_lib.eval_variables(state) == {
    "params": state.ema_params,
    "batch_stats": state.batch_stats,
  }


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
    "c426434c2e0ff6d6e40bb4add644ea2bad223349368f2a78d0c74ee801276bfe"
  )
  on_another = jax.device_put(state, jax.devices()[1])
  assert state_lib.sha256(on_another) == digest
  assert state_lib.sha256(jax.tree.map(np.asarray, state)) == digest


def test_sha256_changes_with_one_bit_of_any_array():
  leaves, structure = jax.tree.flatten(_state(ema=True))
  assert len(leaves) == 11
  digests = {state_lib.sha256(structure.unflatten(leaves))}
  for index, leaf in enumerate(leaves):
    changed = np.array(leaf)
    changed.reshape(-1)[-1:].view(np.uint8)[0] ^= 1
    replaced = [*leaves[:index], changed, *leaves[index + 1 :]]
    digests.add(state_lib.sha256(structure.unflatten(replaced)))
  assert len(digests) == 12


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
