"""Pixels that are computed from packed images once, and kept with checksums.

They are a file beside the packed caches. Its name holds a digest of all that
decides them, so whatever has the name is right; a file that fails its checksums
is computed again.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence

import filelock
import numpy as np

from mn_jax.data import atomic, cache, checksums
from mn_jax.data.checksums import ChecksumError

# Images in memory while they are computed, and per checksum's part.
BLOCK = 256


def open_or_build(
  path: pathlib.Path,
  shape: Sequence[int],
  build: Callable[[], tuple[Iterator[np.ndarray], tuple[str, ...]]],
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Opens computed pixels; computes them first if they are not there.

  Args:
    path: of the file, with the suffix .u8.
    shape: of all images, the first axis counts them.
    build: returns the images, u8[k, ...] of `BLOCK` at a time, and what a
      reader should know of them, a line each.

  Returns:
    The images, memory-mapped, and the lines.

  Raises:
    InputError: if the folder may not be written.
    RunError: if the system fails to write.
  """
  notes = _look(path, shape)
  if notes is None:
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      with filelock.FileLock(path.with_suffix(".lock")):
        notes = _look(path, shape)  # another process may have come first
        if notes is None:
          blocks, notes = build()
          _write(path, blocks, notes)
    except OSError as error:
      raise cache.failure("write", path, error) from None
  return np.memmap(path, np.uint8, "r", shape=tuple(shape)), notes


def _look(path: pathlib.Path, shape: Sequence[int]) -> tuple[str, ...] | None:
  """Returns the notes; None if the pixels are not there, or damaged."""
  try:
    return _check(path, shape)
  except (ChecksumError, OSError, ValueError, KeyError):
    return None


def _check(path: pathlib.Path, shape: Sequence[int]) -> tuple[str, ...]:
  """Compares some of the pixels with their checksums; returns the notes.

  Raises:
    ChecksumError, OSError, ValueError, KeyError: if they are not there, or not
      what was written.
  """
  with np.load(path.with_suffix(".npz"), allow_pickle=False) as index:
    blocks, notes = index["blocks"].tolist(), index["notes"].tolist()
  count, size = shape[0], int(np.prod(shape[1:]))
  starts = range(0, count, BLOCK)
  lengths = [size * min(BLOCK, count - start) for start in starts]
  checksums.compare(path, lengths, blocks, verify=False)
  return tuple(notes)


def _write(
  path: pathlib.Path, images: Iterator[np.ndarray], notes: Sequence[str]
) -> None:
  blocks = []
  with atomic.writing(path) as file:
    for block in images:
      data = block.tobytes()
      blocks += checksums.digests(data)
      file.write(data)
  with atomic.writing(path.with_suffix(".npz")) as file:
    lines = np.array(notes, str if notes else "U1")
    np.savez(file, blocks=np.array(blocks, "S16"), notes=lines)
