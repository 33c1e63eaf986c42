"""Tests of schedules and optimizers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mn_jax import optim
from mn_jax.config import OptimConfig

_PARAMS = {
  "block": {
    "conv": {"kernel": np.float32([[3, -4], [1, 2]])},
    "norm": {"scale": np.float32([1, 2]), "bias": np.float32([0.5, -1])},
  },
  "head": {"kernel": np.float32([[2], [-3]]), "bias": np.float32([1.5])},
}


def _gradients(count: int) -> list[dict]:
  rng = np.random.default_rng(0)
  return [
    jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), _PARAMS)
    for _ in range(count)
  ]


def _optimize(config: OptimConfig, gradients: list[dict], rate=None) -> dict:
  """Parameters after one update per gradient."""
  schedule = rate or optax.constant_schedule(config.learning_rate)
  tx = optim.make_optimizer(config, schedule)

  @jax.jit
  def update(grads, opt_state, params):
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  # Optax takes Adam's bias correction to an integer power.
  with jax.numpy_dtype_promotion("standard"):
    params, opt_state = _PARAMS, tx.init(_PARAMS)
    for grads in gradients:
      params, opt_state = update(grads, opt_state, params)
  return params


def _reference(gradients: list[dict], update) -> dict:
  """The same in float64; `update` makes a function (p, g, t) per parameter."""

  def one(path, p, *grads):
    step = update(path[-1].key)
    p = np.float64(p)
    for t, g in enumerate(grads, 1):
      p = step(p, np.float64(g), t)
    return p

  return jax.tree_util.tree_map_with_path(one, _PARAMS, *gradients)


def _adam(*, rate, b1, b2, epsilon, decay=0.0):
  """Algorithm 1 of Kingma & Ba 2015, with decoupled decay of kernels."""

  def update(name):
    m = v = 0.0

    def step(p, g, t):
      nonlocal m, v
      m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
      direction = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
      if name == "kernel":
        direction = direction + decay * p
      return p - rate * direction

    return step

  return update


def _sgd(*, rate, momentum, l2):
  """Nesterov's momentum as Sutskever et al. 2013 rewrite it."""

  def update(name):
    trace = 0.0

    def step(p, g, t):
      nonlocal trace
      if name == "kernel":
        g = g + l2 * p
      trace = g + momentum * trace
      return p - rate * (g + momentum * trace)

    return step

  return update


def _assert_close(got: dict, expected: dict) -> None:
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    got,
    expected,
  )


def _rates(config: OptimConfig, total: int, warmup: int) -> list[float]:
  with jax.numpy_dtype_promotion("standard"):
    schedule = optim.make_schedule(config, total, warmup)
    return [
      float(schedule(jnp.asarray(k, jnp.int32))) for k in range(total + 1)
    ]


