"""Surveys the images of a listing: decodes every one, and packs nothing.

It finds sizes, formats and pixel modes, the files that cannot be read, and the
fingerprints by which duplicates are found.
"""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Sequence

import numpy as np

from mn_jax.data import decode, duplicates
from mn_jax.data.datasets.source import ImageFiles
from mn_jax.errors import InputError

# Height and width of what fingerprints are made of, in pixels.
SIDE = 128
_TASK = 16  # images that a thread reads in one go
_CHUNK = 1024  # images whose pixels are in memory


@dataclasses.dataclass(frozen=True)
class Survey:
  """What decoding every image of a listing found.

  Attributes:
    rows: i64[m], rows of the listing whose images can be read.
    headers: of these.
    num_bytes: i64[m], sizes of their files.
    unreadable: (row, reason) of the others.
    fingerprints: of the images of `rows`; digests are of the files.
  """

  rows: np.ndarray
  headers: tuple[decode.Header, ...]
  num_bytes: np.ndarray
  unreadable: tuple[tuple[int, str], ...]
  fingerprints: duplicates.Fingerprints

  @property
  def sizes(self) -> np.ndarray:
    """i64[m, 2], height and width in pixels."""
    sizes = [(header.height, header.width) for header in self.headers]
    return np.array(sizes, np.int64).reshape(-1, 2)


@dataclasses.dataclass(frozen=True)
class _Image:
  header: decode.Header
  num_bytes: int
  digest: bytes


def survey(
  source: ImageFiles,
  *,
  bits: int = 16,
  progress: Callable[[int, int], None] | None = None,
) -> Survey:
  """Decodes all images on a pool of threads; nothing is written.

  Args:
    source: the images.
    bits: that the values of 16-bit grey images use.
    progress: called with the number of images done, and of all.

  Raises:
    InputError: if none of them can be read.
  """
  total = len(source.listing)
  rows: list[int] = []
  images: list[_Image] = []
  unreadable: list[tuple[int, str]] = []
  prints: list[duplicates.Fingerprints] = []

  def read(chunk: Sequence[int]) -> list[tuple[_Image, np.ndarray] | str]:
    return [_read(source, row, bits) for row in chunk]

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, total, _CHUNK):
      listed = range(start, min(start + _CHUNK, total))
      found = itertools.chain.from_iterable(
        pool.map(read, itertools.batched(listed, _TASK))
      )
      pixels = []
      for row, result in zip(listed, found, strict=True):
        if isinstance(result, str):
          unreadable.append((row, result))
          continue
        rows.append(row)
        images.append(result[0])
        pixels.append(result[1])
      if pixels:
        prints.append(
          duplicates.fingerprints(np.stack(pixels), np.arange(len(pixels)))
        )
      if progress:
        progress(listed.stop, total)
  if not rows:
    raise InputError(
      f"data.path: got {total} images of which none can be read (the first: "
      f"{unreadable[0][1]}); valid: images of {', '.join(decode.FORMATS)}"
    )
  return Survey(
    rows=np.array(rows, np.int64),
    headers=tuple(image.header for image in images),
    num_bytes=np.array([image.num_bytes for image in images], np.int64),
    unreadable=tuple(unreadable),
    fingerprints=_joined(prints, [image.digest for image in images]),
  )


def equal_files(found: Survey) -> list[np.ndarray]:
  """Returns i64[k] each, rows of the listing whose files are the same."""
  order, place = _by_content(found)
  sets = np.split(order, np.flatnonzero(np.diff(place[order])) + 1)
  return [found.rows[places] for places in sets if len(places) > 1]


def look_alikes(
  found: Survey,
  *,
  max_distance: int,
  min_correlation: float,
  progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
  """Finds images that look alike and are not the same file.

  Of equal files the first stands for all. The time grows with the square of the
  number of images.

  Args:
    found: of all images.
    max_distance, min_correlation: see `duplicates.similar_pairs`.
    progress: called with the number of images compared, and of all.

  Returns:
    i64[k, 2], rows of the listing, the smaller first.
  """
  order, place = _by_content(found)
  is_first = np.diff(place[order], prepend=-1) > 0
  first = np.sort(order[is_first])
  prints = duplicates.Fingerprints(
    *(
      getattr(found.fingerprints, field.name)[first]
      for field in dataclasses.fields(found.fingerprints)
    )
  )
  pairs = duplicates.similar_pairs(
    prints,
    prints,
    max_distance=max_distance,
    min_correlation=min_correlation,
    progress=progress,
  )
  return found.rows[first[pairs[pairs[:, 0] < pairs[:, 1]]]]


def _by_content(found: Survey) -> tuple[np.ndarray, np.ndarray]:
  """Returns i64[m], images with equal files together, and what each contains.

  The latter is i64[m] too, a number for each content.
  """
  _, place = np.unique(found.fingerprints.digests, return_inverse=True)
  return np.argsort(place, kind="stable"), place


def _read(
  source: ImageFiles, row: int, bits: int
) -> tuple[_Image, np.ndarray] | str:
  """Returns an image and its pixels, or why it cannot be read."""
  try:
    data = source.files.read(source.listing.paths[row])
    pixels = decode.decode(data, SIDE, bits=bits, maxima=source.maxima)
    header = decode.header(data)
  except (decode.DecodeError, OSError) as error:
    return str(error)
  return _Image(header, len(data), hashlib.sha256(data).digest()), pixels


def _joined(
  prints: Sequence[duplicates.Fingerprints], digests: Sequence[bytes]
) -> duplicates.Fingerprints:
  """Returns the fingerprints of all chunks, with the digests of the files."""
  return duplicates.Fingerprints(
    digests=np.array(digests, "S32"),
    hashes=np.concatenate([p.hashes for p in prints]),
    thumbnails=np.concatenate([p.thumbnails for p in prints]),
    blank=np.concatenate([p.blank for p in prints]),
  )
