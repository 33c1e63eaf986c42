"""Features of all images by a frozen backbone, computed once and cached.

A head is trained on these features alone, so one pass over the data set
replaces one per epoch. The file's name is a digest of all that the features
depend on; runs that differ in anything else share it.
A file is written beside its final place and renamed when complete. It is a .npy
file with the checksums of its blocks behind the numbers, and theirs at the end.
"""

import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterator

import filelock
import jax
import numpy as np

from mn_jax.augment import inputs
from mn_jax.data import atomic, cache, checksums
from mn_jax.errors import RunError
from mn_jax.models import registry
from mn_jax.models.classifier import Classifier
from mn_jax.ops import sharding
from mn_jax.parallel import image_groups
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
) -> tuple[np.ndarray, str]:
  """`Classifier.extract` of every image, from the file or computed.

  Every process computes with its own devices; of several on one machine one
  does, and the others read its file. A file that is damaged is made anew; what
  is compared is as `checksums.compare` says. Opening one needs no right to
  write.

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
    f32[n, c] or f32[n, h', w', c], memory-mapped, and what was wrong with a
    file that is made anew, or ''.

  Raises:
    InputError: if the folder may not be written.
    RunError: if the system fails to read or write.
  """
  key = _key(module, network, variables, images_sha256, resolution, batch_size)
  path = root / f"{network.name}-{key[:32]}.npy"

  def look() -> tuple[np.ndarray | None, str]:
    try:
      return _open(path, len(images)), ""
    except FileNotFoundError:
      return None, ""
    except checksums.ChecksumError as error:
      return None, f"{path} was damaged ({error}) and is made anew"

  try:
    features, note = look()
    if features is None:
      root.mkdir(parents=True, exist_ok=True)
      with filelock.FileLock(path.with_suffix(".lock")):
        features, _ = look()  # another process may have come first
        if features is None:
          batches = _extract(
            module, network, variables, images, resolution, batch_size
          )
          _write(path, len(images), batches, progress)
          features = _open(path, len(images))
  except OSError as error:
    problem = cache.failure("write", path, error)
    raise type(problem)(f"{problem}, or model.cache_features=False") from None
  except checksums.ChecksumError as error:  # as soon as it was written
    raise RunError(
      f"data.cache_dir: {path} does not keep what is written ({error})"
    ) from None
  return features, note


def _key(
  module: Classifier,
  network: registry.Network,
  variables: dict,
  images_sha256: str,
  resolution: int,
  batch_size: int,
) -> str:
  """Returns the hex SHA-256 of all that the features depend on."""
  devices = jax.local_devices()
  facts = {
    "format": 3,
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
  return checksums.of_json(facts)


def _extract(
  module: Classifier,
  network: registry.Network,
  variables: dict,
  images: np.ndarray,
  resolution: int,
  batch_size: int,
) -> Iterator[np.ndarray]:
  """Yields the features of all images, batch by batch."""

  def of_shard(x: jax.Array) -> jax.Array:
    return image_groups.apply(
      lambda x: module.apply(variables, x, method="extract"), x
    )

  def apply(batch: dict[str, jax.Array]) -> jax.Array:
    x = inputs.to_input(
      batch["image"],
      resolution=resolution,
      mean=network.conventions.mean,
      std=network.conventions.std,
    )
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return sharding.map_shards(of_shard, x)

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
  """Writes batches of f32[b, ...], `count` rows in all, and checksums."""
  done, unsummed, digests = 0, b"", []
  # Not through a memory map, which ends the process when the disk is full.
  with atomic.writing(path, fsync=True) as file:
    for values in batches:
      data = values.tobytes()
      if not done:
        data = _header((count, *values.shape[1:])) + data
      file.write(data)
      unsummed += data
      whole = len(unsummed) // checksums.BLOCK_BYTES * checksums.BLOCK_BYTES
      digests += checksums.digests(unsummed[:whole])
      unsummed = unsummed[whole:]
      done += len(values)
      progress(done, count)
    table = b"".join(digests + checksums.digests(unsummed))
    file.write(table + checksums.digest(table))


def _header(shape: tuple[int, ...]) -> bytes:
  """Returns the header of a .npy file of f32."""
  header = io.BytesIO()
  descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
  np.lib.format.write_array_header_1_0(
    header, {"descr": descr, "fortran_order": False, "shape": shape}
  )
  return header.getvalue()


def _open(path: pathlib.Path, count: int) -> np.ndarray:
  """Maps a file.

  Raises:
    FileNotFoundError: if it is missing.
    OSError: if it cannot be read.
    ChecksumError: if it is not what was written.
  """
  size, width = path.stat().st_size, checksums.DIGEST_BYTES
  rest = max(0, size - width)
  blocks = -(-rest // (checksums.BLOCK_BYTES + width))
  length = rest - width * blocks
  with path.open("rb") as file:
    file.seek(max(0, length))
    table, checksum = file.read(width * blocks), file.read()
  if length <= 0 or checksums.digest(table) != checksum:
    raise checksums.ChecksumError(
      f"{path.name} does not end with its checksums"
    )
  expected = [table[i : i + width] for i in range(0, len(table), width)]
  checksums.compare(path, [length], expected, verify=False)
  values = np.lib.format.open_memmap(path, mode="r")
  if len(values) != count or values.offset + values.nbytes != length:
    raise checksums.ChecksumError(f"{path.name} has another shape")
  return values
