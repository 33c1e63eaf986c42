"""Sums per channel on CPUs, in one scan over the arrays."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops import sharding

Terms = Callable[..., Sequence[jax.Array]]

# Floats of one accumulator of the scan, so that several stay in a core's cache
# beside what is added, and blocks added to it at once.
_BLOCK = 16384
_BLOCKS_AT_ONCE = 2
# Blocks smaller than this are not worth a scan.
_SMALL_BLOCK = 1024


def scanned(terms: Terms, *arrays: jax.Array) -> tuple[jax.Array, ...]:
  """Sums terms per channel in a scan over blocks; arrays f[..., channels].

  XLA's CPU backend has a fast reduction for sums of products alone, one at a
  time: other terms are first written to memory, and every sum reads all of it.
  Here each array is read once.
  """
  channels = arrays[0].shape[-1]
  rows = [x.reshape(-1, channels) for x in arrays]
  count = len(rows[0])
  block = _largest_divisor(count // _BLOCKS_AT_ONCE, _BLOCK // channels)
  if count % _BLOCKS_AT_ONCE or block * channels < _SMALL_BLOCK:
    everything = terms(*(x.astype(jnp.float32) for x in rows))
    return tuple(jnp.sum(term, axis=0) for term in everything)
  blocks = [x.reshape(-1, _BLOCKS_AT_ONCE, block, channels) for x in rows]

  def add(sums, parts):
    for k in range(_BLOCKS_AT_ONCE):
      new = terms(*(part[k].astype(jnp.float32) for part in parts))
      sums = tuple(map(jnp.add, sums, new))
    return sums, None

  shape = jax.ShapeDtypeStruct((block, channels), jnp.float32)
  number = len(jax.eval_shape(terms, *(shape for _ in rows)))
  zeros = (jnp.zeros(shape.shape, shape.dtype),) * number
  sums, _ = lax.scan(add, zeros, blocks)
  return tuple(jnp.sum(total, axis=0) for total in sums)


def scanned_by_shard(terms: Terms, *arrays: jax.Array) -> tuple[jax.Array, ...]:
  """Sums terms per channel with a scan on each device's shard of the batch."""
  return sharding.sum_shards(functools.partial(scanned, terms), *arrays)


def _largest_divisor(number: int, limit: int) -> int:
  """Returns the largest divisor of `number` up to `limit`, at least 1."""
  limit = max(1, min(number, limit))
  return next(d for d in range(limit, 0, -1) if number % d == 0)
