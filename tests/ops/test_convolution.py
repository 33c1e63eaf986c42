"""Tests of the full convolution's gradients against XLA's in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mn_jax.ops import convolution, padding

# Image size, window, stride, padding rule, channels, features.
_CASES = {
  "stem": ((9, 8), (3, 3), 2, "same", 3, 8),
  "stem-odd": ((7, 9), (3, 3), 2, "symmetric", 3, 8),
  "stem-oblong": ((7, 9), (2, 3), 1, "same", 1, 4),
  "stem-7x7": ((16, 16), (7, 7), 2, "symmetric", 3, 8),
  "3x3": ((6, 7), (3, 3), 1, "same", 8, 5),
  "3x3-stride2": ((7, 6), (3, 3), 2, "same", 8, 5),
  "1x7": ((8, 8), (1, 7), 1, "same", 6, 4),
  "5x5-valid": ((8, 9), (5, 5), 2, "valid", 6, 4),
}


def _gradients(conv, x, kernel, dy):
  out, pull = jax.vjp(conv, x, kernel)
  return out, *pull(dy)


@pytest.mark.parametrize("case", _CASES)
def test_output_and_gradients(case):
  size, window, stride, rule, channels, features = _CASES[case]
  pads = padding.resolve(rule, size, window, stride)
  out = padding.out_size(size, window, stride, pads)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *size, channels))
  kernel = rng.normal(size=(*window, channels, features))
  dy = rng.normal(size=(2, *out, features))

  def oracle(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      pads,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  with jax.enable_x64(True):
    expected = jax.jit(functools.partial(_gradients, oracle))(x, kernel, dy)

  def compute(x, kernel, dy):
    conv = functools.partial(convolution.conv, stride=stride, padding=pads)
    gradients = [
      way(stride, pads, kernel.shape, x, dy)
      for way in (convolution.multiplied, convolution.convolved)
    ]
    return *_gradients(conv, x, kernel, dy), *gradients

  got = jax.jit(compute)(
    *(jnp.asarray(v, jnp.float32) for v in (x, kernel, dy))
  )
  # The kernel's gradient in each of two ways, too.
  expected = (*expected, *expected[2:], *expected[2:])
  for one, other in zip(got, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_keeps_the_dtype():
  x = jnp.ones((1, 8, 8, 8), jnp.bfloat16)
  kernel = jnp.ones((3, 3, 8, 4), jnp.bfloat16)
  conv = functools.partial(convolution.conv, stride=1, padding=((1, 1), (1, 1)))
  got = jax.eval_shape(
    functools.partial(_gradients, conv),
    x,
    kernel,
    jnp.ones((1, 8, 8, 4), jnp.bfloat16),
  )
  assert all(value.dtype == jnp.bfloat16 for value in got)
