"""Operations on a batch that lies on several devices, a part on each.

XLA divides most operations among devices by itself. A loop over the batch it
does not: every device would fetch the whole batch and do all of the work. What
has such loops is run here on each device's part alone. The devices are those of
the mesh that is set while a function is traced (`jax.sharding.
use_abstract_mesh`), with the batch along all of its axes; without one, or with
a single device, all of this is the plain call.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P


def count(x: jax.Array) -> int:
  """Devices among which the first axis of `x` can be divided; 1 if not."""
  mesh = jax.sharding.get_abstract_mesh()
  # Within one of the functions below, a device's part is all there is.
  whole = mesh.empty or AxisType.Manual in mesh.axis_types
  return 1 if whole or x.shape[0] % mesh.size else mesh.size


def summed(function: Callable, *arrays: jax.Array) -> Any:
  """Sums over a batch: those of each device's part, added up.

  Args:
    function: arrays -> tree of sums over their first axis.
    *arrays: f[batch, ...].

  Returns:
    What `function` returns, of the whole batch, on every device.
  """
  if count(arrays[0]) == 1:
    return function(*arrays)
  axes = jax.sharding.get_abstract_mesh().axis_names

  def part(*arrays):
    return lax.psum(function(*arrays), axes)

  return jax.shard_map(part, in_specs=P(axes), out_specs=P(), check_vma=False)(
    *arrays
  )


def apart(function: Callable, batch: jax.Array, *whole: jax.Array) -> Any:
  """A function that treats parts of a batch apart, on each device for itself.

  Args:
    function: (batch, *whole) -> tree of arrays with the batch as first axis,
      or a divisor of it.
    batch: f[batch, ...].
    *whole: what every device has a copy of.
  """
  if count(batch) == 1:
    return function(batch, *whole)
  axes = jax.sharding.get_abstract_mesh().axis_names
  return jax.shard_map(
    function,
    in_specs=(P(axes), *(P() for _ in whole)),
    out_specs=P(axes),
    check_vma=False,
  )(batch, *whole)
