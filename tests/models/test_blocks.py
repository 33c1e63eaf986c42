"""Tests of drop path; blocks are tested with the networks that have them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import blocks, registry, variables
from mn_jax.run import network as network_lib
from tests import toy_transfer as toy

_RESIDUAL = [name for name, spec in registry.MODELS.items() if spec.residual]


def _drop(rate, train, count=4000):
  x = jnp.ones((count, 1, 2, 3), jnp.bfloat16)
  out = blocks.DropPath(rate).apply(
    {}, x, train, rngs={"dropout": jax.random.key(0)}
  )
  assert out.dtype == x.dtype
  return np.asarray(out, np.float32)


def test_whole_images_are_dropped_and_the_mean_stays():
  out = _drop(0.2, True)
  assert set(np.unique(out)) == {0, 1.25}
  np.testing.assert_array_equal(out.max((1, 2, 3)), out.min((1, 2, 3)))
  assert abs((out[:, 0, 0, 0] == 0).mean() - 0.2) < 0.02


@pytest.mark.parametrize(("rate", "train"), [(0.0, True), (0.2, False)])
def test_nothing_is_dropped_in_evaluation_or_at_rate_0(rate, train):
  assert (_drop(rate, train, count=50) == 1).all()


def _rates(name: str, drop_path: float) -> dict[str, float]:
  """The rate of each block with an addition."""
  network = registry.describe(name, num_classes=3)
  module = registry.build(network, drop_path=drop_path)
  rates = {}

  def record(next_function, args, kwargs, context):
    if isinstance(context.module, blocks.DropPath):
      rates[context.module.path[1]] = context.module.rate
    return next_function(*args, **kwargs)

  def forward(values, image):
    keys = {"dropout": jax.random.key(0)}
    with nn.intercept_methods(record):
      module.apply(values, image, True, mutable=["batch_stats"], rngs=keys)

  image = jax.ShapeDtypeStruct((2, 64, 64, 3), np.float32)
  jax.eval_shape(forward, variables.shapes(module, 64), image)
  return rates


@pytest.mark.parametrize("name", _RESIDUAL)
def test_rates_rise_linearly_over_the_blocks(name):
  rates = _rates(name, 0.3)
  last = {
    "mobilenet_v2": 16,
    "mobilenet_v3_large": 14,
    "mobilenet_v3_small": 10,
    "mobilenet_v4_conv_small": 15,
    "mobilenet_v4_conv_medium": 21,
    "resnet18": 7,
    "resnet34": 15,
    "resnet50": 15,
    "resnet152": 49,
  }[name]
  assert len(rates) > last / 2
  for block, rate in rates.items():
    index = int(block.removeprefix("block"))
    assert rate == pytest.approx(0.3 * index / last), block


def test_parameters_do_not_depend_on_drop_path():
  shapes = [
    variables.shapes(
      registry.build(
        registry.describe("mobilenet_v3_small", num_classes=3), drop_path=rate
      ),
      64,
    )
    for rate in (0.0, 0.2)
  ]
  assert shapes[0] == shapes[1]


def test_networks_without_residual_blocks_refuse_it():
  config = toy.load(model__drop_path=0.1)
  with pytest.raises(
    InputError, match=r"model\.drop_path: got 0\.1 for 'mobilenet_v1'; valid: 0"
  ):
    network_lib.check(config)
