"""Tests of BatchNorm folded into convolutions."""

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.models import folding, registry, variables
from tests.models import networks


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
  ("name", "fields"),
  [
    (
      "mobilenet_v1",
      {"shallow": True, "conv_bias": True, "head": "gap_128_64"},
    ),
    *(
      pytest.param(name, {}, marks=pytest.mark.extended)
      for name in (
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v4_conv_small",
        "inception_v3",
      )
    ),
  ],
)
def test_logits_stay_the_same(name, fields):
  size = networks.size(name, 32)
  module = networks.build(name, width=0.125, **fields)
  values = _random(variables.initial_values(module, size, 0))
  epsilon = registry.get(name).conventions.epsilon
  folded = folding.fold(values, epsilon=epsilon)
  folded_module = networks.build(name, width=0.125, folded=True, **fields)
  assert jax.tree.map(np.shape, folded) == jax.tree.map(
    lambda x: x.shape, variables.shapes(folded_module, size)
  )
  assert {np.asarray(leaf).dtype for leaf in jax.tree.leaves(folded)} == {
    np.dtype(np.float32)
  }
  x = networks.images(2, size, size, 3)
  logits, _ = jax.jit(lambda v, x: module.apply(v, x, False))(values, x)
  again, _ = jax.jit(lambda v, x: folded_module.apply(v, x, False))(folded, x)
  assert np.std(logits) > 1e-2
  np.testing.assert_allclose(again, logits, atol=1e-4 * np.abs(logits).max())


def test_a_batch_norm_without_scale_is_folded():
  """As the Inception networks have it, and a convolution without bias."""
  draw = np.random.default_rng(0)
  kernel = draw.normal(size=(3, 3, 2, 4)).astype(np.float32)
  bias, mean = draw.normal(size=(2, 4)).astype(np.float32)
  var = draw.uniform(0.5, 1.5, 4).astype(np.float32)
  unit = {"conv": {"kernel": kernel}, "norm": {"bias": bias}}
  stats = {"norm": {"mean": mean, "var": var, "weight": np.float32(1)}}
  folded = folding.fold(
    {
      "params": {"backbone": {"stem": unit}},
      "batch_stats": {"backbone": {"stem": stats}},
    },
    epsilon=0.1,
  )
  assert folded["batch_stats"] == {}
  unit = folded["params"]["backbone"]["stem"]
  factor = 1 / np.sqrt(var.astype(np.float64) + 0.1)
  np.testing.assert_allclose(unit["conv"]["kernel"], kernel * factor, rtol=1e-5)
  np.testing.assert_allclose(
    unit["norm"]["bias"], bias - mean * factor, rtol=1e-4, atol=1e-6
  )


def test_a_norm_without_convolution_is_refused():
  norm = {name: np.ones(3, np.float32) for name in ("mean", "var")}
  values = {
    "params": {"backbone": {"a": {"norm": {"bias": np.ones(3, np.float32)}}}},
    "batch_stats": {"backbone": {"a": {"norm": norm}}},
  }
  with pytest.raises(KeyError):
    folding.fold(values, epsilon=1e-3)


def test_a_folded_network_cannot_be_trained():
  module = networks.build("mobilenet_v1", width=0.25, folded=True)
  x = np.zeros((1, 32, 32, 3), np.float32)
  with pytest.raises(ValueError, match="cannot be trained"):
    jax.eval_shape(lambda: module.init(jax.random.key(0), x, True))
