"""Tests of optimizers."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from mn_jax.config.experiment import OptimConfig
from mn_jax.train import optimizer
from mn_jax.train.rules import Rules, merge

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
  rules = Rules(config.rules)
  return _apply(
    optimizer.make_optimizer(config, schedule, rules), rules, gradients
  )


def _apply(tx, rules: Rules, gradients: list[dict]) -> dict:
  @jax.jit
  def update(grads, opt_state, params):
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  params, frozen = rules.split(_PARAMS)
  # Optax takes Adam's bias correction to an integer power.
  with jax.numpy_dtype_promotion("standard"):
    opt_state = tx.init(params)
    for grads in gradients:
      params, opt_state = update(rules.split(grads)[0], opt_state, params)
  return merge(params, frozen)


def _usual(path: str) -> tuple[float, float]:
  """Factors of learning rate and weight decay without other rules."""
  return 1.0, float(path.endswith("kernel"))


def _reference(gradients: list[dict], update) -> dict:
  """The same in float64; `update` makes a function (p, g, t) per parameter."""

  def one(path, p, *grads):
    step = update("/".join(key.key for key in path))
    p = np.float64(p)
    for t, g in enumerate(grads, 1):
      p = step(p, np.float64(g), t)
    return p

  return jax.tree_util.tree_map_with_path(one, _PARAMS, *gradients)


def _adam(*, rate, b1, b2, epsilon, decay=0.0, factors=_usual):
  """Algorithm 1 of Kingma & Ba 2015, with decoupled decay."""

  def update(path):
    m = v = 0.0
    lr, wd = factors(path)

    def step(p, g, t):
      nonlocal m, v
      m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
      direction = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
      return p - rate * lr * (direction + decay * wd * p)

    return step

  return update


def _sgd(*, rate, momentum, l2, nesterov=True, factors=_usual):
  """Momentum: Polyak's, or Nesterov's as Sutskever et al. 2013 rewrite it."""

  def update(path):
    trace = 0.0
    lr, wd = factors(path)

    def step(p, g, t):
      nonlocal trace
      g = g + l2 * wd * p
      trace = g + momentum * trace
      return p - rate * lr * (g + momentum * trace if nesterov else trace)

    return step

  return update


def _assert_close(got: dict, expected: dict) -> None:
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    got,
    expected,
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


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_sgd_has_momentum_and_l2_on_kernels(l2, nesterov):
  config = OptimConfig(
    name="sgd",
    learning_rate=0.1,
    momentum=0.8,
    nesterov=nesterov,
    weight_decay=l2,
  )
  gradients = _gradients(5)
  expected = _reference(
    gradients, _sgd(rate=0.1, momentum=0.8, l2=l2, nesterov=nesterov)
  )
  _assert_close(_optimize(config, gradients), expected)


_RULES = (
  "block/norm/.* lr=3",
  "block/.*/kernel lr=0.5 wd=2",
  "head/bias lr=0",
  "head/.* wd=0.25",
)
_FACTORS = {
  "block/norm/scale": (3.0, 1.0),
  "block/norm/bias": (3.0, 1.0),
  "block/conv/kernel": (0.5, 2.0),
  "head/bias": (0.0, 1.0),
  "head/kernel": (1.0, 0.25),
}


def _trusted(update, coefficient: float, factors=_usual):
  """Layer-wise scaling of the update that `update(path)` makes."""

  def scaled(path):
    step = update(path)
    _, wd = factors(path)

    def one(p, g, t):
      u = step(p, g, t)
      norms = np.linalg.norm(p), np.linalg.norm(u)
      return u * (coefficient * norms[0] / norms[1]) if wd and all(norms) else u

    return one

  return scaled


def test_lars_is_the_papers():
  """Algorithm 1 of You et al. 2017, with the rate inside the momentum."""
  gradients = _gradients(4)
  config = OptimConfig(
    name="lars",
    learning_rate=0.5,
    momentum=0.8,
    nesterov=False,
    weight_decay=0.1,
    trust_coefficient=0.02,
  )

  def update(path):
    velocity = 0.0
    _, wd = _usual(path)
    direction = _trusted(
      lambda _: lambda p, g, t: g + 0.1 * wd * p, 0.02, _usual
    )(path)

    def step(p, g, t):
      nonlocal velocity
      velocity = 0.8 * velocity + 0.5 * direction(p, g, t)
      return p - velocity

    return step

  _assert_close(_optimize(config, gradients), _reference(gradients, update))


def test_lamb_is_the_papers():
  """Algorithm 2 of You et al. 2020: Adam's direction, decay, then trust."""
  gradients = _gradients(4)
  config = OptimConfig(
    name="lamb", learning_rate=0.05, epsilon=1e-6, weight_decay=0.1
  )

  def update(path):
    m = v = 0.0
    _, wd = _usual(path)

    def direction(p, g, t):
      nonlocal m, v
      m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
      u = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
      return u + 0.1 * wd * p

    trusted = _trusted(lambda _: direction, 1.0)(path)
    return lambda p, g, t: p - 0.05 * trusted(p, g, t)

  _assert_close(_optimize(config, gradients), _reference(gradients, update))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_factors_of_the_rate_are_of_the_whole_update(name):
  """The decay inside it too; that of the decay is in each parameter's own."""
  decay = 0.0 if name == "adam" else 0.3
  config = OptimConfig(
    name=name,
    learning_rate=0.1,
    b2=0.95,
    epsilon=0.01,
    weight_decay=decay,
    rules=_RULES,
  )
  factors = _FACTORS.__getitem__
  if name == "sgd":
    update = _sgd(rate=0.1, momentum=0.9, l2=decay, factors=factors)
  else:
    update = _adam(
      rate=0.1, b1=0.9, b2=0.95, epsilon=0.01, decay=decay, factors=factors
    )
  gradients = _gradients(4)
  got = _optimize(config, gradients)
  _assert_close(got, _reference(gradients, update))
  np.testing.assert_array_equal(got["head"]["bias"], _PARAMS["head"]["bias"])


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb", "sgd", "lars"])
def test_what_is_frozen_stays_and_has_no_optimizer_state(name):
  decay = 0.0 if name == "adam" else 0.3
  some = OptimConfig(
    name=name,
    learning_rate=0.1,
    weight_decay=decay,
    rules=("block/.* frozen", ".*"),
  )
  rules = Rules(some.rules)
  tx = optimizer.make_optimizer(some, optax.constant_schedule(0.1), rules)
  opt_state = tx.init(rules.split(_PARAMS)[0])
  paths = [
    jax.tree_util.keystr(path)
    for path, _ in jax.tree_util.tree_leaves_with_path(opt_state)
  ]
  assert not any("block" in path for path in paths)
  moments = 1 if name in ("sgd", "lars") else 2
  assert sum("kernel" in path for path in paths) == moments
  gradients = _gradients(3)
  got = _optimize(some, gradients)
  jax.tree.map(np.testing.assert_array_equal, got["block"], _PARAMS["block"])
  every = dataclasses.replace(some, rules=(".*",))
  _assert_close(got["head"], _optimize(every, gradients)["head"])


