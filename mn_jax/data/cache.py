"""The packed cache: every image decoded once, into one file of raw uint8.

A random read of the packed file is some hundred times faster than decoding. A
cache is built beside its final place and renamed when complete, so whatever
has the final name is complete; a stopped build resumes where it was. Its name
holds a digest of the listing and of how it is packed: changed files make
another cache.

Every byte has a checksum. All are compared on request. Whenever a cache is
opened, those of names, labels and counts are, and of the pixels as
`checksums.compare` says.
"""

import dataclasses
import errno
import hashlib
import io
import json
import pathlib
import shutil
from collections.abc import Mapping

import filelock
import numpy as np

from mn_jax.data import checksums, packing
from mn_jax.data.checksums import ChecksumError
from mn_jax.data.datasets.listing import ATTRIBUTE, Listing
from mn_jax.data.datasets.source import Source
from mn_jax.data.packing import PackOptions
from mn_jax.data.whole import Squares, Whole, num_bytes
from mn_jax.errors import InputError, RunError

# What a user can change; all else is a failure of the machine.
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@dataclasses.dataclass(frozen=True)
class PackedCache:
  """A data set in decoded form, memory-mapped.

  Attributes:
    classes: class names in the order of the labels.
    images: u8[n, size, size, 3], RGB in [0, 255], as evaluation sees them; of
      whole images their middle squares, which indexing makes.
    names: str[n], unique.
    labels: i32[n], class indices; u8[n, classes], 0 or 1, where an image may
      have several labels or none.
    groups: str[n], what a split keeps together.
    parts: str[n], the publisher's part, or ''.
    positions: i32[n, 2], x and y within the slide in pixels.
    quarantine: (name, reason) of the files that could not be read.
    dropped: number of images left out for their size.
    left_out: (class, what they are, count) of files that are no images here:
      passed over in the listing (without a class: ''), unreadable, dropped.
    notes: what a reader should know of the images, a line each.
    fingerprint: of the listing it was made from.
    sha256: of the pixels, through the digests of their chunks.
    attributes: str[n] each by name, what else is known of the images.
    whole: the images that are packed whole; None where squares are packed.
  """

  classes: tuple[str, ...]
  images: np.ndarray | Squares
  names: np.ndarray
  labels: np.ndarray
  groups: np.ndarray
  parts: np.ndarray
  positions: np.ndarray
  quarantine: tuple[tuple[str, str], ...]
  dropped: int
  left_out: tuple[tuple[str, str, int], ...]
  notes: tuple[str, ...]
  fingerprint: str
  sha256: str
  attributes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  whole: Whole | None = None

  def __len__(self) -> int:
    return len(self.labels)

  @property
  def multi_label(self) -> bool:
    """Whether an image may have several labels or none."""
    return self.labels.ndim == 2


def open_built(
  fingerprint: str,
  root: pathlib.Path,
  name: str,
  options: PackOptions,
  *,
  verify: bool = False,
) -> PackedCache | None:
  """Opens the cache of a listing's fingerprint; None if missing or damaged.

  Args:
    fingerprint: of the listing that it was made from.
    root: folder of all caches.
    name: of the data set.
    options: how its images are packed.
    verify: whether every byte is compared with its checksum.

  Raises:
    InputError, RunError: if it is there and cannot be read.
  """
  path = _folder(root, name, fingerprint, options)
  try:
    return _open(path, fingerprint, options, verify=verify)
  except ChecksumError:
    return None
  except OSError as error:
    raise failure("read", path, error) from None


