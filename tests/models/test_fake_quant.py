"""Tests of fake-quantised networks against their kernels and ranges."""

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.models import fake_quant, folding, quantize, registry, variables
from mn_jax.ops import fake_quant as ops
from mn_jax.run import calibrate
from tests.models import networks

# The smallest of each family: what they pass on is rounded in their own code.
FAMILIES = {
  "mobilenet_v1": (0.125, 32),
  "mobilenet_v2": (0.1, 32),
  "mobilenet_v3_small": (0.1, 32),
  "mobilenet_v4_conv_small": (0.125, 32),
  "resnet18": (0.125, 32),
  "simple_cnn": (0.125, 32),
}
LARGE = {
  "vgg16": (0.1, 32),
  "xception": (0.1, 32),
  "inception_v3": (0.1, 75),
  "inception_resnet_v2": (0.1, 75),
}
BATCHES = 2


def images(resolution, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (4, resolution, resolution, 3), np.uint8)


def built(name, width, **fields):
  return networks.build(
    name, classes=4, width=width, norm_debias=False, **fields
  )


def values_of(module, resolution, seed=0):
  """Initial values with running statistics of no particular kind."""
  rng = np.random.default_rng(seed)
  values = variables.initial_values(module, resolution, seed)

  def stir(path, x):
    if path[-1] in ("var", "scale"):
      return rng.uniform(0.5, 2, x.shape).astype(np.float32)
    if path[-1] in ("mean", "bias"):
      return rng.normal(0, 0.2, x.shape).astype(np.float32)
    return x

  return flax.traverse_util.path_aware_map(stir, values)


def calibrated(module, name, values, resolution):
  return calibrate.calibrate(
    module,
    registry.get(name).conventions,
    values,
    (images(resolution, seed) for seed in range(BATCHES)),
    resolution=0,
  )


def ranges_of(values):
  flat = flax.traverse_util.flatten_dict(values["batch_stats"], sep="/")
  return {k: v for k, v in flat.items() if k.endswith("_range")}


@pytest.mark.parametrize(
  "name",
  [*FAMILIES, *(pytest.param(n, marks=pytest.mark.extended) for n in LARGE)],
)
def test_every_layer_of_every_family_is_rounded(name):
  width, resolution = (FAMILIES | LARGE)[name]
  module = built(name, width)
  # Shapes are enough to see where ranges are.
  values = variables.initial_values(module, resolution, 0)
  image = jax.ShapeDtypeStruct((2, resolution, resolution, 3), np.float32)
  _, observed = jax.eval_shape(
    lambda v, x: module.apply(v, x, False, mutable=[fake_quant.OBSERVED]),
    values,
    image,
  )
  ranges = flax.traverse_util.flatten_dict(observed["ranges"], sep="/")
  assert {x.shape for x in ranges.values()} == {(2,)}
  kernels = flax.traverse_util.flatten_dict(values["params"], sep="/")
  layers = {k.removesuffix("/kernel") for k in kernels if k.endswith("kernel")}
  assert layers == {
    k.removesuffix("/output_range")
    for k in ranges
    if k.endswith("output_range")
  }
  assert {"input_range", "head/input_range"} <= ranges.keys()


def test_without_ranges_the_program_is_the_same():
  """Also for variables that had some."""
  module = built("mobilenet_v3_small", 0.1)
  values = values_of(module, 32)
  quantised = calibrated(module, "mobilenet_v3_small", values, 32)
  plain = fake_quant.without_ranges(quantised)
  x = np.zeros((2, 32, 32, 3), np.float32)

  def program(values):
    return str(jax.make_jaxpr(lambda v: module.apply(v, x, False))(values))

  assert program(plain) == program(values)
  assert program(quantised) != program(values)
  jax.tree.map(np.testing.assert_array_equal, plain, values)


def test_ranges_are_those_of_the_network_in_float32():
  module = built("mobilenet_v1", 0.125)
  values = values_of(module, 32)
  quantised = calibrated(module, "mobilenet_v1", values, 32)
  seen = []
  for seed in range(BATCHES):
    x = images(32, seed).astype(np.float32) / 127.5 - 1
    logits, features = jax.jit(lambda x: module.apply(values, x, False))(x)
    seen.append((features["stem"].min(), features["stem"].max()))
    seen.append((logits.min(), logits.max()))
  ranges = ranges_of(quantised)
  for name, found in (
    ("backbone/stem/conv/output_range", seen[::2]),
    ("head/logits/output_range", seen[1::2]),
  ):
    low, high = zip(*found, strict=True)
    expected = [min(low), max(high)]
    np.testing.assert_allclose(ranges[name], expected, rtol=1e-4)


def test_its_kernels_are_those_of_the_folded_network_in_8_bits(monkeypatch):
  """V3-Small: with squeeze and excitation, and a head with a hidden layer."""
  name = "mobilenet_v3_small"
  module, plain = built(name, 0.1), built(name, 0.1, folded=True)
  quantised = calibrated(module, name, values_of(module, 32), 32)
  folded = folding.fold(quantised, epsilon=1e-3)
  assert not ranges_of(folded)
  stored = quantize.quantize(folded["params"])
  x = images(32, 9).astype(np.float32) / 127.5 - 1

  def logits(module, values):
    return np.asarray(jax.jit(lambda v: module.apply(v, x, False)[0])(values))

  exact = logits(plain, folded)
  rounded = logits(module, quantised)
  # Of the kernels' rounding alone.
  monkeypatch.setattr(ops, "activation", lambda x, limits: x)
  found = logits(module, quantised)
  expected = logits(plain, {**folded, "params": quantize.dequantize(stored)})
  size = np.abs(exact).max()
  np.testing.assert_allclose(found, expected, atol=1e-4 * size)
  assert np.abs(expected - exact).max() > 1e-3 * size
  assert np.abs(rounded - expected).max() > 1e-3 * size
  assert np.abs(rounded - exact).max() < 0.3 * size


@pytest.mark.parametrize(
  "name",
  [
    "mobilenet_v1",
    pytest.param("mobilenet_v3_small", marks=pytest.mark.extended),
  ],
)
def test_training_has_gradients_and_moves_ranges(name):
  module = built(name, FAMILIES[name][0], norm_frozen=lambda path: True)
  quantised = calibrated(module, name, values_of(module, 32), 32)
  x = images(32, 9).astype(np.float32) / 127.5 - 1

  @jax.jit
  def step(params):
    def loss(params):
      (logits, _), updated = module.apply(
        {**quantised, "params": params}, x, True, mutable=["batch_stats"]
      )
      return (logits**2).sum(), updated

    return jax.grad(loss, has_aux=True)(params)

  gradients, updated = step(quantised["params"])
  flat = flax.traverse_util.flatten_dict(gradients, sep="/")
  zero = [k for k, g in flat.items() if not np.abs(g).max() > 0]
  assert not zero
  before, after = ranges_of(quantised), ranges_of(updated)
  assert before.keys() == after.keys()
  moved = [k for k in before if (before[k] != after[k]).any()]
  # All but those that reach from 0 to 6 before and after.
  assert len(moved) > 0.8 * len(before)
  # Running statistics do not.
  jax.tree.map(
    np.testing.assert_array_equal,
    fake_quant.without_ranges(updated),
    fake_quant.without_ranges({"batch_stats": quantised["batch_stats"]}),
  )
