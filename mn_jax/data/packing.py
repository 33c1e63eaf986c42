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

from mn_jax.data import checksums, classes, decode
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import Source
from mn_jax.errors import InputError, RunError

# Of the format and of decoding: other pixels are another version.
VERSION = 3
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
  """

  size: int
  other_sizes: str = "resize"
  max_unreadable: float = 0.0
  bits: int = 16


@dataclasses.dataclass
class _Chunk:
  """One line of the build's journal."""

  stop: int  # listing rows before this one are done
  rows: list[int]  # listing rows whose images are packed
  sha256: str
  blocks: list[str]  # checksum of each block of the pixels
  unreadable: list[tuple[int, str]]  # listing row and reason
  dropped: list[int]  # listing rows of images of another size


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
    InputError: if too many files are unreadable, or no image is left.
    RunError: if there is no room, or the system cannot read a file; the build
      can be resumed.
  """
  total, size = len(source.listing), options.size
  folder.mkdir(exist_ok=True)
  journal, pixels = folder / "journal.jsonl", folder / "images.u8"
  chunks = _resume(journal, pixels, size)
  done = chunks[-1].stop if chunks else 0
  needed = (total - done) * size * size * 3 + _SPARE_BYTES
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise RunError(
      f"data.cache_dir: {folder.parent} has {free >> 20} MiB free and needs "
      f"{needed >> 20}; the same command resumes when there is room"
    )
  step = max(1, _CHUNK_BYTES // (size * size * 3))
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
      chunk, data = _pack(rows, images)
      unreadable += chunk.unreadable
      check_unreadable(
        _quarantine(source.listing, unreadable), total, options.max_unreadable
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
  """Reads images: u8[size, size, 3], None if dropped, or why it cannot be."""
  size = options.size
  images = []
  for row in rows:
    try:
      image = _read_row(source, options, row)
    except (decode.DecodeError, OSError) as error:
      images.append(str(error))
      continue
    if image.shape[:2] != (size, size):
      crops = options.other_sizes == "crop"
      image = decode.resize_and_crop(image, size) if crops else None
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
  rows: range, images: Iterable[np.ndarray | str | None]
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
  rows = np.array([r for chunk in chunks for r in chunk.rows], np.int64)
  unreadable = [bad for chunk in chunks for bad in chunk.unreadable]
  dropped = [row for chunk in chunks for row in chunk.dropped]
  if not len(rows):
    raise InputError(
      f"data.image_size: got {size}, which leaves no image of {len(listing)}: "
      f"{len(unreadable)} are unreadable, {len(dropped)} of another size "
      "(data.other_sizes)"
    )
  left_out = collections.Counter(
    (classes.of_row(listing.classes, listing.labels, row), what)
    for row, what in (
      *((row, f"unreadable images ({reason})") for row, reason in unreadable),
      *((row, "images of another size (data.other_sizes)") for row in dropped),
    )
  )
  unused_bits = decode.unused_bits(source.maxima, options.bits)
  index = io.BytesIO()
  np.savez(
    index,
    **{
      name: column[rows]
      for name, column in listing.columns().items()
      if name != "stamps"
    },
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
    "quarantine": _quarantine(listing, unreadable),
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
  return checksums.of_json({"version": VERSION, "listing": fingerprint, **form})


def _quarantine(
  listing: Listing, unreadable: Iterable[tuple[int, str]]
) -> list[tuple[str, str]]:
  """Returns (name, reason) of unreadable rows."""
  return [(str(listing.names[row]), reason) for row, reason in unreadable]


def _journal_line(chunk: _Chunk) -> str:
  """Returns a chunk as JSON, behind its checksum."""
  text = json.dumps(dataclasses.asdict(chunk))
  return f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n"


def _resume(
  journal: pathlib.Path, pixels: pathlib.Path, size: int
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
        data = file.read(len(chunk.rows) * size * size * 3)
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


def _write(file: IO, data: str | bytes) -> None:
  file.write(data)
  file.flush()
  os.fsync(file.fileno())
