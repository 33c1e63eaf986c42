"""Patches of a slide in their surroundings, put together from x and y.

A patch becomes the middle of a square of whole patches, those beside it on its
slide. Where there is none the square is white, like glass: data sets of patches
leave out what has no tissue. The label stays that of the patch in the middle.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterator

import numpy as np

from mn_jax.data import derived
from mn_jax.data.cache import PackedCache

# Of the form of the squares: another one makes other pixels.
_VERSION = 1
_WHITE = 255


def neighbours(
  groups: np.ndarray, positions: np.ndarray, *, step: int, reach: int
) -> np.ndarray:
  """Finds the patches around each patch.

  Args:
    groups: str[n], the slide of each.
    positions: i32[n, 2], x and y on the slide in pixels.
    step: of the grid of patches, in pixels.
    reach: patches on each side.

  Returns:
    i64[n, side, side] with side = 2 reach + 1, rows of the patches from top to
    bottom and left to right; -1 where there is none. In the middle is the patch
    itself.
  """
  row_of_place = {
    (group, x, y): row
    for row, (group, (x, y)) in enumerate(
      zip(groups.tolist(), positions.tolist(), strict=True)
    )
  }
  offsets = [k * step for k in range(-reach, reach + 1)]
  found = [
    [
      [row_of_place.get((group, x + right, y + down), -1) for right in offsets]
      for down in offsets
    ]
    for group, (x, y) in zip(groups.tolist(), positions.tolist(), strict=True)
  ]
  return np.array(found, np.int64)


def surround(
  cache: PackedCache, *, step: int, reach: int, folder: pathlib.Path
) -> PackedCache:
  """Returns a data set of patches with those around them; computed once.

  Args:
    cache: patches u8[n, size, size, 3] with their places.
    step: of the grid of patches, in pixels of the slide.
    reach: patches on each side.
    folder: where the pixels are kept, and found by the next call.

  Returns:
    The data set with images u8[n, side * size, side * size, 3].
  """
  # Names that change move patches, of the same pixels, to other places.
  places = [*cache.groups.tolist(), *cache.positions.ravel().tolist()]
  fields = [_VERSION, cache.sha256, step, reach, *places]
  sha256 = hashlib.sha256("\n".join(map(str, fields)).encode()).hexdigest()
  count, size = cache.images.shape[:2]
  side = (2 * reach + 1) * size
  images, notes = derived.open_or_build(
    folder / f"context-{sha256[:16]}.u8",
    (count, side, side, 3),
    functools.partial(_build, cache, step, reach),
  )
  return dataclasses.replace(
    cache, images=images, sha256=sha256, notes=(*cache.notes, *notes)
  )


def squares(images: np.ndarray, around: np.ndarray) -> np.ndarray:
  """Puts patches together.

  Args:
    images: u8[n, size, size, 3].
    around: i64[k, side, side], rows of images, -1 for none.

  Returns:
    u8[k, side * size, side * size, 3].
  """
  count, side, _ = around.shape
  size = images.shape[1]
  tiles = images[np.maximum(around, 0)]
  tiles[around < 0] = _WHITE
  square = tiles.transpose(0, 1, 3, 2, 4, 5)
  return square.reshape(count, side * size, side * size, 3)


def _build(
  cache: PackedCache, step: int, reach: int
) -> tuple[Iterator[np.ndarray], tuple[str, ...]]:
  """Returns the squares, and a line on how many patches they lack."""
  around = neighbours(cache.groups, cache.positions, step=step, reach=reach)
  others = around.reshape(len(around), -1)
  others = np.delete(others, others.shape[1] // 2, axis=1)
  there = others >= 0
  blocks = (
    squares(cache.images, around[start : start + derived.BLOCK])
    for start in range(0, len(around), derived.BLOCK)
  )
  note = (
    f"{there.mean():.1%} of the patches around a patch are in the data set; "
    f"{(~there.any(axis=1)).mean():.1%} of the patches have none around them"
  )
  return blocks, (note,)
