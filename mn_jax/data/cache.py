"""The packed cache: every image decoded once, into one file of raw uint8.

A random read of the packed file is some hundred times faster than decoding. A
cache is built beside its final place and renamed when complete, so whatever
has the final name is whole; a build that was stopped goes on where it was. Its
name carries the fingerprint of the listing: changed files make another cache.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import IO

import filelock
import numpy as np

from mn_jax.data import decode
from mn_jax.data.datasets.source import Source
from mn_jax.errors import InputError

_VERSION = 2
# Pixels in memory while building, per checksum, and between two points of
# resumption.
_CHUNK_BYTES = 1 << 26
# Images that a thread decodes in one go: handing one over costs as much as
# decoding it.
_TASK = 16
# Left free on the disk beyond what a cache needs.
_SPARE_BYTES = 1 << 28
# What of a listing is kept.
_INDEX = ("names", "labels", "groups", "parts", "positions")
# What `_open` raises for a cache that is missing or not what was written.
_DAMAGED = (OSError, ValueError, KeyError, TypeError)

Progress = Callable[[int, int], None]  # images done, images in all


@dataclasses.dataclass(frozen=True)
class PackedCache:
  """A data set in decoded form, memory-mapped.

  Attributes:
    classes: class names in the order of the labels.
    images: u8[n, size, size, 3], RGB in [0, 255].
    names: str[n], unique.
    labels: i32[n], class indices.
    groups: str[n], what a split keeps together.
    parts: str[n], the publisher's part, or ''.
    positions: i32[n, 2], x and y within the slide in pixels.
    quarantine: (name, reason) of the files that could not be read.
    dropped: number of images left out for their size.
    fingerprint: of the listing it was made from.
    sha256: of the pixels, through the digests of their chunks.
  """

  classes: tuple[str, ...]
  images: np.ndarray
  names: np.ndarray
  labels: np.ndarray
  groups: np.ndarray
  parts: np.ndarray
  positions: np.ndarray
  quarantine: tuple[tuple[str, str], ...]
  dropped: int
  fingerprint: str
  sha256: str

  def __len__(self) -> int:
    return len(self.labels)


def open_built(
  fingerprint: str,
  root: pathlib.Path,
  name: str,
  *,
  size: int,
  other_sizes: str,
) -> PackedCache | None:
  """Opens the cache of what has this fingerprint, or None if there is none.

  Args are those of `open_or_build`; one that is damaged counts as none.
  """
  try:
    return _open(
      _folder(root, name, size, other_sizes, fingerprint), fingerprint
    )
  except _DAMAGED:
    return None


def open_or_build(
  source: Source,
  root: pathlib.Path,
  name: str,
  *,
  size: int,
  other_sizes: str,
  max_unreadable: float,
  progress: Progress | None = None,
) -> PackedCache:
  """Opens the cache of a data set; builds it first if there is none.

  Two processes may ask at once: one builds, the other waits. A cache that
  fails its checksums is built anew. Opening one needs no right to write.

  Args:
    source: the images.
    root: folder of all caches.
    name: of the data set, for the cache's folder.
    size: height and width of the packed images in pixels.
    other_sizes: what becomes of images of another size: 'resize' squeezes them
      to the square, 'crop' takes the middle square, 'drop' leaves them out.
    max_unreadable: share of unreadable files above which nothing is built.
    progress: called while building.

  Raises:
    InputError: if too many files are unreadable, no image is left, or the
      folder cannot be written or has no room.
  """
  listing = source.listing
  fingerprint = listing.fingerprint()
  final = _folder(root, name, size, other_sizes, fingerprint)
  build = functools.partial(
    _build,
    source,
    size=size,
    other_sizes=other_sizes,
    max_unreadable=max_unreadable,
    progress=progress,
  )
  try:
    cache = _open(final, fingerprint)
  except _DAMAGED:
    try:
      cache = _replace(final, fingerprint, build)
    except OSError as error:
      raise InputError(
        f"data.cache_dir: cannot write {final} ({error}); valid: a folder with "
        f"room for {len(listing) * size * size * 3 >> 20} MiB"
      ) from None
  _check_share(cache.quarantine, len(listing), max_unreadable)
  return cache


def _folder(
  root: pathlib.Path, name: str, size: int, other_sizes: str, fingerprint: str
) -> pathlib.Path:
  return root / f"{name}-{size}px-{other_sizes}-{fingerprint[:16]}"


def _replace(
  final: pathlib.Path, fingerprint: str, build: Callable[[pathlib.Path], None]
) -> PackedCache:
  """Builds a cache in place of a missing or damaged one, once at a time."""
  final.parent.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(final.with_name(f"{final.name}.lock")):
    try:
      return _open(final, fingerprint)  # another process came first
    except _DAMAGED:
      shutil.rmtree(final, ignore_errors=True)
    partial = final.with_name(f"{final.name}.v{_VERSION}.partial")
    try:
      build(partial)
    except InputError:  # going on could not end otherwise
      shutil.rmtree(partial, ignore_errors=True)
      raise
    partial.rename(final)
    return _open(final, fingerprint)


@dataclasses.dataclass
class _Chunk:
  """One line of the build's journal."""

  stop: int  # listing rows before this one are done
  rows: list[int]  # listing rows that were kept
  sha256: str
  quarantine: list[tuple[str, str]]
  dropped: int