def open_or_build(
  source: Source,
  root: pathlib.Path,
  name: str,
  options: PackOptions,
  progress: packing.Progress | None = None,
  *,
  verify: bool = False,
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
    verify: whether every byte is compared with its checksum.

  Raises:
    InputError: if too many files are unreadable, no image is left, or the
      folder may not be written.
    RunError: if there is no room, or the system fails to read or write.
  """
  listing = source.listing
  fingerprint = listing.fingerprint()
  final = _folder(root, name, fingerprint, options)

  def look() -> tuple[PackedCache | None, str]:
    try:
      return _open(final, fingerprint, options, listing, verify=verify), ""
    except ChecksumError as error:
      return None, str(error)

  try:
    cache, damage = look()
    if cache is None:
      final.parent.mkdir(parents=True, exist_ok=True)
      with filelock.FileLock(final.with_name(f"{final.name}.lock")):
        cache, _ = look()  # another process may have come first
        if cache is None:
          _build(source, final, options, progress)
          cache = _open(final, fingerprint, options, listing, verify=verify)
          if damage:
            note = f"{final} was damaged ({damage}) and is packed anew"
            cache = dataclasses.replace(cache, notes=(*cache.notes, note))
  except ChecksumError as error:  # as soon as it was written
    raise RunError(
      f"data.cache_dir: {final} does not keep what is written ({error})"
    ) from None
  except OSError as error:
    raise failure("write", final, error) from None
  packing.check_unreadable(
    cache.quarantine, len(listing), options.max_unreadable
  )
  return cache


def failure(
  what: str, path: pathlib.Path, error: OSError
) -> InputError | RunError:
  """Returns what to raise where a file cannot be read or written.

  Args:
    what: 'read' or 'write'.
    path: in the folder of downloads and packed images.
    error: the system's.
  """
  problem = f"data.cache_dir: cannot {what} {path} ({error.strerror or error})"
  if error.errno in _DENIED:
    return InputError(f"{problem}; valid: a folder you may read and write")
  return RunError(f"{problem}; the same command resumes when it can be")


def _folder(
  root: pathlib.Path, name: str, fingerprint: str, options: PackOptions
) -> pathlib.Path:
  form = f"{options.size}px-{options.other_sizes}"
  if options.short_side:
    form = f"{options.short_side}px-whole"
  return root / f"{name}-{form}-{packing.key(fingerprint, options)[:16]}"


def _build(
  source: Source,
  final: pathlib.Path,
  options: PackOptions,
  progress: packing.Progress | None,
) -> None:
  """Builds a missing or damaged cache."""
  shutil.rmtree(final, ignore_errors=True)
  partial = final.with_name(f"{final.name}.partial")
  try:
    packing.build(source, partial, options, progress)
  except InputError:  # a resumed build would end the same way
    shutil.rmtree(partial, ignore_errors=True)
    raise
  partial.rename(final)


def _open(
  path: pathlib.Path,
  fingerprint: str,
  options: PackOptions,
  listing: Listing | None = None,
  *,
  verify: bool,
) -> PackedCache | None:
  """Maps a complete cache after comparing checksums; None if there is none.

  Args:
    path: its folder.
    fingerprint: of the listing that it was made from.
    options: how its images are packed.
    listing: of now, whose other files may have changed since; None for what
      was known when the cache was made.
    verify: whether every byte is compared.

  Raises:
    ChecksumError: if it is not what was written.
    OSError: if it cannot be read.
  """
  if not path.exists():
    return None
  try:
    meta, index = _read_meta(path), (path / "index.npz").read_bytes()
    if meta["key"] != packing.key(fingerprint, options):
      raise ChecksumError("meta.json is of other images")
    if hashlib.sha256(index).hexdigest() != meta["index_sha256"]:
      raise ChecksumError("index.npz does not match its checksum")
    with np.load(io.BytesIO(index), allow_pickle=False) as arrays:
      columns = {name: arrays[name] for name in arrays.files}
      blocks = columns.pop("blocks")
    rows = [count for count, _ in meta["chunks"]]
    sizes = columns.pop("sizes", None)
    pixels, lengths = path / "images.u8", _lengths(rows, sizes, options)
    if pixels.stat().st_size != sum(lengths):
      raise ChecksumError(f"{pixels.name} has another size")
    checksums.compare(pixels, lengths, blocks, verify=verify)
  except FileNotFoundError as error:
    raise ChecksumError(
      f"{pathlib.Path(error.filename).name} is gone"
    ) from None
  passed_over, notes = meta["passed_over"], meta["listing_notes"]
  if listing is not None:
    passed_over, notes = listing.passed_over, listing.notes
  attributes = {
    name.removeprefix(ATTRIBUTE): columns.pop(name)
    for name in [*columns]
    if name.startswith(ATTRIBUTE)
  }
  flat, size, whole = np.memmap(pixels, np.uint8, mode="r"), options.size, None
  if sizes is None:
    images = flat.reshape(sum(rows), size, size, 3)
  else:
    whole = Whole(flat, sizes)
    images = Squares(whole, size, options.crop_share)
  return PackedCache(
    classes=tuple(meta["classes"]),
    images=images,
    whole=whole,
    **columns,
    quarantine=tuple((name, why) for name, why in meta["quarantine"]),
    dropped=meta["dropped"],
    left_out=tuple((*kind,) for kind in (*meta["left_out"], *passed_over)),
    notes=(*notes, *meta["notes"]),
    fingerprint=fingerprint,
    sha256=hashlib.sha256(json.dumps(meta["chunks"]).encode()).hexdigest(),
    attributes=attributes,
  )


def _lengths(
  rows: list[int], sizes: np.ndarray | None, options: PackOptions
) -> list[int]:
  """Returns the bytes of each chunk of a packed file.

  Args:
    rows: images of each chunk.
    sizes: i32[n, 2] of whole images; None for squares.
    options: how they are packed.
  """
  if sizes is None:
    return [count * options.image_bytes for count in rows]
  stops = np.concatenate([[0], np.cumsum(num_bytes(sizes))])
  return np.diff(stops[np.cumsum([0, *rows])]).tolist()


def _read_meta(path: pathlib.Path) -> dict:
  try:
    meta = json.loads((path / "meta.json").read_bytes())
    sha256 = meta.pop("sha256")
  except (ValueError, KeyError, TypeError, AttributeError):
    raise ChecksumError("meta.json cannot be read") from None
  if checksums.of_json(meta) != sha256:
    raise ChecksumError("meta.json does not match its checksum")
  return meta
