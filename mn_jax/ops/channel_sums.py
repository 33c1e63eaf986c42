"""Sums per channel, several in one pass over the arrays."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops.cpu.channel_sums import Terms, scanned_by_shard


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


# The fastest formulation on each platform.
FORMULATIONS = {"cpu": scanned_by_shard, "default": reduced}
