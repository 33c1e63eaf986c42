"""Packing: every image of a data set decoded once, into files of one folder.

A stopped build resumes at the last complete chunk of its journal.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from typing import IO

import numpy as np

from mn_jax.data import checksums, classes, decode, resizing
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import Source
from mn_jax.errors import InputError, RunError

# Of the format and of decoding: other pixels are another version.
VERSION = 4
# Pixels in memory while building, per checksum, and between two points of
# resumption.
_CHUNK_BYTES = 1 << 26
# Images that a thread decodes in one go: handing one over costs as much as
# decoding it.
_TASK = 16
# Left free on the disk beyond what a cache needs.
_SPARE_BYTES = 1 << 28
# Before another try to read a file, in seconds.
_WAITS = (0.1, 1.0)

Progress = Callable[[int, int], None]  # images done, images in all


@dataclasses.dataclass(frozen=True)
class PackOptions:
  """How the images of a data set are packed.

  Attributes:
    size: height and width of the packed images in pixels.
    other_sizes: what becomes of images of another size: 'resize' squeezes them
      to the square, 'crop' takes the middle square, 'drop' leaves them out.
    max_unreadable: share of unreadable files above which nothing is packed.
    bits: that the values of 16-bit grey images use, of which the upper 8 are
      kept.
    crop_share: of the short side that the middle square has.
    short_side: in pixels, of images that are packed whole in their own aspect;
      their middle squares are made when they are read. 0: squares are packed.
  """

  size: int
  other_sizes: str = "resize"
  max_unreadable: float = 0.0
  bits: int = 16
  crop_share: float = 1.0
  short_side: int = 0

  def __post_init__(self):
    for name, none in (("crop_share", 1.0), ("short_side", 0)):
      value = getattr(self, name)
      if value != none and self.other_sizes != "crop":
        raise InputError(
          f"data.{name}: got {value:g} with data.other_sizes "
          f"{self.other_sizes!r}; valid: {none:g}, or data.other_sizes 'crop'"
        )

  @property
  def image_bytes(self) -> int:
    """Bytes of a packed image; about, of one that is packed whole.

    Of photographs most are 4:3 or 3:2, one way or the other.
    """
    if self.short_side:
      return int(self.short_side**2 * 1.4) * 3
    return self.size * self.size * 3


@dataclasses.dataclass
class _Chunk:
  """One line of the build's journal."""

  stop: int  # listing rows before this one are done
  rows: list[int]  # listing rows whose images are packed
  sha256: str
  blocks: list[str]  # checksum of each block of the pixels
  unreadable: list[tuple[int, str]]  # listing row and reason
  dropped: list[int]  # listing rows of images of another size
  highest: int = 0  # value of 16-bit grey images up to here
  # Height and width of images that are packed whole.
  sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)


