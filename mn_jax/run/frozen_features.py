"""Features of all images by a frozen backbone, computed once and cached.

A head is trained on these features alone, so one pass over the data set
replaces one per epoch. The file's name is a digest of all that the features
depend on; runs that differ in anything else share it.
A file is written beside its final place and renamed when complete.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator

import filelock
import jax
import numpy as np

from mn_jax.augment import inputs
from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.models.classifier import Classifier
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.train import state as state_lib


def open_or_extract(
  module: Classifier,
  network: registry.Network,
  variables: dict,
  images: np.ndarray,
  *,
  images_sha256: str,
  resolution: int,
  batch_size: int,
  root: pathlib.Path,
  progress: Callable[[int, int], None],
) -> np.ndarray:
  """`Classifier.extract` of every image, from the file or computed.

  Every process computes with its own devices; of several on one machine one
  does, and the others read its file. A file that is not whole is made anew.
  Opening one needs no right to write.

  Args:
    module: the network.
    network: what it was made from.
    variables: its parameters and statistics.
    images: u8[n, h, w, 3].
    images_sha256: their digest.
    resolution: the network's input in pixels; 0: as stored.
    batch_size: images at once.
    root: folder of the files.
    progress: called with (images done, images in all).

  Returns:
    f32[n, c] or f32[n, h', w', c], memory-mapped.

  Raises:
    InputError: if the folder cannot be written.
  """
  devices = jax.local_devices()
  facts = {
    # Whatever the head is, it gets the same.
    "network": dataclasses.asdict(
      dataclasses.replace(network, head="", num_classes=0)
    ),
    "pool": module.head.spec.pool,
    "dtype": np.dtype(module.backbone.dtype).name,
    "backbone": state_lib.sha256(
      [tree.get("backbone") for _, tree in sorted(variables.items())]
    ),
    "images": images_sha256,
    "resolution": resolution,
    # Other batches and devices round differently.
    "batch_size": batch_size,
    "devices": [len(devices), devices[0].device_kind],
  }
  key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
  path = root / f"{network.name}-{key[:32]}.npy"
  try:
    return _open(path, len(images))
  except (OSError, ValueError):  # missing, or not what was written
    pass
  try:
    root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):
      try:
        return _open(path, len(images))  # another process came first
      except (OSError, ValueError):
        pass
      batches = _extract(
        module, network, variables, images, resolution, batch_size
      )
      _write(path, len(images), batches, progress)
      return _open(path, len(images))
  except OSError as error:
    raise InputError(
      f"data.cache_dir: cannot write {path} ({error}); valid: a folder with "
      "room for the features, or model.cache_features=False"
    ) from None


def _extract(
  module: Classifier,
  network: registry.Network,
  variables: dict,
  images: np.ndarray,
  resolution: int,
  batch_size: int,
) -> Iterator[np.ndarray]:
  """Yields the features of all images, batch by batch."""

  def apply(batch: dict[str, jax.Array]) -> jax.Array:
    x = inputs.to_input(
      batch["image"],
      resolution=resolution,
      mean=network.conventions.mean,
      std=network.conventions.std,
    )
    return module.apply(variables, x, method="extract")

  mesh = mesh_lib.make_mesh(jax.local_devices())
  apply = jax.jit(apply, out_shardings=mesh_lib.replicated(mesh))
  put = mesh_lib.HostImages(mesh).put
  for start in range(0, len(images), batch_size):
    # The last batch is filled up with its last image.
    rows = np.arange(start, start + batch_size).clip(max=len(images) - 1)
    values = np.asarray(apply(put({"image": images[rows]})))
    yield values[: len(images) - start]


def _write(
  path: pathlib.Path,
  count: int,
  batches: Iterator[np.ndarray],
  progress: Callable[[int, int], None],
) -> None:
  """Writes batches of f32[b, ...], `count` rows in all, as one .npy file."""
  done = 0
  # Not through a memory map, which ends the process when the disk is full.
  with atomic.writing(path, fsync=True) as file:
    for values in batches:
      if not done:
        header = {
          "descr": np.lib.format.dtype_to_descr(values.dtype),
          "fortran_order": False,
          "shape": (count, *values.shape[1:]),
        }
        np.lib.format.write_array_header_1_0(file, header)
      file.write(values.tobytes())
      done += len(values)
      progress(done, count)


def _open(path: pathlib.Path, count: int) -> np.ndarray:
  """Maps a file.

  Raises:
    OSError, ValueError: if it is missing or not what was written.
  """
  values = np.lib.format.open_memmap(path, mode="r")
  if values.dtype != np.float32 or len(values) != count:
    raise ValueError(f"{values.dtype} {values.shape}")
  return values
