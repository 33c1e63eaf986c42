"""Depthwise convolution and its gradients as kernels for NVIDIA GPUs.

Written in Pallas for the Triton compiler. Both cut images into tiles of some
rows, columns and channels, one after the other in registers: of a row that is
loaded, every sum takes its share. What lies outside of the images, and the
channels and columns by which the last tiles are too wide, are masked. Sums are
in float32 and free of atomics, so that equal inputs give equal bits.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mn_jax.ops.gpu import taps
from mn_jax.ops.gpu.elementwise import Elementwise

# The sizes below come from the compiler's counts of registers; none has been
# measured.

# Channels of a tile; 16 of two bytes fill a sector of memory.
_CHANNELS = (64, 32, 16)
# Rows of a tile, which share the rows that are loaded.
_ROWS = 4
# Values of one row of a tile at most.
_VALUES = 1024
# Registers of a thread for the taps of its values. Sums take twice the room.
_REGISTERS = 100
# Programs that the tiles are divided among, so that sums have few parts:
# several for each of a large GPU's processors.
_PROGRAMS = 2048


@dataclasses.dataclass(frozen=True)
class _Tiling:
  """How [rows, columns, channels] of every image are cut into tiles.

  Columns and channels of a tile are powers of two, as Triton wants.

  Attributes:
    size: rows, columns and channels of the image.
    tile: of a tile.
    warps: of 32 threads, for each tile.
  """

  size: tuple[int, int, int]
  tile: tuple[int, int, int]
  warps: int

  @property
  def blocks(self) -> tuple[int, int, int]:
    """Tiles along each axis."""
    rows, cols, channels = map(pl.cdiv, self.size, self.tile)
    return rows, cols, channels

  def corner(self, row_block, col_block, channel_block) -> "_Corner":
    """Where a tile begins."""
    rows, width, depth = self.tile
    line = channel_block * depth + jnp.arange(depth)
    chans = jnp.broadcast_to(line[None, :], (width, depth))
    return _Corner(
      rows=rows,
      row=row_block * rows,
      cols=col_block * width + jnp.arange(width)[:, None],
      line=line,
      chans=chans,
      channels=self.size[2] if self.size[2] % depth else None,
    )

  def at(self, tile, channel_block) -> tuple[jax.Array, "_Corner"]:
    """The image and the corner of a tile of all images."""
    rest, col_block = _split(tile, self.blocks[1])
    image, row_block = _split(rest, self.blocks[0])
    return image, self.corner(row_block, col_block, channel_block)


@dataclasses.dataclass(frozen=True)
class _Corner:
  """A tile's first row, and what all its rows have in common.

  Attributes:
    rows: of the tile.
    row: i32, the first.
    cols: i32[width, 1].
    line: i32[depth], its channels.
    chans: i32[width, depth], the same for every column: a thread loads what
      its own values need.
    channels: how many there are; None: all that are in the tile.
  """

  rows: int
  row: jax.Array
  cols: jax.Array
  line: jax.Array
  chans: jax.Array
  channels: int | None

  def present(self, chans) -> jax.Array | None:
    """Which of these channels there are; None: all."""
    return None if self.channels is None else chans < self.channels

  def pixels(self, row, cols, size) -> tuple[jax.Array, jax.Array]:
    """Of a row of an image of a size: i32[width, 1], and which exist."""
    mask = (row >= 0) & (row < size[0]) & (cols >= 0) & (cols < size[1])
    mask = jnp.broadcast_to(mask, self.chans.shape)
    if self.channels is not None:
      mask = mask & self.present(self.chans)
    return row * size[1] + cols, mask

  def load(self, ref, image, pixels, mask) -> jax.Array:
    """f32[width, depth] of an image, zero where masked."""
    where = ref.at[image, pixels, self.chans]
    return plgpu.load(where, mask=mask, other=0.0).astype(jnp.float32)

  def vector(self, ref, *index) -> jax.Array:
    """f32[width, depth]; of absent channels anything."""
    where = ref.at[*index, self.chans]
    values = plgpu.load(where, mask=self.present(self.chans))
    return values.astype(jnp.float32)

  def store_sum(self, ref, index, values) -> None:
    """Writes a vector, the sum of a tile's row over its columns."""
    total = jnp.sum(values, axis=0)
    where = ref.at[*index, self.line]
    plgpu.store(where, total, mask=self.present(self.line))


