"""The packed cache: every image decoded once, into one file of raw uint8.

A random read of the packed file is some hundred times faster than decoding. A
cache is built beside its final place and renamed when complete, so whatever
has the final name is complete; a stopped build resumes where it was. Its name
holds the fingerprint of the listing: changed files make another cache.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import shutil

import filelock
import numpy as np

from mn_jax.data import packing
from mn_jax.data.datasets.source import Source
from mn_jax.data.packing import PackOptions
from mn_jax.errors import InputError


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
  fingerprint: str, root: pathlib.Path, name: str, options: PackOptions
) -> PackedCache | None:
  """Opens the cache of a listing's fingerprint; None if missing or damaged.

  Args:
    fingerprint: of the listing that it was made from.
    root: folder of all caches.
    name: of the data set.
    options: how its images are packed.
  """
  return _open(_folder(root, name, fingerprint, options), fingerprint)


def open_or_build(
  source: Source,
  root: pathlib.Path,
  name: str,
  options: PackOptions,
  progress: packing.Progress | None = None,
) -> PackedCache:
  """Opens the cache of a data set; builds it first if there is none.

  Two processes may ask at once: one builds, the other waits. A cache that
  fails its checksums is built again. Opening one needs no right to write.

  Args:
    source: the images.
    root: folder of all caches.
    name: of the data set, for the cache's folder.
    options: how the images are packed.
    progress: called while building.

  Raises:
    InputError: if too many files are unreadable, no image is left, or the
      folder cannot be written or has no room.
  """
  listing = source.listing
  fingerprint = listing.fingerprint()
  final = _folder(root, name, fingerprint, options)
  cache = _open(final, fingerprint)
  if cache is None:
    try:
      cache = _build(source, final, options, progress)
    except OSError as error:
      needed = len(listing) * options.size**2 * 3 >> 20
      raise InputError(
        f"data.cache_dir: cannot write {final} ({error}); valid: a folder with "
        f"room for {needed} MiB"
      ) from None
  packing.check_unreadable(
    cache.quarantine, len(listing), options.max_unreadable
  )
  return cache


def _folder(
  root: pathlib.Path, name: str, fingerprint: str, options: PackOptions
) -> pathlib.Path:
  form = f"{options.size}px-{options.other_sizes}"
  if options.bits != PackOptions.bits:
    form += f"-{options.bits}bits"
  return root / f"{name}-{form}-{fingerprint[:16]}"


def _build(
  source: Source,
  final: pathlib.Path,
  options: PackOptions,
  progress: packing.Progress | None,
) -> PackedCache:
  """Builds a missing or damaged cache; another process waits meanwhile."""
  fingerprint = source.listing.fingerprint()
  final.parent.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(final.with_name(f"{final.name}.lock")):
    cache = _open(final, fingerprint)
    if cache is not None:  # another process came first
      return cache
    shutil.rmtree(final, ignore_errors=True)
    partial = final.with_name(f"{final.name}.v{packing.VERSION}.partial")
    try:
      packing.build(source, partial, options, progress)
    except InputError:  # a resumed build would end the same way
      shutil.rmtree(partial, ignore_errors=True)
      raise
    partial.rename(final)
    return _map(final, fingerprint)


def _open(path: pathlib.Path, fingerprint: str) -> PackedCache | None:
  """Opens a cache; None if it is missing or not what was written."""
  try:
    return _map(path, fingerprint)
  except (OSError, ValueError, KeyError, TypeError):
    return None


def _map(path: pathlib.Path, fingerprint: str) -> PackedCache:
  """Maps a complete cache after checking every byte of it."""
  meta = json.loads((path / "meta.json").read_text())
  if meta["version"] != packing.VERSION or meta["fingerprint"] != fingerprint:
    raise ValueError("written by another version or for other files")
  index_bytes = (path / "index.npz").read_bytes()
  if hashlib.sha256(index_bytes).hexdigest() != meta["index_sha256"]:
    raise ValueError("the index is damaged")
  size, count = meta["size"], sum(rows for rows, _ in meta["chunks"])
  shape = (count, size, size, 3)
  images = np.memmap(path / "images.u8", np.uint8, mode="r")
  if images.size != np.prod(shape):
    raise ValueError("the pixels are incomplete")
  images = images.reshape(shape)
  start = 0
  for rows, sha256 in meta["chunks"]:
    if hashlib.sha256(images[start : start + rows]).hexdigest() != sha256:
      raise ValueError("the pixels are damaged")
    start += rows
  with np.load(io.BytesIO(index_bytes), allow_pickle=False) as index:
    return PackedCache(
      classes=tuple(meta["classes"]),
      images=images,
      **{key: index[key] for key in packing.FIELDS},
      quarantine=tuple((name, why) for name, why in meta["quarantine"]),
      dropped=meta["dropped"],
      fingerprint=fingerprint,
      sha256=hashlib.sha256(json.dumps(meta["chunks"]).encode()).hexdigest(),
    )
