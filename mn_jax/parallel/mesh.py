"""The mesh of devices, shardings, and how batches get onto the devices."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mn_jax.errors import InputError
from mn_jax.parallel import accelerators

Batch = dict[str, np.ndarray]

# Share of a device's free memory; the rest is for the training step.
_IMAGES_SHARE = 0.6


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """Makes a mesh with one axis, 'data', by default of all devices."""
  devices = jax.devices() if devices is None else devices
  # Not `jax.make_mesh`, which orders a TPU slice as a ring: each process has a
  # contiguous share of every batch, and an image's position in the batch must
  # not depend on the machine.
  ordered = sorted(devices, key=lambda d: (d.process_index, d.id))
  return Mesh(np.array(ordered), ("data",), axis_types=(AxisType.Auto,))


def check_batch_size(
  field: str,
  batch_size: int,
  accumulate: int = 1,
  *,
  num_devices: int | None = None,
) -> None:
  """Refuses a batch that does not divide among the devices.

  Args:
    field: field of the config, or flag, for the error.
    batch_size: images on all devices together.
    accumulate: micro-batches that the batch is divided into.
    num_devices: devices that share the batch; None: all of this run.

  Raises:
    InputError: naming the field.
  """
  count = num_devices or jax.device_count()
  multiple = count * accumulate
  if batch_size % multiple:
    raise InputError(
      f"{field}: got {batch_size}; valid: a multiple of {multiple} "
      f"({count} devices x {accumulate} micro-batches)"
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of arrays that every device holds whole."""
  return NamedSharding(mesh, P())


def by_example(mesh: Mesh, *, axis: int = 0) -> NamedSharding:
  """Returns the sharding of batches, whose examples are divided among devices.

  Args:
    mesh: the devices.
    axis: axis of the examples.
  """
  return NamedSharding(mesh, P(*[None] * axis, "data"))


def stack(batches: Sequence[Batch]) -> Batch:
  """Stacks batches along a new leading axis."""
  keys = batches[0].keys()
  return {key: np.stack([batch[key] for batch in batches]) for key in keys}


def replicate(mesh: Mesh, tree: Any) -> Any:
  """Puts values of the host, equal in all processes, onto every device."""
  return jax.device_put(tree, replicated(mesh))


def num_devices() -> int:
  """Returns the number of devices of all processes."""
  return jax.device_count()


def device_kind() -> str:
  """Returns the number and kind of the devices, as '4 x cpu'."""
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def is_cpu() -> bool:
  """Whether the devices of this run are CPUs."""
  return jax.devices()[0].platform == "cpu"


def peak_flops() -> float | None:
  """Returns the bfloat16 peak of all devices in FLOP/s; None if unknown."""
  chip = accelerators.of_device_kind(jax.devices()[0].device_kind)
  if chip is None:
    return None
  return chip.flops_per_sec.value * jax.device_count()


def _free_bytes(device: jax.Device) -> float:
  """Returns the free memory of a device; infinite if unknown, as for CPUs."""
  stats = device.memory_stats()
  if not stats or "bytes_limit" not in stats:
    return math.inf
  return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


class HostImages:
  """Sends every batch from the host, with its pixels."""

  def __init__(self, mesh: Mesh):
    self._mesh = mesh

  def put(self, batch: Batch, *, axis: int = 0) -> dict[str, jax.Array]:
    """Puts this process's share of a batch onto the mesh.

    Args:
      batch: one batch, or several stacked.
      axis: axis of the examples.

    Returns:
      The batch of all processes.
    """
    sharding = by_example(self._mesh, axis=axis)
    return {
      key: jax.make_array_from_process_local_data(sharding, value)
      for key, value in batch.items()
    }


class DeviceImages:
  """Keeps the pixels of all images on every device; batches hold their rows."""

  def __init__(self, mesh: Mesh, images: np.ndarray):
    """Sends all images to every device.

    Args:
      mesh: the devices.
      images: u8[n, h, w, 3], or features f[n, ...].

    Raises:
      InputError: if they leave too little of a device's memory to train in.
    """
    free = min(map(_free_bytes, jax.local_devices()))
    if images.nbytes > _IMAGES_SHARE * free:
      raise InputError(
        f"data.placement: got 'device' for {images.nbytes / 2**30:.1f} GiB of "
        f"images with {free / 2**30:.1f} GiB free on a device, of which they "
        f"may take {_IMAGES_SHARE:.0%}; valid: 'host'"
      )
    self._host = HostImages(mesh)
    self._images = replicate(mesh, np.asarray(images))
    self._gather = [
      jax.jit(
        lambda images, rows: jnp.take(images, rows, axis=0),
        out_shardings=by_example(mesh, axis=axis),
      )
      for axis in range(3)
    ]

  def put(self, batch: Batch, *, axis: int = 0) -> dict[str, jax.Array]:
    """Puts this process's share of a batch onto the mesh, and gathers images.

    Args:
      batch: one batch without 'image', or several stacked; 'id' has the rows of
        the images.
      axis: axis of the examples.

    Returns:
      The batch of all processes, with 'image'.
    """
    put = self._host.put(batch, axis=axis)
    return {**put, "image": self._gather[axis](self._images, put["id"])}
