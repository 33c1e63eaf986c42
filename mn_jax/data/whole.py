"""Whole images of different sizes: their middle squares, and random crops.

Training crops from all of an image, evaluation sees the middle square; both are
made when they are read, by threads.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mn_jax.data import resizing

# Largest ratio of a random crop's sides, and how often one is drawn before the
# middle is taken: Szegedy et al. 2015, section 6; torchvision's
# RandomResizedCrop, which the published recipes used.
_RATIO = 4 / 3
_TRIES = 10
# Random numbers of a crop: area and ratio of every try, and its place.
UNIFORMS = 2 * _TRIES + 2
# Images that a thread makes in one go.
_TASK = 8


class Whole:
  """Images of different sizes, memory-mapped one behind the other."""

  def __init__(self, pixels: np.ndarray, sizes: np.ndarray):
    """Sets up where each image starts.

    Args:
      pixels: u8[bytes] of all images, RGB.
      sizes: i32[n, 2], height and width of each.
    """
    self.sizes = sizes
    self._pixels = pixels
    self._stops = np.cumsum(num_bytes(sizes))

  def __len__(self) -> int:
    return len(self.sizes)

  def __getitem__(self, row: int) -> np.ndarray:
    """Returns an image, u8[h, w, 3], of which nothing is copied."""
    height, width = self.sizes[row].tolist()
    stop = int(self._stops[row])
    flat = self._pixels[stop - height * width * 3 : stop]
    return flat.reshape(height, width, 3)


@dataclasses.dataclass(frozen=True)
class Squares:
  """The middle squares of whole images, indexed as an array of them.

  Attributes:
    whole: the images.
    size: height and width of the squares in pixels.
    share: of the image's short side that a square has.
  """

  whole: Whole
  size: int
  share: float

  dtype = np.dtype(np.uint8)
  ndim = 4

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """As of an array: images, height, width, channels."""
    return (len(self.whole), self.size, self.size, 3)

  @property
  def nbytes(self) -> int:
    """Bytes of all squares, which are never in memory together."""
    return math.prod(self.shape)

  def __len__(self) -> int:
    return len(self.whole)

  def __getitem__(self, key: Any) -> np.ndarray:
    """Makes the squares of rows: any index of the first axis of an array.

    Returns:
      u8[..., size, size, 3].
    """
    rows = self._rows[key]
    squares = _map(self._square, np.ravel(rows).tolist())
    shape = (*np.shape(rows), *self.shape[1:])
    return np.array(squares, np.uint8).reshape(shape)

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
    """Makes all squares."""
    del copy
    return np.asarray(self[:], dtype)

  @functools.cached_property
  def _rows(self) -> np.ndarray:
    return np.arange(len(self))

  def _square(self, row: int) -> np.ndarray:
    return resizing.resize_and_crop(
      self.whole[row], self.size, share=self.share
    )


@dataclasses.dataclass(frozen=True)
class RandomCrops:
  """Random resized crops of whole images.

  Attributes:
    whole: the images.
    size: height and width of the results in pixels.
    min_area: smallest share of an image's area that a crop has.
  """

  whole: Whole
  size: int
  min_area: float

  def take(self, rows: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Crops images and resizes the crops, bilinear with antialiasing.

    Args:
      rows: i64[n], which images.
      uniforms: f64[n, UNIFORMS] in [0, 1), the crops' randomness.

    Returns:
      u8[n, size, size, 3].
    """
    boxes = draw(self.whole.sizes[rows], uniforms, min_area=self.min_area)
    crops = zip(rows.tolist(), boxes.tolist(), strict=True)
    return np.stack(_map(self._crop, crops))

  def _crop(self, crop: tuple[int, tuple[int, int, int, int]]) -> np.ndarray:
    row, (top, left, height, width) = crop
    image = self.whole[row][top : top + height, left : left + width]
    return resizing.resize(np.ascontiguousarray(image), self.size)


def draw(
  sizes: np.ndarray, uniforms: np.ndarray, *, min_area: float
) -> np.ndarray:
  """Draws a rectangle in each image, as torchvision's RandomResizedCrop does.

  The share of the area is uniform from `min_area` to 1 and the logarithm of the
  ratio of the sides in pixels is uniform up to 4/3. The first of ten such
  rectangles that is no larger than the image is placed at random; if none is,
  the largest one in the middle that has a valid ratio is taken.

  Args:
    sizes: i32[n, 2], height and width in pixels.
    uniforms: f64[n, UNIFORMS] in [0, 1).
    min_area: smallest share of the area, above 0.

  Returns:
    i64[n, 4]: top, left, height and width in pixels.
  """
  high, wide = sizes[:, :1].astype(np.float64), sizes[:, 1:].astype(np.float64)
  share = min_area + (1 - min_area) * uniforms[:, :_TRIES]
  ratio = _RATIO ** (2 * uniforms[:, _TRIES : 2 * _TRIES] - 1)
  width = np.round(np.sqrt(share * high * wide * ratio))
  height = np.round(np.sqrt(share * high * wide / ratio))
  fits = (height >= 1) & (height <= high) & (width >= 1) & (width <= wide)
  first, found = fits.argmax(axis=1, keepdims=True), fits.any(axis=1)
  tried = np.concatenate(
    [np.take_along_axis(side, first, axis=1) for side in (height, width)], 1
  )
  largest = np.concatenate(
    [
      np.minimum(high, np.round(wide * _RATIO)),
      np.minimum(wide, np.round(high * _RATIO)),
    ],
    axis=1,
  )
  sides = np.where(found[:, None], tried, largest).astype(np.int64)
  free = sizes - sides
  placed = np.floor(uniforms[:, 2 * _TRIES :] * (free + 1)).astype(np.int64)
  return np.concatenate(
    [np.where(found[:, None], placed, free // 2), sides], axis=1
  )


def num_bytes(sizes: np.ndarray) -> np.ndarray:
  """Returns i64[n], the bytes of images of sizes i32[n, 2]."""
  return np.prod(sizes, axis=1, dtype=np.int64) * 3


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
  return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


def _map(
  function: Callable[[Any], np.ndarray], values: Iterable[Any]
) -> list[np.ndarray]:
  """Returns the results of a function, computed by threads, in order."""

  def several(values: tuple) -> list[np.ndarray]:
    return [function(value) for value in values]

  tasks = itertools.batched(values, _TASK)
  return [*itertools.chain.from_iterable(_pool().map(several, tasks))]
