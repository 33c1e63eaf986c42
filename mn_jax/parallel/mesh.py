"""The mesh, and how arrays get onto it; the only file that knows devices."""

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

# Of a device's free memory; the rest is for the training step.
_IMAGES_SHARE = 0.6


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """Devices along one axis, 'data'; by default all of all processes."""
  devices = jax.devices() if devices is None else devices
  # Not `jax.make_mesh`, which orders a TPU slice as a ring: a process has a
  # contiguous share of every batch, and the place of an image in it must not
  # depend on the machine.
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
    field: of the config.
    batch_size: images over all devices.
    accumulate: micro-batches that it is divided into.
    num_devices: that share it; None: all of this run.

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
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh, P())


def by_example(mesh: Mesh, *, axis: int = 0) -> NamedSharding:
  """The sharding of batches: the axis of examples over the devices."""
  return NamedSharding(mesh, P(*[None] * axis, "data"))


def stack(batches: Sequence[Batch]) -> Batch:
  """Batches as one, along a leading axis."""
  keys = batches[0].keys()
  return {key: np.stack([batch[key] for batch in batches]) for key in keys}


def replicate(mesh: Mesh, tree: Any) -> Any:
  """Puts host values, equal on all processes, onto every device."""
  return jax.device_put(tree, replicated(mesh))


def num_devices() -> int:
  """The devices of this run, those of all processes."""
  return jax.device_count()


def device_kind() -> str:
  """The devices of this run, in words."""
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def is_cpu() -> bool:
  """Whether the devices of this run are CPUs."""
  return jax.devices()[0].platform == "cpu"


def peak_flops() -> float | None:
  """bfloat16 peak of all devices in FLOP/s, or None where it is not known."""
  found = accelerators.of_device_kind(jax.devices()[0].device_kind)
  if found is None:
    return None
  return found.flops_per_sec.value * jax.device_count()


def _free_bytes(device: jax.Device) -> float:
  """Free memory of a device; infinite where it does not tell, as CPUs."""
  stats = device.memory_stats()
  if not stats or "bytes_limit" not in stats:
    return math.inf
  return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


class HostImages:
  """Sends every batch, pixels included, from the host."""

  def __init__(self, mesh: Mesh):
    self._mesh = mesh

  def put(self, batch: Batch, *, axis: int = 0) -> dict[str, jax.Array]:
    """This process's share of a batch -> the global batch on the mesh.

    Args:
      batch: one, or several stacked.
      axis: that of its examples.
    """
    sharding = by_example(self._mesh, axis=axis)
    return {
      key: jax.make_array_from_process_local_data(sharding, value)
      for key, value in batch.items()
    }


class DeviceImages:
  """Keeps all pixels on every device; batches then carry row numbers."""

  def __init__(self, mesh: Mesh, images: np.ndarray):
    """Sends the images.

    Args:
      mesh: the devices.
      images: u8[n, h, w, 3] or extracted features.

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
    """As `HostImages.put`, for a batch without 'image'."""
    sent = self._host.put(batch, axis=axis)
    return {**sent, "image": self._gather[axis](self._images, sent["id"])}
