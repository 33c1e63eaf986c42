"""Assembles a whole-slide image, or a map of it, from its patches."""

import dataclasses
import functools
import math

import numpy as np

_MAX_CELLS = 1 << 24  # of a map: 128 MiB of float64 for each channel


@dataclasses.dataclass(frozen=True)
class Grid:
  """The coarsest grid on which every patch covers whole cells.

  Attributes:
    corners: i64[n, 2], column and row of each patch's upper left cell; x runs
      to the right, y down.
    side: side of a patch in cells.
    cell: side of a cell in pixels of the slide.
  """

  corners: np.ndarray
  side: int
  cell: int

  def shape(self) -> tuple[int, int]:
    """Returns the rows and columns of cells that the patches span."""
    columns, rows = (self.corners.max(axis=0) + self.side).tolist()
    return rows, columns


def grid(positions: np.ndarray, size: int) -> Grid:
  """Lays the grid of the patches of one slide.

  Args:
    positions: i[n, 2], x and y of each upper left pixel within the slide.
    size: height and width of a patch in pixels of the slide.

  Raises:
    ValueError: if the grid would have too many cells: such patches are not all
      of one slide.
  """
  corners = positions.astype(np.int64)
  corners = corners - corners.min(axis=0)
  cell = functools.reduce(math.gcd, np.unique(corners).tolist(), size)
  layout = Grid(corners // cell, size // cell, cell)
  _check(layout.shape())
  return layout


def average(
  corners: np.ndarray, tiles: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
  """Puts tiles in place and averages them where they overlap.

  Args:
    corners: i64[n, 2], column and row of each tile's upper left cell.
    tiles: [n, side, side] or [n, side, side, channels], of any number type.
    shape: rows and columns of the result.

  Returns:
    f64[rows, columns] or f64[rows, columns, channels]; NaN where no tile is.
  """
  _check(shape)
  side, channels = tiles.shape[1], tiles.shape[3:]
  total = np.zeros((*shape, *channels))
  count = np.zeros(shape, np.int64)
  for (column, row), tile in zip(corners.tolist(), tiles, strict=True):
    place = np.s_[row : row + side, column : column + side]
    total[place] += tile
    count[place] += 1
  count = count.reshape(*shape, *(1 for _ in channels))
  return np.divide(
    total, count, out=np.full_like(total, np.nan), where=count > 0
  )


def spread(layout: Grid, values: np.ndarray) -> np.ndarray:
  """Maps one number per patch onto the slide.

  Args:
    layout: the grid of the patches.
    values: f[n], one per patch.

  Returns:
    f64[rows, columns], averaged where patches overlap; NaN where none is.
  """
  tiles = np.broadcast_to(
    values.astype(np.float64)[:, None, None],
    (len(values), layout.side, layout.side),
  )
  return average(layout.corners, tiles, layout.shape())


def mosaic(layout: Grid, images: np.ndarray, *, largest: int) -> np.ndarray:
  """Assembles the image of a slide from its patches.

  Args:
    layout: the grid of the patches.
    images: u8[n, h, h, 3].
    largest: maximum height and width of the result in pixels, unless it has
      more cells; each patch is shrunk by averaging.

  Returns:
    f64[rows * k, columns * k, 3] in [0, 255] with a whole number k of pixels
    per cell, averaged where patches overlap; NaN where none is.
  """
  shape = layout.shape()
  finest = max(1, images.shape[1] // layout.side)
  k = max(1, min(finest, largest // max(shape)))
  tiles = shrink(images, layout.side * k)
  rows, columns = shape
  return average(layout.corners * k, tiles, (rows * k, columns * k))


def shrink(images: np.ndarray, side: int) -> np.ndarray:
  """Shrinks images by averaging over areas, exactly.

  Args:
    images: u8[n, h, h, 3].
    side: height and width of the result in pixels.

  Returns:
    f64[n, side, side, 3] in [0, 255].
  """
  # Row i takes the share of each pixel that lies in [i, i + 1) * h / side.
  edges = np.arange(side + 1) * images.shape[1] / side
  pixels = np.arange(images.shape[1])
  covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(
    edges[:-1, None], pixels
  )
  weights = covered.clip(min=0) * side / images.shape[1]
  return np.einsum("ah,nhwc,bw->nabc", weights, images, weights, optimize=True)


def _check(shape: tuple[int, int]) -> None:
  if math.prod(shape) > _MAX_CELLS:
    raise ValueError(f"{shape[1]} x {shape[0]} cells, more than {_MAX_CELLS}")
