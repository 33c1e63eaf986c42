"""Tests of the CPU's scan for sums over all axes but the last."""

import functools

import jax
import jax.numpy as jnp

from mn_jax.ops.cpu import channel_sums


def _terms(x, y):
  return x * y, jnp.where(x > 0, y, 0), x - y


def test_the_scan_is_taken_where_there_are_blocks():
  rows = jnp.ones((1024, 64))
  jaxpr = jax.make_jaxpr(functools.partial(channel_sums.scanned, _terms))
  assert "scan" in str(jaxpr(rows, rows))
  assert "scan" not in str(jaxpr(rows[:1023], rows[:1023]))
