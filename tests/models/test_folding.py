"""Tests of BatchNorm folded into convolutions."""

import functools

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.models import folding, registry, variables

# The compiler takes twice as long to optimise.
_jit = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def _random(values, seed=0):
  """Statistics and parameters as after training."""
  draw = np.random.default_rng(seed)
  flat = flax.traverse_util.flatten_dict(values)
  for path, x in flat.items():
    if path[-1] in ("scale", "var"):
      flat[path] = draw.uniform(0.5, 1.5, x.shape).astype(np.float32)
    elif path[-1] in ("bias", "mean"):
      flat[path] = draw.uniform(-0.3, 0.3, x.shape).astype(np.float32)
  return flax.traverse_util.unflatten_dict(flat)


@pytest.mark.parametrize(
  ("name", "options", "head"),
  [
    ("mobilenet_v1", {"conv_bias": True}, "own"),
    ("mobilenet_v2", {}, "gap_128_64"),
    ("mobilenet_v3_small", {}, "own"),
    ("mobilenet_v4_conv_small", {}, "own"),
    ("inception_v3", {}, "own"),
  ],
)
def test_logits_stay_the_same(name, options, head):
  network = registry.describe(
    name,
    num_classes=3,
    width=0.125,
    options=registry.Options(**options),
    head=head,
  )
  size = max(32, registry.get(name).min_resolution)
  module = registry.build(network)
  values = _random(variables.initial_values(module, size, 0))
  folded_module = registry.build(network, folded=True)
  epsilon = network.conventions.epsilon
  folded = folding.fold(values, epsilon=epsilon)
  x = np.random.default_rng(1).normal(size=(2, size, size, 3))
  x = x.astype(np.float32)
  logits, _ = _jit(lambda v, x: module.apply(v, x, False))(values, x)
  again, _ = _jit(lambda v, x: folded_module.apply(v, x, False))(folded, x)
  assert np.std(logits) > 1e-2
  np.testing.assert_allclose(again, logits, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize("name", registry.MODELS)
def test_every_network_folds(name):
  network = registry.describe(name, num_classes=3, width=0.125)
  size = max(32, registry.get(name).min_resolution)
  values = variables.initial_values(registry.build(network), size, 0)
  folded = folding.fold(values, epsilon=1e-3)
  shapes = variables.shapes(registry.build(network, folded=True), size)
  assert jax.tree.map(np.shape, folded) == jax.tree.map(
    lambda x: x.shape, shapes
  )
  assert {np.asarray(x).dtype for x in jax.tree.leaves(folded)} == {
    np.dtype(np.float32)
  }


def test_a_norm_without_convolution_is_refused():
  norm = {name: np.ones(3, np.float32) for name in ("mean", "var")}
  values = {
    "params": {"backbone": {"a": {"norm": {"bias": np.ones(3, np.float32)}}}},
    "batch_stats": {"backbone": {"a": {"norm": norm}}},
  }
  with pytest.raises(KeyError):
    folding.fold(values, epsilon=1e-3)


def test_a_folded_network_cannot_be_trained():
  network = registry.describe("mobilenet_v1", num_classes=2, width=0.25)
  module = registry.build(network, folded=True)
  x = np.zeros((1, 32, 32, 3), np.float32)
  with pytest.raises(ValueError, match="cannot be trained"):
    jax.eval_shape(lambda: module.init(jax.random.key(0), x, True))
