"""Tests of optimizers and of the schedules of the learning rate."""

import dataclasses

import jax
import jax.numpy as jnp
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
  tx = optimizer.make_optimizer(config, schedule, rules)

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


def _reference(config: OptimConfig, gradients: list[dict]) -> dict:
  """The same in float64, each parameter by itself."""
  rules = Rules(config.rules)

  def optimize(path, p, *grads):
    treatment = rules.of("/".join(key.key for key in path))
    step = _update(config, treatment.lr, treatment.decay)
    p = np.float64(p)
    for t, g in enumerate(grads, 1):
      p = step(p, np.float64(g), t)
    return p

  return jax.tree_util.tree_map_with_path(optimize, _PARAMS, *gradients)


def _update(config: OptimConfig, lr: float, wd: float):
  """A function (parameter, gradient, t) with the moments of one parameter."""
  m = v = 0.0
  rate, decay = config.learning_rate * lr, config.weight_decay * wd

  def trusted(p, u, coefficient):
    norms = np.linalg.norm(p), np.linalg.norm(u)
    return u * (coefficient * norms[0] / norms[1]) if wd and all(norms) else u

  def adam(p, g, t):
    """Algorithm 1 of Kingma & Ba 2015 with decoupled decay.

    LAMB: algorithm 2 of You et al. 2020.
    """
    nonlocal m, v
    m = config.b1 * m + (1 - config.b1) * g
    v = config.b2 * v + (1 - config.b2) * g**2
    root = np.sqrt(v / (1 - config.b2**t))
    u = (m / (1 - config.b1**t)) / (root + config.epsilon) + decay * p
    return p - rate * (trusted(p, u, 1.0) if config.name == "lamb" else u)

  def sgd(p, g, t):
    """Momentum: Polyak's, or Nesterov's as Sutskever et al. 2013 rewrite it."""
    nonlocal m
    g = g + decay * p
    m = g + config.momentum * m
    return p - rate * (g + config.momentum * m if config.nesterov else m)

  def lars(p, g, t):
    """Algorithm 1 of You et al. 2017, with the rate inside the momentum."""
    nonlocal m
    u = trusted(p, g + decay * p, config.trust_coefficient)
    m = config.momentum * m + rate * u
    return p - m

  def rmsprop(p, g, t):
    """`ApplyRMSProp` of TensorFlow: training_ops.cc."""
    nonlocal m, v
    g = g + decay * p
    if t == 1:
      v = 1.0
    v = v + (1 - config.b2) * (g**2 - v)
    m = config.momentum * m + rate * g / np.sqrt(v + config.epsilon)
    return p - m

  others = {"sgd": sgd, "lars": lars, "rmsprop": rmsprop}
  return others.get(config.name, adam)


def _assert_close(actual: dict, expected: dict) -> None:
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    actual,
    expected,
  )


_ADAM = {"b1": 0.8, "b2": 0.95, "epsilon": 0.01}
_CONFIGS = [
  {"name": "adam", **_ADAM},
  {"name": "adamw", "weight_decay": 0.3, **_ADAM},
  {"name": "lamb", "learning_rate": 0.05, "weight_decay": 0.1, "epsilon": 1e-6},
  *(
    {"name": "sgd", "momentum": 0.8, "nesterov": nesterov, "weight_decay": l2}
    for nesterov in (True, False)
    for l2 in (0.0, 0.3)
  ),
  {
    "name": "lars",
    "learning_rate": 0.5,
    "momentum": 0.8,
    "nesterov": False,
    "weight_decay": 0.1,
    "trust_coefficient": 0.02,
  },
  {
    "name": "rmsprop",
    "momentum": 0.8,
    "b2": 0.9,
    "epsilon": 0.1,
    "weight_decay": 0.3,
  },
]


@pytest.mark.parametrize(
  "options", _CONFIGS, ids=[config["name"] for config in _CONFIGS]
)
def test_optimizers_equal_the_algorithms_of_their_papers(options):
  config = OptimConfig(**{"learning_rate": 0.1, **options})
  gradients = _gradients(5)
  _assert_close(_optimize(config, gradients), _reference(config, gradients))


@pytest.mark.parametrize("options", [*_CONFIGS[:2], _CONFIGS[4]])
def test_a_rule_scales_the_whole_update_and_the_decay_within_it(options):
  rules = (
    "block/norm/.* lr=3",
    "block/.*/kernel lr=0.5 wd=2",
    "head/bias lr=0",
    "head/.* wd=0.25",
  )
  config = OptimConfig(**{"learning_rate": 0.1, "rules": rules, **options})
  gradients = _gradients(4)
  params = _optimize(config, gradients)
  _assert_close(params, _reference(config, gradients))
  np.testing.assert_array_equal(params["head"]["bias"], _PARAMS["head"]["bias"])


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb", "sgd", "lars"])
def test_frozen_parameters_stay_and_have_no_optimizer_state(name):
  config = OptimConfig(
    name=name,
    learning_rate=0.1,
    weight_decay=0.0 if name == "adam" else 0.3,
    rules=("block/.* frozen", ".*"),
  )
  rules = Rules(config.rules)
  tx = optimizer.make_optimizer(config, optax.constant_schedule(0.1), rules)
  opt_state = tx.init(rules.split(_PARAMS)[0])
  paths = [
    jax.tree_util.keystr(path)
    for path, _ in jax.tree_util.tree_leaves_with_path(opt_state)
  ]
  assert not any("block" in path for path in paths)
  moments = 1 if name in ("sgd", "lars") else 2
  assert sum("kernel" in path for path in paths) == moments
  gradients = _gradients(3)
  params = _optimize(config, gradients)
  jax.tree.map(np.testing.assert_array_equal, params["block"], _PARAMS["block"])
  unfrozen = dataclasses.replace(config, rules=(".*",))
  _assert_close(params["head"], _optimize(unfrozen, gradients)["head"])


