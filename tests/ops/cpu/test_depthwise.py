"""Tests of the CPU's depthwise convolution against plain loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.ops import padding
from mn_jax.ops.cpu import depthwise
from tests.ops import depthwise_cases as cases


@pytest.mark.parametrize("name", cases.CASES)
def test_values_and_gradients(name):
  cases.check(depthwise.shifted, name)


@pytest.mark.parametrize("name", ["3x3", "3x3-stride2-even"])
def test_bfloat16_sums_the_kernel_gradient_in_float32(name):
  """2,000 terms: a bfloat16 sum stalls far below, a float32 one rounds once."""
  _, window, stride, _ = cases.case(name)
  size = (32, 32)
  pad = padding.resolve("same", size, window, stride)
  arrays = [
    # Positive, so that nothing cancels; exact in bfloat16.
    np.asarray(jnp.asarray(np.abs(a), jnp.bfloat16), np.float64)
    for a in cases.inputs(size, window, stride, pad, batch=8)
  ]
  y, dx, dkernel = jax.jit(
    lambda *arrays: cases.compute(
      depthwise.shifted, *arrays, stride, pad, dtype=jnp.bfloat16
    )
  )(*(jnp.asarray(a, jnp.bfloat16) for a in arrays))
  assert y.dtype == dx.dtype == dkernel.dtype == jnp.bfloat16
  expected_y, expected_dx, expected = cases.reference(*arrays, stride, pad)
  # Nine positive terms, each rounded to 8 bits.
  np.testing.assert_allclose(np.asarray(y, np.float64), expected_y, rtol=0.02)
  np.testing.assert_allclose(np.asarray(dx, np.float64), expected_dx, rtol=0.02)
  # 2^-8 is half a unit in the last of bfloat16's 8 bits.
  np.testing.assert_allclose(
    np.asarray(dkernel, np.float64), expected, rtol=2**-8
  )
