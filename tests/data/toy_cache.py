"""A small packed cache and the files it is made from, for tests."""

import io
import pathlib
import threading
import zlib

import numpy as np
from PIL import Image

from mn_jax.data import cache
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import ImageFiles
from mn_jax.data.packing import PackOptions, Progress

SIZE = 8
CHUNK = 4  # images
CHUNK_BYTES = CHUNK * SIZE * SIZE * 3


def png(pixels: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  return buffer.getvalue()


class Memory:
  """Files in memory that remember what was read."""

  unread = notes = ()

  def __init__(self, content: dict[str, bytes]):
    self.content = content
    self.reads: list[str] = []
    self._lock = threading.Lock()

  def names(self) -> list[str]:
    return [*self.content]

  def stamp(self, name: str) -> int:
    return zlib.crc32(self.content[name])

  def read(self, name: str, count: int | None = None) -> bytes:
    with self._lock:
      self.reads.append(name)
    data = self.content[name]
    if data == b"missing":
      raise OSError(f"{name}: gone")
    return data[:count]

  def close(self) -> None:
    pass


def make_listing(files: Memory) -> Listing:
  rows = [
    (
      i % 3,
      name,
      name,
      files.stamp(name),
      f"g{i // 2}",
      ("train", "test")[i % 2],
      i,
      10 * i,
    )
    for i, name in enumerate(files.content)
  ]
  return Listing.of_rows(("a", "b", "c"), rows)


def make_images(count: int, size: int = SIZE) -> np.ndarray:
  shape = (count, size, size, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def make_files(count: int = 18) -> Memory:
  return Memory(
    {f"{i:02}.png": png(image) for i, image in enumerate(make_images(count))}
  )


def build(
  files: Memory,
  root: pathlib.Path,
  progress: Progress | None = None,
  *,
  verify: bool = False,
  **options,
) -> cache.PackedCache:
  source = ImageFiles(make_listing(files), files)
  values = PackOptions(**{"size": SIZE, **options})
  return cache.open_or_build(
    source, root, "toy", values, progress, verify=verify
  )


def only_folder(root: pathlib.Path) -> pathlib.Path:
  """The one cache below `root`; there is nothing else but locks."""
  (folder,) = (path for path in root.iterdir() if path.suffix != ".lock")
  assert folder.is_dir()
  return folder


def assert_same(one: cache.PackedCache, other: cache.PackedCache) -> None:
  for field in ("images", "names", "labels", "groups", "parts", "positions"):
    np.testing.assert_array_equal(
      getattr(one, field), getattr(other, field), err_msg=field
    )
  assert one.classes == other.classes
  assert one.quarantine == other.quarantine
  assert one.dropped == other.dropped
  assert one.fingerprint == other.fingerprint