def test_gradients_are_clipped_before_l2_and_momentum():
  """By the norm of all that are not frozen."""
  (gradient,) = _gradients(1)
  for rules, unfrozen in (
    (OptimConfig().rules, gradient),
    (("block/.* frozen", ".*"), gradient["head"]),
  ):
    plain = OptimConfig(
      name="sgd", learning_rate=0.1, weight_decay=0.3, rules=rules
    )
    clipped = dataclasses.replace(plain, clip_norm=0.5)
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(unfrozen)))
    assert norm > 0.6
    scaled, short = (
      jax.tree.map(lambda g, n=n / norm: g * np.float32(n), gradient)
      for n in (0.5, 0.4)
    )
    _assert_close(_optimize(clipped, [gradient]), _optimize(plain, [scaled]))
    # A shorter one is left alone.
    _assert_close(_optimize(clipped, [short]), _optimize(plain, [short]))


@pytest.mark.parametrize(
  "name", ["adam", "adamw", "lamb", "sgd", "lars", "rmsprop"]
)
def test_the_schedule_is_read_at_completed_updates(name):
  """The first update of a warm-up has rate 0 and changes nothing."""
  config = OptimConfig(name=name, learning_rate=0.1, weight_decay=0.0)
  gradients = _gradients(2)
  with jax.numpy_dtype_promotion("standard"):
    rate = optimizer.make_schedule(config, 10, 5, batch_size=32)
  first = _optimize(config, gradients[:1], rate)
  jax.tree.map(np.testing.assert_array_equal, first, _PARAMS)
  second = _optimize(config, gradients, rate)
  changed = jax.tree.map(lambda a, b: np.any(a != b), second, _PARAMS)
  assert all(jax.tree.leaves(changed))


def _rates(
  config: OptimConfig, total: int, warmup: int, *, batch_size=32, decay_steps=0
):
  """The rate at each of the steps from 0 to `total`."""
  with jax.numpy_dtype_promotion("standard"):
    schedule = optimizer.make_schedule(
      config,
      total,
      warmup,
      batch_size=batch_size,
      decay_steps=decay_steps,
    )
    return [float(schedule(jnp.int32(k))) for k in range(total + 1)]


def test_every_schedule_warms_up_linearly_from_0():
  for schedule in ("constant", "cosine", "step"):
    config = OptimConfig(learning_rate=0.8, schedule=schedule)
    rates = _rates(config, 100, 4)
    np.testing.assert_allclose(rates[:5], [0, 0.2, 0.4, 0.6, 0.8], rtol=1e-6)
    if schedule == "constant":
      np.testing.assert_allclose(rates[4:], [0.8] * 97, rtol=1e-6)


def test_exponential_drops_count_from_the_start_of_the_run():
  config = OptimConfig(
    learning_rate=0.8, schedule="exponential", decay_factor=0.5
  )

  def rates(warmup, **changes):
    changed = dataclasses.replace(config, **changes)
    return _rates(changed, 7, warmup, decay_steps=3)

  for warmup in (0, 2):
    expected = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]
    if warmup:
      expected[:2] = [0, 0.4]
    np.testing.assert_allclose(rates(warmup), expected, rtol=1e-6)
  schedule = jax.jit(
    optimizer.make_schedule(config, 60, 0, batch_size=32, decay_steps=41)
  )
  assert schedule(jnp.int32(41)) == pytest.approx(0.4)
  smooth = 0.8 * 0.5 ** (np.arange(8) / 3)
  np.testing.assert_allclose(rates(0, decay_staircase=False), smooth, rtol=1e-5)


def test_cosine_ends_at_0():
  config = OptimConfig(learning_rate=0.8, schedule="cosine")
  for warmup in (0, 4):
    rates = _rates(config, 20, warmup)
    done = np.arange(21 - warmup) / (20 - warmup)
    expected = 0.4 * (1 + np.cos(np.pi * done))
    np.testing.assert_allclose(rates[warmup:], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
  ("decay_at", "total", "warmup", "expected"),
  [
    ((0.5, 0.8), 20, 0, [1.0] * 10 + [0.1] * 6 + [0.01] * 5),
    ((0.5, 0.8), 20, 5, [1.0] * 5 + [0.1] * 6 + [0.01] * 5),
    # Drops within the warm-up hold after it.
    ((0.1, 0.5), 20, 6, [0.1] * 4 + [0.01] * 11),
    # Two drops at one step of a short run.
    ((0.5, 0.6), 3, 0, [1, 1, 0.01, 0.01]),
  ],
)
def test_step_drops_at_shares_of_the_run(decay_at, total, warmup, expected):
  config = OptimConfig(
    learning_rate=1.0, schedule="step", decay_at=decay_at, decay_factor=0.1
  )
  rates = _rates(config, total, warmup)
  np.testing.assert_allclose(rates[warmup:], expected, rtol=1e-5)


def test_the_rate_grows_with_the_batch():
  for scaling, peak in (("none", 0.1), ("linear", 0.8), ("sqrt", 0.1 * 8**0.5)):
    config = OptimConfig(
      learning_rate=0.1, lr_scaling=scaling, lr_batch_size=64, schedule="cosine"
    )
    assert optimizer.peak_rate(config, 512) == pytest.approx(peak)
    rates = _rates(config, 20, 4, batch_size=512)
    assert max(rates) == rates[4] == pytest.approx(peak)
    assert optimizer.peak_rate(config, 64) == 0.1
