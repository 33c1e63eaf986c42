"""Tests of sums over all axes but the last."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.ops import channel_sums
from mn_jax.ops.cpu import channel_sums as cpu_channel_sums


def _terms(x, y):
  return x * y, jnp.where(x > 0, y, 0), x - y


def _expected(x, y):
  x, y = (np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (x, y))
  return [t.sum(0) for t in (x * y, np.where(x > 0, y, 0), x - y)]


# The last two have no blocks: an odd number of rows, and too few of them.
@pytest.mark.parametrize(
  "shape", [(4, 16, 16, 24), (2, 3, 5, 7, 128), (2, 600), (3, 7, 7, 16), (2, 5)]
)
@pytest.mark.parametrize(
  "way",
  [channel_sums.channel_sums, channel_sums.reduced, cpu_channel_sums.scanned],
)
def test_sums_equal_those_in_float64(way, shape):
  rng = np.random.default_rng(0)
  x, y = (rng.normal(1, 1, shape).astype(np.float32) for _ in range(2))
  got = jax.jit(functools.partial(way, _terms))(x, y)
  for one, expected in zip(got, _expected(x, y), strict=True):
    np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-2)


def test_bfloat16_is_summed_in_float32():
  x = jnp.full((4096, 32), 1.0078125, jnp.bfloat16)
  (total,) = channel_sums.channel_sums(lambda x: (x,), x)
  assert total.dtype == jnp.float32
  np.testing.assert_allclose(total, 4096 * 1.0078125, rtol=1e-6)
