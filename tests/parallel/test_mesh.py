"""Tests of the mesh and of how batches get onto it, on four devices."""

import types

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.parallel import mesh as mesh_lib

pytestmark = pytest.mark.devices(4)


def _batch(n: int) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {
    "image": rng.integers(0, 256, (n, 4, 4, 3), np.uint8),
    "id": rng.permutation(n).astype(np.int32),
    "mask": rng.random(n).astype(np.float32),
  }


def test_all_devices_along_one_axis():
  mesh = mesh_lib.make_mesh()
  assert mesh.axis_names == ("data",)
  assert mesh.devices.tolist() == jax.devices()
  assert mesh.size == 4
  assert mesh_lib.device_kind() == "4 x cpu"


def test_a_batch_is_spread_by_example():
  batch = _batch(8)
  put = mesh_lib.HostImages(mesh_lib.make_mesh()).put(batch)
  assert put.keys() == batch.keys()
  for key, value in put.items():
    assert value.dtype == batch[key].dtype
    np.testing.assert_array_equal(value, batch[key])
    shards = sorted(value.addressable_shards, key=lambda s: s.device.id)
    assert [s.index[0] for s in shards] == [
      slice(i, i + 2) for i in (0, 2, 4, 6)
    ]


def test_images_on_the_device_are_those_of_the_rows():
  mesh = mesh_lib.make_mesh()
  images = _batch(20)["image"]
  batch = _batch(8)
  del batch["image"]
  put = mesh_lib.DeviceImages(mesh, images).put(batch)
  sent = mesh_lib.HostImages(mesh).put({**batch, "image": images[batch["id"]]})
  assert put.keys() == sent.keys()
  for key, value in sent.items():
    np.testing.assert_array_equal(put[key], value)
    assert put[key].dtype == value.dtype
    assert put[key].sharding.is_equivalent_to(value.sharding, value.ndim)


@pytest.mark.parametrize("axis", [1, 2])
def test_stacked_batches_are_spread_by_example(axis):
  mesh = mesh_lib.make_mesh()
  images, batch = _batch(20)["image"], _batch(8)
  for _ in range(axis):
    other = {key: value[..., ::-1] for key, value in batch.items()}
    batch = mesh_lib.stack([batch, other, batch])
  batch["image"] = images[batch["id"]]
  sent = mesh_lib.HostImages(mesh).put(batch, axis=axis)
  rows = {key: value for key, value in batch.items() if key != "image"}
  gathered = mesh_lib.DeviceImages(mesh, images).put(rows, axis=axis)
  for put in (sent, gathered):
    assert put.keys() == batch.keys()
    for key, value in put.items():
      np.testing.assert_array_equal(value, batch[key])
      for shard in value.addressable_shards:
        assert shard.data.shape[: axis + 1] == (3,) * axis + (2,)


def test_images_that_leave_no_room_are_refused(monkeypatch):
  images = np.zeros((4, 10, 25), np.uint8)  # 1,000 bytes
  mesh = mesh_lib.make_mesh()
  device = types.SimpleNamespace()
  monkeypatch.setattr(mesh_lib.jax, "local_devices", lambda: [device])
  for stats in (None, {}, {"bytes_limit": 2000}):
    device.memory_stats = lambda stats=stats: stats
    mesh_lib.DeviceImages(mesh, images)
  for stats in (
    {"bytes_limit": 2000, "bytes_in_use": 1000},
    {"bytes_limit": 1500},
  ):
    device.memory_stats = lambda stats=stats: stats
    with pytest.raises(InputError, match=r"data\.placement: got 'device'"):
      mesh_lib.DeviceImages(mesh, images)


def test_replicated_values_are_whole_on_every_device():
  tree = {"a": np.arange(6.0, dtype=np.float32), "b": np.int32(3)}
  replicated = mesh_lib.replicate(mesh_lib.make_mesh(), tree)
  for key, value in replicated.items():
    assert value.is_fully_replicated
    assert len(value.addressable_shards) == 4
    for shard in value.addressable_shards:
      np.testing.assert_array_equal(shard.data, tree[key])


def test_batches_have_to_divide_among_the_devices():
  for batch_size, accumulate in ((4, 1), (32, 1), (8, 2), (24, 3)):
    mesh_lib.check_batch_size("train.batch_size", batch_size, accumulate)
  for batch_size, accumulate, valid in (
    (6, 1, r"4 \(4 devices x 1 micro-batches\)"),
    (12, 2, r"8 \(4 devices x 2 micro-batches\)"),
  ):
    message = (
      rf"eval\.batch_size: got {batch_size}; valid: a multiple of {valid}"
    )
    with pytest.raises(InputError, match=message):
      mesh_lib.check_batch_size("eval.batch_size", batch_size, accumulate)


def test_peak_of_all_devices(monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 2)
  for kind, peak in (("cpu", None), ("NVIDIA H200", 2 * 989e12)):
    device = types.SimpleNamespace(device_kind=kind)
    monkeypatch.setattr(jax, "devices", lambda device=device: [device] * 2)
    assert mesh_lib.peak_flops() == peak