def _build(
  source: Source,
  partial: pathlib.Path,
  *,
  size: int,
  other_sizes: str,
  max_unreadable: float,
  progress: Progress | None,
) -> None:
  """Decodes what a stopped build left over, and writes the index."""
  listing = source.listing
  partial.mkdir(exist_ok=True)
  journal, pixels = partial / "journal.jsonl", partial / "images.u8"
  chunks = _resume(journal, pixels, size)
  done = chunks[-1].stop if chunks else 0
  _check_room(partial, (len(listing) - done) * size * size * 3)
  step = max(1, _CHUNK_BYTES // (size * size * 3))
  quarantine = [bad for chunk in chunks for bad in chunk.quarantine]

  def read(row: int) -> np.ndarray | str | None:
    """The image, None if it is dropped, or why it cannot be read."""
    try:
      if other_sizes == "resize":
        return source.read_resized(row, size)
      image = source.read(row)
    except (decode.DecodeError, OSError) as error:
      return str(error)
    if image.shape[:2] == (size, size):
      return image
    return decode.crop(image, size) if other_sizes == "crop" else None

  def read_some(rows: tuple[int, ...]) -> list[np.ndarray | str | None]:
    return [read(row) for row in rows]

  with (
    concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    journal.open("a") as lines,
    pixels.open("ab") as out,
  ):
    for start in range(done, len(listing), step):
      rows = range(start, min(start + step, len(listing)))
      chunk = _Chunk(rows.stop, [], "", [], 0)
      kept = []
      tasks = itertools.batched(rows, _TASK)
      images = itertools.chain.from_iterable(pool.map(read_some, tasks))
      for row, image in zip(rows, images, strict=True):
        if isinstance(image, str):
          chunk.quarantine.append((str(listing.names[row]), image))
        elif image is None:
          chunk.dropped += 1
        else:
          chunk.rows.append(row)
          kept.append(image.tobytes())
      quarantine += chunk.quarantine
      _check_share(quarantine, len(listing), max_unreadable)
      data = b"".join(kept)
      chunk.sha256 = hashlib.sha256(data).hexdigest()
      _write(out, data)
      _write(lines, json.dumps(dataclasses.asdict(chunk)) + "\n")
      chunks.append(chunk)
      if progress:
        progress(rows.stop, len(listing))

  rows = np.array([r for chunk in chunks for r in chunk.rows], np.int64)
  if not len(rows):
    raise InputError(
      f"data.image_size: got {size}, which leaves no image of {len(listing)}: "
      f"{len(quarantine)} are unreadable, {sum(c.dropped for c in chunks)} of "
      "another size (data.other_sizes)"
    )
  index = {key: getattr(listing, key)[rows] for key in _INDEX}
  with (partial / "index.npz").open("wb") as file:
    np.savez(file, **index)
    _sync(file)
  meta = {
    "version": _VERSION,
    "size": size,
    "classes": listing.classes,
    "fingerprint": listing.fingerprint(),
    "index_sha256": _file_sha256(partial / "index.npz"),
    "chunks": [(len(c.rows), c.sha256) for c in chunks],
    "quarantine": quarantine,
    "dropped": sum(c.dropped for c in chunks),
  }
  with (partial / "meta.json").open("w") as file:
    _write(file, json.dumps(meta, indent=1))
  journal.unlink()


def _resume(
  journal: pathlib.Path, pixels: pathlib.Path, size: int
) -> list[_Chunk]:
  """The chunks that a stopped build completed; cuts off what it did not."""
  chunks: list[_Chunk] = []
  offset = 0
  if journal.exists() and pixels.exists():
    with pixels.open("rb") as file:
      for line in journal.read_bytes().splitlines():
        try:
          chunk = _Chunk(**json.loads(line))
        except (ValueError, TypeError):
          break
        data = file.read(len(chunk.rows) * size * size * 3)
        if hashlib.sha256(data).hexdigest() != chunk.sha256:
          break
        offset += len(data)
        chunks.append(chunk)
  journal.write_text(
    "".join(json.dumps(dataclasses.asdict(c)) + "\n" for c in chunks)
  )
  with pixels.open("ab") as file:
    file.truncate(offset)
  return chunks


def _open(path: pathlib.Path, fingerprint: str) -> PackedCache:
  """Maps a complete cache after checking every byte of it.

  Raises:
    OSError, ValueError, KeyError, TypeError: if it is missing or not what was
      written.
  """
  meta = json.loads((path / "meta.json").read_text())
  if meta["version"] != _VERSION or meta["fingerprint"] != fingerprint:
    raise ValueError("written by another version or for other files")
  if _file_sha256(path / "index.npz") != meta["index_sha256"]:
    raise ValueError("the index is damaged")
  shape = (
    sum(rows for rows, _ in meta["chunks"]),
    meta["size"],
    meta["size"],
    3,
  )
  images = np.memmap(path / "images.u8", np.uint8, mode="r")
  if images.size != np.prod(shape):
    raise ValueError("the pixels are incomplete")
  images = images.reshape(shape)
  start = 0
  for rows, sha256 in meta["chunks"]:
    if hashlib.sha256(images[start : start + rows]).hexdigest() != sha256:
      raise ValueError("the pixels are damaged")
    start += rows
  with np.load(path / "index.npz", allow_pickle=False) as index:
    return PackedCache(
      classes=tuple(meta["classes"]),
      images=images,
      **{key: index[key] for key in _INDEX},
      quarantine=tuple((name, why) for name, why in meta["quarantine"]),
      dropped=meta["dropped"],
      fingerprint=fingerprint,
      sha256=hashlib.sha256(json.dumps(meta["chunks"]).encode()).hexdigest(),
    )


def _check_room(folder: pathlib.Path, needed: int) -> None:
  """Refuses to begin what the disk has no room for.

  Raises:
    InputError: with what is there and what is needed, in bytes.
  """
  free = shutil.disk_usage(folder).free
  if free < needed + _SPARE_BYTES:
    raise InputError(
      f"data.cache_dir: {folder.parent} has {free >> 20} MiB free; valid: a "
      f"folder with {needed + _SPARE_BYTES >> 20} MiB"
    )


def _check_share(
  quarantine: Sequence[tuple[str, str]], total: int, max_unreadable: float
) -> None:
  if len(quarantine) > max_unreadable * total:
    name, reason = quarantine[0]
    raise InputError(
      f"data.max_unreadable: at least {len(quarantine)} of {total} files are "
      f"unreadable, more than a share of {max_unreadable:g}; the first: "
      f"{name}: {reason}"
    )


def _write(file: IO, data: str | bytes) -> None:
  file.write(data)
  _sync(file)


def _sync(file: IO) -> None:
  file.flush()
  os.fsync(file.fileno())


def _file_sha256(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
