"""Tests of BatchNorm folded into convolutions."""

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.models import folding, registry, variables

SIZES = {"inception_v3": 75, "inception_resnet_v2": 75, "xception": 71}


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
  size = SIZES.get(name, 32)
  module = registry.build(network)
  values = _random(variables.initial_values(module, size, 0))
  folded_module = registry.build(network, folded=True)
  epsilon = network.conventions.epsilon
  folded = folding.fold(values, epsilon=epsilon)
  expected_shapes = variables.shapes(folded_module, size)
  assert jax.tree.map(np.shape, folded["params"]) == jax.tree.map(
    lambda x: x.shape, expected_shapes["params"]
  )
  x = np.random.default_rng(1).normal(size=(2, size, size, 3))
  x = x.astype(np.float32)
  logits, _ = jax.jit(lambda v, x: module.apply(v, x, False))(values, x)
  again, _ = jax.jit(lambda v, x: folded_module.apply(v, x, False))(folded, x)
  assert np.std(logits) > 1e-2
  np.testing.assert_allclose(again, logits, atol=1e-4 * np.abs(logits).max())


def test_a_folded_network_cannot_be_trained():
  network = registry.describe("mobilenet_v1", num_classes=2, width=0.25)
  module = registry.build(network, folded=True)
  x = np.zeros((1, 32, 32, 3), np.float32)
  with pytest.raises(ValueError, match="cannot be trained"):
    jax.eval_shape(lambda: module.init(jax.random.key(0), x, True))
