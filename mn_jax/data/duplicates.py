"""Finds duplicate images: equal pixels, and near duplicates by perceptual hash.

The hash is the pHash of Zauner 2010 ("Implementation and benchmarking of
perceptual image hash functions"): the lowest 8 x 8 frequencies of a grey
thumbnail of 32 x 32, each above their median or not. Photographs of one kind,
X-rays above all, have similar hashes anyway, so a pair counts only if its
thumbnails of a third of the size correlate as well. Blank images look alike
without being copies: they are compared by content only.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

# Near duplicates: bits of 64 in which hashes may differ, and the least
# correlation of thumbnails.
MAX_DISTANCE, MIN_CORRELATION = 6, 0.97
_HASHED_SIDE = 32
_FREQUENCIES = 8
# Standard deviation of a thumbnail, in grey levels, below which it is blank.
_BLANK = 4.0
_BATCH = 1024
# f32[8, 32], the lowest frequencies of the type-II cosine transform.
_COSINES = np.cos(
  np.outer(np.arange(_FREQUENCIES), np.arange(_HASHED_SIDE) + 0.5)
  * np.pi
  / _HASHED_SIDE
).astype(np.float32)
_PAIRS = 1 << 22  # compared at once


@dataclasses.dataclass(frozen=True)
class Fingerprints:
  """What images are compared by, one row per image.

  Attributes:
    digests: S32[n], sha256 of the pixels.
    hashes: u64[n].
    thumbnails: f32[n, d], grey, of mean 0 and norm 1; 0 where blank.
    blank: bool[n].
  """

  digests: np.ndarray
  hashes: np.ndarray
  thumbnails: np.ndarray
  blank: np.ndarray


def fingerprints(
  images: np.ndarray,
  rows: np.ndarray,
  progress: Callable[[int, int], None] | None = None,
) -> Fingerprints:
  """Computes digests, perceptual hashes and thumbnails of images.

  Args:
    images: u8[m, h, w, 3], RGB in [0, 255].
    rows: i64[n], which of `images`.
    progress: called with the number of images done, and of all.
  """
  height, width = images.shape[1:3]
  to_waves = [
    _COSINES @ _shrink(size, _HASHED_SIDE) for size in (height, width)
  ]
  to_small = [_shrink(size, min(size // 3 + 1, 64)) for size in (height, width)]
  digests, hashes, thumbnails = [], [], []
  for start in range(0, len(rows), _BATCH):
    batch = images[rows[start : start + _BATCH]]
    digests += [hashlib.sha256(image).digest() for image in batch]
    grey = batch @ np.array([0.299, 0.587, 0.114], np.float32)
    waves = (to_waves[0] @ grey @ to_waves[1].T).reshape(len(batch), -1)
    bits = waves > np.median(waves, axis=1, keepdims=True)
    hashes.append(np.packbits(bits, axis=1).view(np.uint64)[:, 0])
    small = to_small[0] @ grey @ to_small[1].T
    thumbnails.append(small.reshape(len(batch), -1))
    if progress:
      progress(min(start + _BATCH, len(rows)), len(rows))
  small = np.concatenate(thumbnails)
  small -= small.mean(1, keepdims=True)
  blank = small.std(1) < _BLANK
  norm = np.linalg.norm(small, axis=1, keepdims=True)
  return Fingerprints(
    digests=np.array(digests, "S32"),
    hashes=np.concatenate(hashes),
    thumbnails=np.where(blank[:, None], 0, small / np.maximum(norm, 1e-6)),
    blank=blank,
  )


def equal_pairs(one: Fingerprints, other: Fingerprints) -> np.ndarray:
  """Finds images of equal pixels in two sets.

  Returns:
    i64[k, 2]: rows of both, in order of the second.
  """
  rows: dict[bytes, list[int]] = {}
  for row, digest in enumerate(one.digests.tolist()):
    rows.setdefault(digest, []).append(row)
  pairs = [
    (first, row)
    for row, digest in enumerate(other.digests.tolist())
    for first in rows.get(digest, ())
  ]
  return np.array(pairs, np.int64).reshape(-1, 2)


def blank_note(blank: int, total: int) -> str:
  """Says that images were compared by content alone.

  Args:
    blank: number of them, at least 1.
    total: number of all images.
  """
  return (
    f"{blank:,} of {total:,} images have next to no contrast: look-alikes are "
    "not searched among them, only equal images"
  )


def similar_pairs(
  one: Fingerprints,
  other: Fingerprints,
  *,
  max_distance: int,
  min_correlation: float,
  progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
  """Finds images in two sets that look alike and are not equal.

  Args:
    one, other: fingerprints of the sets.
    max_distance: largest number of bits, of 64, in which hashes may differ.
    min_correlation: least correlation of the thumbnails, in [-1, 1].
    progress: called with the number of images of `other` done, and of all.

  Returns:
    i64[k, 2]: rows of both, in order of the second.
  """
  pairs = [np.zeros((0, 2), np.int64)]
  first_rows, second_rows = (np.flatnonzero(~p.blank) for p in (one, other))
  step = max(1, _PAIRS // max(1, len(first_rows)))
  for done in range(0, len(second_rows), step):
    rows = second_rows[done : done + step]
    differ = one.hashes[first_rows, None] ^ other.hashes[None, rows]
    close = np.bitwise_count(differ) <= max_distance
    a, b = close.nonzero()
    a, b = first_rows[a], rows[b]
    correlation = np.einsum("nd,nd->n", one.thumbnails[a], other.thumbnails[b])
    equal = one.digests[a] == other.digests[b]
    similar = (correlation >= min_correlation) & ~equal
    pairs.append(np.stack([a[similar], b[similar]], axis=1))
    if progress:
      progress(done + len(rows), len(second_rows))
  result = np.concatenate(pairs)
  return result[np.lexsort((result[:, 0], result[:, 1]))]


def _shrink(size: int, side: int) -> np.ndarray:
  """f32[side, size]: a line of pixels to fewer, bilinear, antialiased."""
  scale = max(1.0, size / side)
  centers = (np.arange(side) + 0.5) * size / side
  distance = np.abs(np.arange(size) + 0.5 - centers[:, None]) / scale
  weights = np.maximum(0, 1 - distance)
  return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
