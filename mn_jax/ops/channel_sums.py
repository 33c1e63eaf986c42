"""Sums per channel, several in one pass over the arrays."""

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


def channel_sums(terms: Terms, *arrays: jax.Array) -> tuple[jax.Array, ...]:
  """Sums elementwise terms over all axes but the last, in float32.

  Args:
    terms: f32 arrays of one shape [..., channels] -> terms of that shape.
    *arrays: f[..., channels], all of one shape.

  Returns:
    f32[channels] for each of the terms.
  """
  by_platform = {
    platform: functools.partial(function, terms)
    for platform, function in FORMULATIONS.items()
  }
  return lax.platform_dependent(*arrays, **by_platform)


def reduced(terms: Terms, *arrays: jax.Array) -> tuple[jax.Array, ...]:
  """Sums terms per channel with XLA's reductions; arrays f[..., channels].

  Not flattened to rows: on TPUs images lie with the batch innermost, and rows
  of channels would have to be gathered from all over the memory.
  """
  axes = tuple(range(arrays[0].ndim - 1))
  arrays = tuple(x.astype(jnp.float32) for x in arrays)
  return tuple(jnp.sum(term, axis=axes) for term in terms(*arrays))


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
    return reduced(terms, *rows)
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


# The fastest formulation on each platform.
FORMULATIONS = {"cpu": scanned_by_shard, "default": reduced}


def _largest_divisor(number: int, limit: int) -> int:
  """Returns the largest divisor of `number` up to `limit`, at least 1."""
  limit = max(1, min(number, limit))
  return next(d for d in range(limit, 0, -1) if number % d == 0)