def test_constant():
  rates = _rates(OptimConfig(learning_rate=0.3), 5, 0)
  np.testing.assert_allclose(rates, [0.3] * 6, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_warmup_rises_linearly_from_0(schedule):
  config = OptimConfig(learning_rate=0.8, schedule=schedule)
  rates = _rates(config, 100, 4)
  np.testing.assert_allclose(rates[:5], [0, 0.2, 0.4, 0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 4])
def test_cosine_ends_at_0(warmup):
  config = OptimConfig(learning_rate=0.8, schedule="cosine")
  rates = _rates(config, 20, warmup)
  done = np.arange(21 - warmup) / (20 - warmup)
  expected = 0.4 * (1 + np.cos(np.pi * done))
  np.testing.assert_allclose(rates[warmup:], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("warmup", [0, 5])
def test_step_drops_at_shares_of_the_run(warmup):
  config = OptimConfig(
    learning_rate=1.0, schedule="step", decay_at=(0.5, 0.8), decay_factor=0.1
  )
  rates = _rates(config, 20, warmup)
  expected = [1.0] * 10 + [0.1] * 6 + [0.01] * 5
  np.testing.assert_allclose(rates[warmup:], expected[warmup:], rtol=1e-5)


def test_drops_within_the_warmup_hold_after_it():
  config = OptimConfig(
    learning_rate=1.0, schedule="step", decay_at=(0.1, 0.5), decay_factor=0.1
  )
  rates = _rates(config, 20, 6)
  np.testing.assert_allclose(rates[6:], [0.1] * 4 + [0.01] * 11, rtol=1e-5)


def test_two_drops_at_one_step_of_a_short_run():
  config = OptimConfig(
    learning_rate=1.0, schedule="step", decay_at=(0.5, 0.6), decay_factor=0.1
  )
  np.testing.assert_allclose(
    _rates(config, 3, 0), [1, 1, 0.01, 0.01], rtol=1e-5
  )


def test_adam_is_the_papers():
  config = OptimConfig(
    name="adam", learning_rate=0.1, b1=0.8, b2=0.95, epsilon=0.01
  )
  gradients = _gradients(5)
  expected = _reference(
    gradients, _adam(rate=0.1, b1=0.8, b2=0.95, epsilon=0.01)
  )
  _assert_close(_optimize(config, gradients), expected)


def test_adamw_decays_kernels_apart_from_the_gradient():
  config = OptimConfig(
    name="adamw", learning_rate=0.1, weight_decay=0.3, epsilon=0.01
  )
  gradients = _gradients(4)
  expected = _reference(
    gradients, _adam(rate=0.1, b1=0.9, b2=0.999, epsilon=0.01, decay=0.3)
  )
  _assert_close(_optimize(config, gradients), expected)


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_sgd_is_nesterovs_with_l2_on_kernels(l2):
  config = OptimConfig(
    name="sgd", learning_rate=0.1, momentum=0.8, weight_decay=l2
  )
  gradients = _gradients(5)
  expected = _reference(gradients, _sgd(rate=0.1, momentum=0.8, l2=l2))
  _assert_close(_optimize(config, gradients), expected)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_touches_kernels_only(name):
  config = OptimConfig(name=name, learning_rate=0.1, weight_decay=0.5)
  zeros = jax.tree.map(np.zeros_like, _PARAMS)
  after = _optimize(config, [zeros])

  def check(path, before, after):
    if path[-1].key == "kernel":
      assert np.all(np.abs(after) < np.abs(before))
    else:
      np.testing.assert_array_equal(after, before)

  jax.tree_util.tree_map_with_path(check, _PARAMS, after)


def test_the_gradient_is_clipped_before_l2_and_momentum():
  plain = OptimConfig(name="sgd", learning_rate=0.1, weight_decay=0.3)
  clipped = dataclasses.replace(plain, clip_norm=0.5)
  (gradient,) = _gradients(1)
  norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradient)))
  assert norm > 1
  scaled = jax.tree.map(lambda g: g * np.float32(0.5 / norm), gradient)
  _assert_close(_optimize(clipped, [gradient]), _optimize(plain, [scaled]))
  # A shorter one is left alone.
  short = jax.tree.map(lambda g: g * np.float32(0.4 / norm), gradient)
  _assert_close(_optimize(clipped, [short]), _optimize(plain, [short]))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_schedule_is_read_at_completed_updates(name):
  """The first of a warm-up's updates has rate 0 and changes nothing."""
  config = OptimConfig(name=name, learning_rate=0.1, weight_decay=0.0)
  gradients = _gradients(2)
  with jax.numpy_dtype_promotion("standard"):
    rate = optim.make_schedule(config, 10, 5)
  first = _optimize(config, gradients[:1], rate)
  jax.tree.map(np.testing.assert_array_equal, first, _PARAMS)
  second = _optimize(config, gradients, rate)
  assert all(
    np.any(a != b)
    for a, b in zip(
      jax.tree.leaves(second), jax.tree.leaves(_PARAMS), strict=True
    )
  )
