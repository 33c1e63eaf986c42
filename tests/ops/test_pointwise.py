"""Tests of the pointwise convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mn_jax.ops import pointwise


def _inputs(shape: tuple[int, ...], features: int, dtype=np.float32):
  rng = np.random.default_rng(0)
  x = rng.normal(size=shape).astype(np.float32)
  kernel = rng.normal(size=(shape[-1], features)).astype(np.float32)
  return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def test_mixes_the_channels_of_every_pixel():
  for shape in ((5,), (4, 5), (2, 3, 7, 5), (1, 1, 1, 5)):
    x, kernel = _inputs(shape, 3)
    expected = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    np.testing.assert_allclose(
      pointwise.pointwise_conv(x, kernel), expected, rtol=1e-5, atol=1e-5
    )


def test_equals_a_1x1_convolution_with_its_gradients():
  x, kernel = _inputs((2, 3, 5, 4), 6)
  weights = np.random.default_rng(1).normal(size=(2, 3, 5, 6))
  weights = jnp.asarray(weights, jnp.float32)

  def oracle(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel[None, None],
      (1, 1),
      "VALID",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  def gradients(conv):
    return jax.grad(lambda x, k: jnp.sum(conv(x, k) * weights), (0, 1))(
      x, kernel
    )

  for got, expected in zip(
    gradients(pointwise.pointwise_conv), gradients(oracle), strict=True
  ):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_keeps_the_dtype():
  x, kernel = _inputs((2, 2, 2, 4), 3, jnp.bfloat16)
  assert pointwise.pointwise_conv(x, kernel).dtype == jnp.bfloat16


# 512 features and more of them: the sizes at which x is transposed first.
@pytest.mark.parametrize("features", [512, 513])
@pytest.mark.parametrize("way", ["contracted", "transposed_first"])
def test_both_kernel_gradients_equal_float64(way, features):
  rng = np.random.default_rng(0)
  x, dy = rng.normal(size=(24, 7)), rng.normal(size=(24, features))
  got = jax.jit(getattr(pointwise, way))(
    jnp.asarray(x, jnp.float32), jnp.asarray(dy, jnp.float32)
  )
  np.testing.assert_allclose(got, x.T @ dy, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (4, 5)])
def test_every_platform_computes_the_same(shape):
  x, kernel = _inputs(shape, 3)
  dy = jnp.ones((*shape[:-1], 3))
  outs = [way(x, kernel) for way in pointwise.FORMULATIONS.values()]
  grads = [way(x, kernel, dy) for way in pointwise.GRADIENTS.values()]
  for found in (outs, grads):
    for other in found[1:]:
      for a, b in zip(
        jax.tree.leaves(found[0]), jax.tree.leaves(other), strict=True
      ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