def test_frozen_gradients_are_not_in_the_norm_that_is_clipped():
  config = OptimConfig(
    name="sgd",
    learning_rate=0.1,
    momentum=0.0,
    clip_norm=0.5,
    rules=("block/.* frozen", ".*"),
  )
  (gradient,) = _gradients(1)
  norm = np.sqrt(sum((g**2).sum() for g in gradient["head"].values()))
  assert norm > 0.6
  moved = jax.tree.map(
    lambda p, g: p - 0.1 * g * np.float32(0.5 / norm),
    _PARAMS["head"],
    gradient["head"],
  )
  _assert_close(_optimize(config, [gradient])["head"], moved)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_usual_rules_are_optaxs_decay_of_kernels(name):
  config = OptimConfig(
    name=name, learning_rate=0.1, weight_decay=0.3, clip_norm=1.0
  )

  def kernels(params):
    return jax.tree_util.tree_map_with_path(
      lambda path, _: path[-1].key == "kernel", params
    )

  if name == "adamw":
    theirs = [
      optax.adamw(0.1, 0.9, 0.999, 1e-7, weight_decay=0.3, mask=kernels)
    ]
  else:
    theirs = [
      optax.add_decayed_weights(0.3, kernels),
      optax.sgd(0.1, momentum=0.9, nesterov=True),
    ]
  gradients = _gradients(4)
  chain = optax.chain(optax.clip_by_global_norm(1.0), *theirs)
  expected = _apply(chain, Rules([".*"]), gradients)
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


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb", "sgd", "lars"])
def test_the_schedule_is_read_at_completed_updates(name):
  """The first of a warm-up's updates has rate 0 and changes nothing."""
  config = OptimConfig(name=name, learning_rate=0.1, weight_decay=0.0)
  gradients = _gradients(2)
  with jax.numpy_dtype_promotion("standard"):
    rate = optimizer.make_schedule(config, 10, 5, batch_size=32)
  first = _optimize(config, gradients[:1], rate)
  jax.tree.map(np.testing.assert_array_equal, first, _PARAMS)
  second = _optimize(config, gradients, rate)
  assert all(
    np.any(a != b)
    for a, b in zip(
      jax.tree.leaves(second), jax.tree.leaves(_PARAMS), strict=True
    )
  )
