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


def _buffers(tree) -> list[int]:
  return [x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree)]


def test_the_state_before_the_first_step():
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


def test_the_average_starts_at_the_parameters_in_memory_of_its_own():
  """The step donates the state; one buffer cannot be donated twice."""
  state = _state(ema=True)
  jax.tree.map(np.testing.assert_array_equal, state.ema_params, state.params)
  buffers = _buffers(state)
  assert len(set(buffers)) == len(buffers)


def test_the_whole_state_can_be_donated():
  state = _state(ema=True)
  step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  assert step(state).step == 1
  # The values that it was made from are untouched.
  assert _VARIABLES["params"]["head"]["kernel"][0, 0] == 1


def test_the_average_is_evaluated_where_there_is_one():
  state = _state(ema=True)
  state = state.replace(ema_params=jax.tree.map(lambda x: 2 * x, state.params))
  assert state_lib.eval_variables(state) == {
    "params": state.ema_params,
    "batch_stats": state.batch_stats,
  }
  state = _state(ema=False)
  assert state_lib.eval_variables(state)["params"] is state.params


def test_sha256_is_of_the_values_alone():
  state = _state(ema=True)
  digest = state_lib.sha256(state)
  assert digest == state_lib.sha256(_state(ema=True))
  # Pinned: summaries of different versions are compared by it.
  assert digest == (
    "c426434c2e0ff6d6e40bb4add644ea2bad223349368f2a78d0c74ee801276bfe"
  )
  on_another = jax.device_put(state, jax.devices()[1])
  assert state_lib.sha256(on_another) == digest
  assert state_lib.sha256(jax.tree.map(np.asarray, state)) == digest


@pytest.mark.parametrize("index", range(11))
def test_sha256_changes_with_one_bit_of_any_array(index):
  state = _state(ema=True)
  leaves, structure = jax.tree.flatten(state)
  assert len(leaves) == 11
  changed = np.array(leaves[index])
  changed.reshape(-1)[-1:].view(np.uint8)[0] ^= 1
  leaves[index] = changed
  assert state_lib.sha256(structure.unflatten(leaves)) != state_lib.sha256(
    state
  )


def test_sha256_changes_with_a_path_a_type_and_a_shape():
  def digest(**params):
    return state_lib.sha256(_state().replace(params=params))

  kernel = np.arange(4, dtype=np.int32)
  digests = {
    digest(a=kernel),
    digest(b=kernel),
    digest(a=kernel.view(np.float32)),
    digest(a=kernel.reshape(2, 2)),
    digest(a=kernel[:2], b=kernel[2:]),
  }
  assert len(digests) == 5