def build(
  source: Source,
  folder: pathlib.Path,
  options: PackOptions,
  progress: Progress | None,
) -> None:
  """Decodes what a stopped build left over, and writes the index.

  Args:
    source: the images.
    folder: where `images.u8`, `index.npz` and `meta.json` are written.
    options: how they are packed.
    progress: called with the number of images done, and of all.

  Raises:
    InputError: if too many files are unreadable, or no image of all or of a
      part is left.
    RunError: if there is no room, or the system cannot read a file; the build
      can be resumed.
  """
  total = len(source.listing)
  folder.mkdir(exist_ok=True)
  journal, pixels = folder / "journal.jsonl", folder / "images.u8"
  chunks = _resume(journal, pixels, options)
  done = chunks[-1].stop if chunks else 0
  needed = (total - done) * options.image_bytes + _SPARE_BYTES
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise RunError(
      f"data.cache_dir: {folder.parent} has {free >> 20} MiB free and needs "
      f"{needed >> 20}; the same command resumes when there is room"
    )
  step = max(1, _CHUNK_BYTES // options.image_bytes)
  unreadable = [bad for chunk in chunks for bad in chunk.unreadable]
  read = functools.partial(_read_rows, source, options)
  with (
    concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    journal.open("a", encoding="utf-8") as lines,
    pixels.open("ab") as out,
  ):
    for start in range(done, total, step):
      rows = range(start, min(start + step, total))
      images = itertools.chain.from_iterable(
        pool.map(read, itertools.batched(rows, _TASK))
      )
      chunk, data = _pack(rows, images, options)
      chunk.highest = max(source.maxima, default=0)
      unreadable += chunk.unreadable
      check_unreadable(
        quarantine(source.listing, unreadable), total, options.max_unreadable
      )
      _write(out, data)
      _write(lines, _journal_line(chunk))
      chunks.append(chunk)
      if progress:
        progress(rows.stop, total)
  _write_index(source, folder, chunks, options)
  journal.unlink()


def _read_rows(
  source: Source, options: PackOptions, rows: tuple[int, ...]
) -> list[np.ndarray | str | None]:
  """Reads images as they are packed, None if dropped, or why it cannot be."""
  size = options.size
  images = []
  for row in rows:
    try:
      image = _read_row(source, options, row)
    except (decode.DecodeError, OSError) as error:
      images.append(str(error))
      continue
    if options.short_side:
      image = resizing.shorten(image, options.short_side)
    elif options.other_sizes == "crop":
      # An image of that size is cropped too, if the share is less than all.
      if image.shape[:2] != (size, size) or options.crop_share < 1:
        image = resizing.resize_and_crop(image, size, share=options.crop_share)
    elif image.shape[:2] != (size, size):
      image = None
    images.append(image)
  return images


def _read_row(source: Source, options: PackOptions, row: int) -> np.ndarray:
  """Reads an image, tries again where the system is why that failed.

  Raises:
    OSError, DecodeError: if the file is damaged.
    RunError: if the system cannot read it.
  """
  waits = iter(_WAITS)
  while True:
    try:
      return source.read(
        row,
        options.size if options.other_sizes == "resize" else None,
        bits=options.bits,
      )
    except OSError as error:
      if error.errno is None:
        raise
      wait = next(waits, None)
      if wait is None:
        raise RunError(
          f"data.path: {str(source.listing.names[row])!r} cannot be read "
          f"({error.strerror}); nothing is lost: start again when it can"
        ) from None
    time.sleep(wait)


def _pack(
  rows: range, images: Iterable[np.ndarray | str | None], options: PackOptions
) -> tuple[_Chunk, bytes]:
  """Returns the journal's line of some rows, and their pixels."""
  chunk = _Chunk(rows.stop, [], "", [], [], [])
  pixels = []
  for row, image in zip(rows, images, strict=True):
    if isinstance(image, str):
      chunk.unreadable.append((row, image))
    elif image is None:
      chunk.dropped.append(row)
    else:
      chunk.rows.append(row)
      if options.short_side:
        chunk.sizes.append(image.shape[:2])
      pixels.append(image.tobytes())
  data = b"".join(pixels)
  chunk.sha256 = hashlib.sha256(data).hexdigest()
  chunk.blocks = [block.decode() for block in checksums.digests(data)]
  return chunk, data


def _write_index(
  source: Source,
  folder: pathlib.Path,
  chunks: list[_Chunk],
  options: PackOptions,
) -> None:
  """Writes what is known of the packed images, and the checksums."""
  listing, size = source.listing, options.size
  sizes = {}
  if options.short_side:
    of_all = [size for chunk in chunks for size in chunk.sizes]
    sizes = {"sizes": np.array(of_all, np.int32).reshape(-1, 2)}
  rows = np.array([r for chunk in chunks for r in chunk.rows], np.int64)
  unreadable = [bad for chunk in chunks for bad in chunk.unreadable]
  dropped = [row for chunk in chunks for row in chunk.dropped]
  if not len(rows):
    raise InputError(
      f"data.image_size: got {size}, which leaves no image of {len(listing)}: "
      f"{len(unreadable)} are unreadable, {len(dropped)} of another size "
      "(data.other_sizes)"
    )
  check_parts(listing, rows)
  left_out = collections.Counter(
    (classes.of_row(listing.classes, listing.labels, row), what)
    for row, what in (
      *((row, f"unreadable images ({reason})") for row, reason in unreadable),
      *((row, "images of another size (data.other_sizes)") for row in dropped),
    )
  )
  highest = {chunk.highest for chunk in chunks}
  unused_bits = decode.unused_bits(highest, options.bits)
  index = io.BytesIO()
  np.savez(
    index,
    **{
      name: column[rows]
      for name, column in listing.columns().items()
      if name != "stamps"
    },
    **sizes,
    blocks=np.array([b for chunk in chunks for b in chunk.blocks], "S16"),
  )
  with (folder / "index.npz").open("wb") as file:
    _write(file, index.getvalue())
  meta = {
    "key": key(listing.fingerprint(), options),
    "size": size,
    "classes": listing.classes,
    "index_sha256": hashlib.sha256(index.getvalue()).hexdigest(),
    "chunks": [(len(chunk.rows), chunk.sha256) for chunk in chunks],
    "quarantine": quarantine(listing, unreadable),
    "dropped": len(dropped),
    "left_out": [(*pair, count) for pair, count in left_out.most_common()],
    "passed_over": listing.passed_over,
    "notes": [unused_bits] if unused_bits else [],
    "listing_notes": listing.notes,
  }
  with (folder / "meta.json").open("w", encoding="utf-8") as file:
    content = {"sha256": checksums.of_json(meta), **meta}
    _write(file, json.dumps(content, indent=1))


def key(fingerprint: str, options: PackOptions) -> str:
  """Returns the hex SHA-256 of all that decides the packed pixels.

  Args:
    fingerprint: of the listing.
    options: how its images are packed.
  """
  form = dataclasses.asdict(options)
  del form["max_unreadable"]
  if options.short_side:
    # Any square is made of them when they are read.
    form = {name: form[name] for name in ("bits", "short_side")}
  else:
    # Squares of the whole short side have the key of those before this field.
    del form["short_side"]
    if options.crop_share == 1:
      del form["crop_share"]
  return checksums.of_json({"version": VERSION, "listing": fingerprint, **form})


def quarantine(
  listing: Listing, unreadable: Iterable[tuple[int, str]]
) -> list[tuple[str, str]]:
  """Returns (name, reason) of unreadable rows."""
  return [(str(listing.names[row]), reason) for row, reason in unreadable]


def _journal_line(chunk: _Chunk) -> str:
  """Returns a chunk as JSON, behind its checksum."""
  text = json.dumps(dataclasses.asdict(chunk))
  return f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n"


def _resume(
  journal: pathlib.Path, pixels: pathlib.Path, options: PackOptions
) -> list[_Chunk]:
  """Returns the chunks that a stopped build completed; cuts off the rest."""
  chunks: list[_Chunk] = []
  offset = 0
  if journal.exists() and pixels.exists():
    with pixels.open("rb") as file:
      for line in journal.read_bytes().splitlines():
        sha256, _, text = line.partition(b" ")
        if hashlib.sha256(text).hexdigest().encode() != sha256:
          break
        chunk = _Chunk(**json.loads(text))
        count = len(chunk.rows) * options.image_bytes
        if options.short_side:
          count = sum(height * width * 3 for height, width in chunk.sizes)
        data = file.read(count)
        if hashlib.sha256(data).hexdigest() != chunk.sha256:
          break
        offset += len(data)
        chunks.append(chunk)
  journal.write_text("".join(map(_journal_line, chunks)), encoding="utf-8")
  with pixels.open("ab") as file:
    file.truncate(offset)
  return chunks


def check_unreadable(
  quarantine: Sequence[tuple[str, str]], total: int, max_unreadable: float
) -> None:
  """Refuses a data set of which too much cannot be read.

  Args:
    quarantine: (name, reason) of the unreadable files.
    total: number of files.
    max_unreadable: their highest share.

  Raises:
    InputError: if there are more.
  """
  if len(quarantine) > max_unreadable * total:
    name, reason = quarantine[0]
    raise InputError(
      f"data.max_unreadable: at least {len(quarantine)} of {total} files are "
      f"unreadable, more than a share of {max_unreadable:g}; the first: "
      f"{name}: {reason}"
    )


def check_parts(listing: Listing, rows: np.ndarray) -> None:
  """Refuses to lose a part, as another would be drawn in its place.

  Raises:
    InputError: if none of the rows that can be used, i64[m], is of some part.
  """
  lost = {*listing.parts.tolist()} - {"", *listing.parts[rows].tolist()}
  if lost:
    part = min(lost)
    count = int((listing.parts == part).sum())
    raise InputError(
      f"data.path: got the part {part!r} without an image that can be used: "
      f"all {count:,} are unreadable or of another size (data.other_sizes); "
      "valid: at least one in each part"
    )


def _write(file: IO, data: str | bytes) -> None:
  file.write(data)
  file.flush()
  os.fsync(file.fileno())
