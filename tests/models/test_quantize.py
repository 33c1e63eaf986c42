"""Tests of kernels as 8-bit integers against NumPy."""

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.models import folding, quantize, variables
from tests.models import networks


def _oracle(kernel):
  """i8 values and f32 scales, channel by channel."""
  values, scales = np.zeros(kernel.shape, np.int8), []
  for c in range(kernel.shape[-1]):
    scale = np.float32(np.abs(kernel[..., c]).max() / np.float32(127))
    scales.append(scale)
    for index in np.ndindex(kernel.shape[:-1]):
      values[(*index, c)] = round(float(kernel[(*index, c)]) / float(scale))
  return values, np.array(scales)


def _kernel(kernel):
  return quantize.quantize({"layer": {"kernel": kernel}})["layer"]["kernel"]


def _restored(kernel):
  found = jax.jit(quantize.dequantize)({"kernel": _kernel(kernel)})
  return np.asarray(found["kernel"])


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (5, 5, 1, 7), (9, 4)])
def test_values_and_scales_are_those_of_each_channel(shape):
  draw = np.random.default_rng(0)
  # Channels of sizes that one scale for all would not do justice to.
  sizes = 10.0 ** draw.uniform(-4, 2, shape[-1])
  kernel = (draw.normal(size=shape) * sizes).astype(np.float32)
  found = _kernel(kernel)
  values, scales = _oracle(kernel)
  assert (found.values.dtype, found.scale.dtype) == (np.int8, np.float32)
  np.testing.assert_array_equal(found.values, values)
  assert found.scale.shape == (1,) * (len(shape) - 1) + shape[-1:]
  np.testing.assert_array_equal(found.scale.ravel(), scales)
  # A weight moves by half a step at most, but for the product's own rounding.
  error = np.abs(_restored(kernel) - kernel)
  assert (error <= scales * (0.5 + 127 * 2**-23)).all()
  assert error.max() > 0


def test_a_channels_largest_weight_is_kept():
  kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6))
  kernel = kernel.astype(np.float32)
  kernel[0, 0, 0] = [9, -9, 9, -9, 9, -9]
  np.testing.assert_allclose(_restored(kernel)[0, 0, 0], kernel[0, 0, 0])
  found = _kernel(kernel).values
  np.testing.assert_array_equal(found[0, 0, 0], [127, -127] * 3)
  np.testing.assert_array_equal(_kernel(-kernel).values, -found)


def test_channels_of_nothing_and_those_that_are_not_finite_stay_so():
  kernel = np.ones((4, 6), np.float32)
  kernel[:, 0], kernel[:, 1] = 0, 1e-45
  kernel[2, 2:5] = np.nan, np.inf, -np.inf
  found = _restored(kernel)
  np.testing.assert_array_equal(found[:, :2], 0)
  assert not np.isfinite(found[:, 2:5]).any()
  np.testing.assert_array_equal(found[:, 5], 1)


@pytest.mark.parametrize(
  "name",
  [
    "mobilenet_v1",
    pytest.param("mobilenet_v3_small", marks=pytest.mark.extended),
  ],
)
def test_logits_stay_close(name):
  """Within 5 % of the largest: those of random networks move by 1 to 2 %."""
  fields = {"classes": 5, "width": 0.25, "shallow": name == "mobilenet_v1"}
  values = variables.initial_values(networks.build(name, **fields), 32, 0)
  params = folding.fold(values, epsilon=1e-3)["params"]
  small = quantize.quantize(params)
  kernels = flax.traverse_util.flatten_dict(params)
  kernels = [x for path, x in kernels.items() if path[-1] == "kernel"]
  stored = [x for x in jax.tree.leaves(small) if x.dtype == np.int8]
  assert sum(x.nbytes for x in stored) == sum(x.nbytes for x in kernels) / 4
  x = networks.images(4, 32, 32, 3)
  module = networks.build(name, folded=True, **fields)
  apply = jax.jit(
    lambda p, x: module.apply({"params": quantize.dequantize(p)}, x, False)[0]
  )
  expected, found = apply(params, x), apply(small, x)
  gap = np.abs(found - expected).max() / np.abs(expected).max()
  assert 0 < gap < 0.05
