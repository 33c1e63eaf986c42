"""Functions of a batch that is sharded over several devices.

XLA divides most operations among devices by itself. A loop over the batch it
does not: every device would fetch the whole batch and do all of the work. Here
functions with such loops run on each device's shard of the batch. The devices
are those of the mesh that is set while a function is traced
(`jax.sharding.use_abstract_mesh`), with the batch along all of its axes.
Without a mesh, or with a single device, a function is simply called.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P


def num_shards(x: jax.Array) -> int:
  """Counts the devices that the first axis of `x` is divided among.

  1 where it cannot be divided, and within the functions below.
  """
  mesh = jax.sharding.get_abstract_mesh()
  # Within one of the functions below, a shard is all there is.
  single = mesh.empty or AxisType.Manual in mesh.axis_types
  return 1 if single or x.shape[0] % mesh.size else mesh.size


def sum_shards(function: Callable, *arrays: jax.Array) -> Any:
  """Sums over a batch: the sums of the shards, added up.

  Args:
    function: arrays -> tree of sums over their first axis.
    *arrays: f[batch, ...].

  Returns:
    The result of `function` for the whole batch, on every device.
  """
  if num_shards(arrays[0]) == 1:
    return function(*arrays)
  axes = jax.sharding.get_abstract_mesh().axis_names

  def part(*arrays):
    return lax.psum(function(*arrays), axes)

  return jax.shard_map(part, in_specs=P(axes), out_specs=P(), check_vma=False)(
    *arrays
  )


def map_shards(
  function: Callable, batch: jax.Array, *replicated: jax.Array
) -> Any:
  """Applies a function to every shard of a batch, each on its device.

  Args:
    function: (batch, *replicated) -> tree of arrays with the batch, or a
      divisor of it, as first axis.
    batch: f[batch, ...].
    *replicated: arrays that every device has a copy of.

  Returns:
    The results, joined along their first axes.
  """
  if num_shards(batch) == 1:
    return function(batch, *replicated)
  axes = jax.sharding.get_abstract_mesh().axis_names
  return jax.shard_map(
    function,
    in_specs=(P(axes), *(P() for _ in replicated)),
    out_specs=P(axes),
    check_vma=False,
  )(batch, *replicated)


def map_and_sum_shards(
  function: Callable, batch: tuple[jax.Array, ...], *replicated: Any
) -> tuple[Any, Any]:
  """Applies a function to every shard of a batch, and adds up its sums.

  Args:
    function: (batch, *replicated) -> a tree of arrays with the batch as first
      axis, and a tree of sums over the batch.
    batch: arrays f[batch, ...].
    *replicated: trees of arrays that every device has a copy of.

  Returns:
    The first results, joined along their first axes, and the sums of the whole
    batch, on every device.
  """
  if num_shards(batch[0]) == 1:
    return function(batch, *replicated)
  axes = jax.sharding.get_abstract_mesh().axis_names

  def part(batch, *replicated):
    mapped, sums = function(batch, *replicated)
    return mapped, lax.psum(sums, axes)

  return jax.shard_map(
    part,
    in_specs=(P(axes), *(P() for _ in replicated)),
    out_specs=(P(axes), P()),
    check_vma=False,
  )(batch, *replicated)
