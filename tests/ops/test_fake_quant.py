"""Tests of fake quantisation against 8-bit integers in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import quantize
from mn_jax.ops import fake_quant


def by_integers(x, low, high):
  """Quantised to uint8 and back, in float64, as ONNX's QuantizeLinear."""
  low, high = min(low, 0.0), max(high, 0.0)
  scale = (high - low) / 255
  zero = np.rint(-low / scale)
  integers = np.clip(np.rint(np.float64(x) / scale) + zero, 0, 255)
  return (integers - zero) * scale


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (5, 5, 1, 7), (9, 4)])
def test_kernels_are_those_of_8_bit_integers(shape):
  rng = np.random.default_rng(0)
  sizes = 10.0 ** rng.uniform(-4, 2, shape[-1])
  kernel = (rng.normal(size=shape) * sizes).astype(np.float32)
  kernel[..., 0] = 0  # has no scale
  stored = quantize.quantize({"kernel": kernel})
  expected = np.asarray(quantize.dequantize(stored)["kernel"])
  rounded = np.asarray(fake_quant.kernel(kernel))
  # The same integers, whose products with the scale are equal bits.
  np.testing.assert_array_equal(rounded, expected)
  again = np.asarray(fake_quant.kernel(rounded))
  np.testing.assert_allclose(again, rounded, rtol=1e-6)


@pytest.mark.parametrize(
  "limits", [(-1.0, 3.0), (0.0, 6.0), (0.5, 2.0), (-3.0, -0.5), (-0.3, 11.7)]
)
def test_activations_are_those_of_8_bit_integers(limits):
  x = np.random.default_rng(1).uniform(-4, 13, (2, 5, 5, 3)).astype(np.float32)
  x[0, 0, 0] = 0
  rounded = np.asarray(fake_quant.activation(x, np.float32(limits)))
  np.testing.assert_allclose(rounded, by_integers(x, *limits), atol=1e-5)
  np.testing.assert_array_equal(rounded[0, 0, 0], 0)
  assert len(np.unique(rounded)) <= 256


def test_an_activation_without_range_stays_finite():
  x = jnp.zeros((2, 3))
  rounded = fake_quant.activation(x, jnp.zeros(2))
  np.testing.assert_array_equal(np.asarray(rounded), 0)


def test_gradients_are_straight_through():
  x = jnp.array([-2.0, -0.9, 0.0, 0.2, 2.9, 3.4])
  weights = jnp.arange(1.0, 7.0)

  def loss(x, limits):
    return jnp.sum(weights * fake_quant.activation(x, limits))

  dx, dlimits = jax.grad(loss, argnums=(0, 1))(x, jnp.array([-1.0, 3.0]))
  # Clipped ones have none.
  np.testing.assert_array_equal(np.asarray(dx), [0, 2, 3, 4, 5, 0])
  np.testing.assert_array_equal(np.asarray(dlimits), 0)

  kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 4))
  factors = jax.random.normal(jax.random.key(1), kernel.shape)
  gradient = jax.grad(lambda k: jnp.sum(factors * fake_quant.kernel(k)))(kernel)
  np.testing.assert_array_equal(np.asarray(gradient), np.asarray(factors))