def _tiling(size: tuple[int, int, int], held: int) -> _Tiling:
  """The tiles of images of a size, if a thread holds so much for each value."""
  rows, cols, channels = size
  # A power of two, as the tile's size is one.
  per_thread = min(8, 1 << (max(_REGISTERS // held, 1).bit_length() - 1))
  depth = _block(channels, _CHANNELS)
  widest = min(max(_VALUES // depth, 1), pl.next_power_of_2(cols))
  width = _block(cols, (widest, max(widest // 2, 1)))
  return _Tiling(
    size=size,
    tile=(min(rows, _ROWS), width, depth),
    warps=min(max(width * depth // (32 * per_thread), 1), 8),
  )


def _block(size: int, choices: Sequence[int]) -> int:
  """The choice that covers `size` with the least excess, the larger of two."""
  return min(choices, key=lambda n: (pl.cdiv(size, n) * n, -n))


def _split(index, size: int) -> tuple:
  """An index of two axes as one along each, the second of a size."""
  # Neither is negative: no need of Python's floors.
  size = np.int32(size)
  return lax.div(index, size), lax.rem(index, size)


def _flat(images: jax.Array) -> jax.Array:
  """f[batch, h * w, channels] of f[batch, h, w, channels]."""
  return images.reshape(images.shape[0], -1, images.shape[3])


def _refs(given: Elementwise) -> tuple[tuple[jax.Array, ...], ...]:
  """What a kernel is given: images as [batch, pixels, channels], vectors."""
  return tuple(_flat(image) for image in given.images), given.vectors


def _reader(refs, function, corner: _Corner, image, size) -> Callable:
  """f32[width, depth] of an `Elementwise` at (row, cols), zero outside."""
  images, vectors = refs
  vectors = [corner.vector(ref) for ref in vectors]

  def read(row, cols) -> jax.Array:
    pixels, mask = corner.pixels(row, cols, size)
    values = [corner.load(ref, image, pixels, mask) for ref in images]
    if function is None:
      return values[0]
    return jnp.where(mask, function(*values, *vectors), 0.0)

  return read


def correlate(
  plan: taps.Plan,
  given: Elementwise,
  kernel: jax.Array,
  finish: Elementwise | None = None,
  *,
  sums: int = 0,
  interpret: bool,
) -> tuple[jax.Array, jax.Array]:
  """The sum of a plan for every channel.

  Args:
    plan: what is added.
    given: what is read.
    kernel: f[kh, kw, 1, channels].
    finish: its images have the output's shape. Its function takes a value of
      the sum before theirs, and returns the value that is written and `sums`
      others, which are added up over images and pixels.
    sums: how many.
    interpret: run as plain JAX on any platform, slowly, for tests.

  Returns:
    f[batch, *plan.out, channels] of the kernel's dtype; f32[sums, channels].
  """
  finish = finish or Elementwise()
  batch, channels = given.images[0].shape[0], kernel.shape[3]
  steps = [pl.cdiv(n, plan.write) for n in plan.out]
  # What is computed on the way takes about as many registers as the taps.
  plain = given.function is None and finish.function is None
  held = (1 if plain else 2) * kernel.shape[0] * kernel.shape[1]
  tiling = _tiling((*steps, channels), held)
  tiles = batch * tiling.blocks[0] * tiling.blocks[1]
  # Each program takes so many tiles of its channels, one after the other.
  share = pl.cdiv(tiles * tiling.blocks[2], _PROGRAMS)
  parts = pl.cdiv(tiles, share)
  y, totals = pl.pallas_call(
    functools.partial(
      _correlate_part,
      plan=plan,
      tiling=tiling,
      share=share,
      tiles=tiles,
      sums=sums,
      functions=(given.function, finish.function),
    ),
    out_shape=(
      jax.ShapeDtypeStruct(
        (batch, plan.out[0] * plan.out[1], channels), kernel.dtype
      ),
      [jax.ShapeDtypeStruct((parts, sums, channels), jnp.float32)] * bool(sums),
    ),
    grid=(parts * tiling.blocks[2],),
    compiler_params=plgpu.CompilerParams(num_warps=tiling.warps),
    interpret=interpret,
    name="depthwise",
  )(_refs(given), kernel[:, :, 0], _refs(finish))
  totals = jnp.sum(totals[0], axis=0) if sums else jnp.zeros((0, channels))
  return y.reshape(batch, *plan.out, channels), totals


def _correlate_part(
  given,
  kernel_ref,
  finish,
  y_ref,
  totals_refs,
  *,
  plan,
  tiling,
  share,
  tiles,
  sums,
  functions,
):
  part, channel_block = _split(pl.program_id(0), tiling.blocks[2])
  corner = tiling.corner(0, 0, channel_block)
  kernel = {
    (r.tap, c.tap): corner.vector(kernel_ref, r.tap, c.tap)
    for r in plan.terms[0]
    for c in plan.terms[1]
  }
  images, vectors = finish
  vectors = [corner.vector(ref) for ref in vectors]

  def add_tile(tile, totals):
    image, corner = tiling.at(tile, channel_block)
    read = _reader(given, functions[0], corner, image, plan.size)
    for (q, r, c), value in _sums_of_taps(plan, corner, kernel, read).items():
      pixels, mask = corner.pixels(
        plan.write * (corner.row + q) + r,
        plan.write * corner.cols + c,
        plan.out,
      )
      if functions[1] is not None:
        others = [corner.load(ref, image, pixels, mask) for ref in images]
        value, *terms = functions[1](value, *others, *vectors)
        totals = tuple(
          total + jnp.where(mask, term, 0.0)
          for total, term in zip(totals, terms, strict=True)
        )
      where = y_ref.at[image, pixels, corner.chans]
      plgpu.store(where, value.astype(y_ref.dtype), mask=mask)
    return totals

  start = part * share
  stop = jnp.minimum(start + share, tiles)
  zeros = jnp.zeros(corner.chans.shape, jnp.float32)
  totals = lax.fori_loop(start, stop, add_tile, (zeros,) * sums)
  for k, total in enumerate(totals):
    corner.store_sum(totals_refs[0], (part, k), total)


def _sums_of_taps(plan, corner, kernel, read) -> dict:
  """(row of the tile, phases) -> f32[width, depth]."""
  rows, phases = range(corner.rows), range(plan.write)
  sums = {
    key: jnp.zeros(corner.chans.shape, jnp.float32)
    for key in itertools.product(rows, phases, phases)
  }
  for row, row_uses in plan.rows(corner.rows).items():
    for col, col_uses in plan.cols().items():
      values = read(plan.read * corner.row + row, plan.read * corner.cols + col)
      for (q, r), c in itertools.product(row_uses, col_uses):
        sums[q, r.phase, c.phase] += values * kernel[r.tap, c.tap]
  return sums


def kernel_gradient(
  plan: taps.Plan,
  given: Elementwise,
  gradient: Elementwise,
  *,
  interpret: bool,
) -> jax.Array:
  """Sums over images and pixels of input times output gradient.

  Args:
    plan: that of the forward pass.
    given: the input.
    gradient: of the output.
    interpret: see `correlate`.

  Returns:
    f32[kh, kw, 1, channels].
  """
  batch, *_, channels = given.images[0].shape
  window = tuple(len(terms) for terms in plan.terms)
  tiling = _tiling((*plan.out, channels), 2 * window[0] * window[1])
  tiles = batch * tiling.blocks[0] * tiling.blocks[1]
  # Each program takes so many tiles of its channels, one after the other.
  share = pl.cdiv(tiles * tiling.blocks[2], _PROGRAMS)
  parts = pl.cdiv(tiles, share)
  sums = pl.pallas_call(
    functools.partial(
      _kernel_gradient_part,
      plan=plan,
      tiling=tiling,
      share=share,
      tiles=tiles,
      functions=(given.function, gradient.function),
    ),
    out_shape=jax.ShapeDtypeStruct((parts, *window, channels), jnp.float32),
    grid=(parts * tiling.blocks[2],),
    compiler_params=plgpu.CompilerParams(num_warps=tiling.warps),
    interpret=interpret,
    name="depthwise_kernel_gradient",
  )(_refs(given), _refs(gradient))
  return jnp.sum(sums, axis=0)[:, :, None]


def _kernel_gradient_part(
  given, gradient, sums_ref, *, plan, tiling, share, tiles, functions
):
  part, channel_block = _split(pl.program_id(0), tiling.blocks[2])
  window = [(r.tap, c.tap) for r in plan.terms[0] for c in plan.terms[1]]

  def add_tile(tile, totals):
    sums = dict(zip(window, totals, strict=True))
    image, corner = tiling.at(tile, channel_block)
    read = _reader(given, functions[0], corner, image, plan.size)
    read_gradient = _reader(gradient, functions[1], corner, image, plan.out)
    gradients = [
      read_gradient(corner.row + q, corner.cols) for q in range(tiling.tile[0])
    ]
    for row, uses in plan.rows(tiling.tile[0]).items():
      for c in plan.terms[1]:
        values = read(
          plan.read * corner.row + row, plan.read * corner.cols + c.shift
        )
        for q, r in uses:
          sums[r.tap, c.tap] += values * gradients[q]
    return tuple(sums.values())

  zeros = jnp.zeros(tiling.tile[1:], jnp.float32)
  start = part * share
  stop = jnp.minimum(start + share, tiles)
  totals = lax.fori_loop(start, stop, add_tile, (zeros,) * len(window))
  corner = tiling.corner(0, 0, channel_block)
  for tap, total in zip(window, totals, strict=True):
    corner.store_sum(sums_ref, (part, *tap), total)
