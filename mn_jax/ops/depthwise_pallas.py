"""Depthwise convolution and both gradients as kernels for NVIDIA GPUs.

A candidate of `ops.depthwise`, in Pallas for the Triton compiler. Each kernel
reads its arrays as they are: no padded copy, every value once from memory and
for further taps from the caches. Sums are in float32 and free of atomics, so
that equal inputs give equal bits.

The forward pass and the input's gradient are one kernel, a sum over taps that
reads at one stride and writes at another. The kernel's gradient sums over
images and pixels: every program writes its part, and XLA adds the parts.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mn_jax.ops import padding as padding_lib
from mn_jax.ops.padding import Padding

# The sizes below were chosen by counting registers, not by measuring.

# Channels of a tile; 16 of two bytes fill a sector of memory.
_CHANNELS = (64, 32, 16)
# Rows of a tile, among which the loaded rows are shared.
_ROWS = 4
# Values of one row of a tile, and those of it that a thread keeps.
_VALUES = 1024
# Float32 values of a thread in the kernel's taps or in their gradient.
_REGISTERS = 72
# Programs that the kernel's gradient is divided among: several for each of a
# large GPU's processors.
_PROGRAMS = 1024


def depthwise_conv(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int,
  padding: Padding,
  interpret: bool = False,
) -> jax.Array:
  """`ops.depthwise.depthwise_conv` on a GPU.

  Args:
    x: f[batch, h, w, channels], of 32 bits or fewer.
    kernel: f[kh, kw, 1, channels], of the same dtype.
    stride: the same stride in both directions.
    padding: zero pixels around the image.
    interpret: run as plain JAX on any platform, slowly, for tests.

  Returns:
    f[batch, oh, ow, channels] of the dtype of `x`.
  """
  return _conv(stride, padding, interpret, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _conv(stride, padding, interpret, x, kernel):
  plan = _forward_plan(x.shape, kernel.shape[:2], stride, padding)
  return _correlate(plan, interpret, x, kernel)


def _conv_fwd(stride, padding, interpret, x, kernel):
  return _conv(stride, padding, interpret, x, kernel), (x, kernel)


def _conv_bwd(stride, padding, interpret, residuals, dy):
  x, kernel = residuals
  plan = _gradient_plan(x.shape, kernel.shape[:2], stride, padding)
  dx = _correlate(plan, interpret, dy, kernel)
  dkernel = _kernel_gradient(
    x, dy, kernel.shape[:2], stride, padding, interpret
  )
  return dx, dkernel.astype(kernel.dtype)


_conv.defvjp(_conv_fwd, _conv_bwd)


@dataclasses.dataclass(frozen=True)
class _Term:
  """One tap along one axis.

  Output pixel `write * q + phase` takes input pixel `read * q + shift` times
  tap `tap`, for every q.
  """

  phase: int
  shift: int
  tap: int


@dataclasses.dataclass(frozen=True)
class _Plan:
  """A sum over taps, see `_Term`; rows first in each pair.

  Attributes:
    out: output height and width.
    terms: of both axes.
    read, write: strides of the input's and the output's pixels.
  """

  out: tuple[int, int]
  terms: tuple[tuple[_Term, ...], tuple[_Term, ...]]
  read: int
  write: int


def _forward_plan(shape, window, stride, padding) -> _Plan:
  rows, cols = (
    tuple(_Term(phase=0, shift=i - before, tap=i) for i in range(k))
    for k, (before, _) in zip(window, padding, strict=True)
  )
  out = padding_lib.out_size(shape[1:3], window, stride, padding)
  return _Plan(out=out, terms=(rows, cols), read=stride, write=1)


def _gradient_plan(shape, window, stride, padding) -> _Plan:
  """Every input pixel gathers from the output pixels that read it.

  Pixel stride * q + phase is read by output q + shift through the tap
  phase + before - stride * shift.
  """

  def of_axis(k: int, before: int) -> tuple[_Term, ...]:
    return tuple(
      _Term(phase=phase, shift=(phase + before - tap) // stride, tap=tap)
      for phase in range(stride)
      for tap in range((phase + before) % stride, k, stride)
    )

  rows, cols = (
    of_axis(k, before) for k, (before, _) in zip(window, padding, strict=True)
  )
  return _Plan(out=shape[1:3], terms=(rows, cols), read=1, write=stride)


@dataclasses.dataclass(frozen=True)
class _Tiling:
  """How [rows, cols, channels] of every image are cut into tiles.

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

  def channels(self, block) -> tuple[jax.Array, jax.Array | None]:
    """i32[1, tile channels] of a block, and a mask where some are too many."""
    chans = block * self.tile[2] + jnp.arange(self.tile[2])[None, :]
    return chans, chans < self.size[2] if self.size[2] % self.tile[2] else None


def _tiling(size: tuple[int, int, int], taps: int) -> _Tiling:
  rows, cols, channels = size
  # Powers of two that a thread holds of every tap.
  per_thread = min(8, 1 << (max(_REGISTERS // taps, 1).bit_length() - 1))
  depth = _block(channels, _CHANNELS)
  widest = min(_VALUES // depth, pl.next_power_of_2(cols))
  width = _block(cols, [max(widest >> k, 1) for k in range(2)])
  return _Tiling(
    size=size,
    tile=(min(rows, _ROWS), width, depth),
    warps=min(max(width * depth // (32 * per_thread), 1), 8),
  )


def _block(size: int, choices) -> int:
  """The choice that covers `size` with the least excess, the larger of two."""
  return min(choices, key=lambda n: (pl.cdiv(size, n) * n, -n))


def _split(index, sizes: tuple[int, ...]) -> list:
  """The position along axes of these sizes, the last changing fastest."""
  position = []
  for size in reversed(sizes):
    position.insert(0, index % size)
    index = index // size
  return position


def _load(ref, image, row, cols, chans, present, size: tuple[int, int]):
  """f32[cols, chans] of one row of an image, zero outside of it.

  Args:
    ref: f[batch, h * w, channels].
    image, row: scalars; the row may lie outside.
    cols: i32[n, 1], which may lie outside.
    chans, present: of `_Tiling.channels`.
    size: h and w.
  """
  mask = (row >= 0) & (row < size[0]) & (cols >= 0) & (cols < size[1])
  if present is not None:
    mask = mask & present
  mask = jnp.broadcast_to(mask, (cols.shape[0], chans.shape[1]))
  pixels = ref.at[image, row * size[1] + cols, chans]
  return plgpu.load(pixels, mask=mask, other=0.0).astype(jnp.float32)


def _flat(images: jax.Array) -> jax.Array:
  """f[batch, h * w, channels] of f[batch, h, w, channels]."""
  return images.reshape(images.shape[0], -1, images.shape[3])


def _correlate(
  plan: _Plan, interpret: bool, x: jax.Array, kernel: jax.Array
) -> jax.Array:
  """f[batch, *plan.out, channels], the sum of a plan."""
  batch, *size, channels = x.shape
  taps = kernel.shape[0] * kernel.shape[1]
  steps = tuple(pl.cdiv(n, plan.write) for n in plan.out)
  tiling = _tiling((*steps, channels), taps)
  body = functools.partial(
    _correlate_tile, plan=plan, tiling=tiling, size=tuple(size)
  )
  blocks = tiling.blocks
  y = pl.pallas_call(
    body,
    out_shape=jax.ShapeDtypeStruct(
      (batch, plan.out[0] * plan.out[1], channels), x.dtype
    ),
    grid=(batch * blocks[0] * blocks[1] * blocks[2],),
    compiler_params=plgpu.CompilerParams(num_warps=tiling.warps),
    interpret=interpret,
    name="depthwise",
  )(_flat(x), kernel.reshape(*kernel.shape[:2], channels))
  return y.reshape(batch, *plan.out, channels)


def _correlate_tile(
  x_ref, kernel_ref, y_ref, *, plan: _Plan, tiling: _Tiling, size
):
  image, row_block, col_block, channel_block = _split(
    pl.program_id(0), (x_ref.shape[0], *tiling.blocks)
  )
  rows, width, depth = tiling.tile
  first = row_block * rows
  cols = col_block * width + jnp.arange(width)[:, None]
  chans, present = tiling.channels(channel_block)
  row_terms, col_terms = plan.terms

  def tap(i: int, j: int) -> jax.Array:
    """f32[1, channels]."""
    values = plgpu.load(kernel_ref.at[i, j, chans], mask=present, other=0.0)
    return values.astype(jnp.float32)

  taps = {
    (r.tap, c.tap): tap(r.tap, c.tap) for r in row_terms for c in col_terms
  }
  # Row of the tile and phases -> sum.
  sums = {
    (a, r, c): jnp.zeros((width, depth), jnp.float32)
    for a in range(rows)
    for r in range(plan.write)
    for c in range(plan.write)
  }
  # Input row, from that of the tile's first -> the sums that it is part of.
  uses: dict[int, list[tuple[int, _Term]]] = {}
  for a in range(rows):
    for term in row_terms:
      uses.setdefault(plan.read * a + term.shift, []).append((a, term))
  for shift, found in sorted(uses.items()):
    for col_shift in sorted({term.shift for term in col_terms}):
      values = _load(
        x_ref,
        image,
        plan.read * first + shift,
        plan.read * cols + col_shift,
        chans,
        present,
        size,
      )
      for a, r in found:
        for c in col_terms:
          if c.shift == col_shift:
            sums[a, r.phase, c.phase] += values * taps[r.tap, c.tap]
  for (a, r, c), total in sums.items():
    row, col = plan.write * (first + a) + r, plan.write * cols + c
    mask = (row < plan.out[0]) & (col < plan.out[1])
    if present is not None:
      mask = mask & present
    plgpu.store(
      y_ref.at[image, row * plan.out[1] + col, chans],
      total.astype(y_ref.dtype),
      mask=jnp.broadcast_to(mask, total.shape),
    )


def _kernel_gradient(
  x: jax.Array,
  dy: jax.Array,
  window: tuple[int, int],
  stride: int,
  padding: Padding,
  interpret: bool,
) -> jax.Array:
  """f32[kh, kw, 1, channels]: sums of input times output gradient."""
  batch, *out, channels = dy.shape
  taps = window[0] * window[1]
  tiling = _tiling((*out, channels), 2 * taps)
  tiles = batch * tiling.blocks[0] * tiling.blocks[1]
  # Each program takes so many tiles of its channels, one after the other.
  share = pl.cdiv(tiles * tiling.blocks[2], _PROGRAMS)
  parts = pl.cdiv(tiles, share)
  body = functools.partial(
    _kernel_gradient_part,
    plan=_forward_plan(x.shape, window, stride, padding),
    tiling=tiling,
    size=x.shape[1:3],
    share=share,
  )
  sums = pl.pallas_call(
    body,
    out_shape=jax.ShapeDtypeStruct((parts, *window, channels), jnp.float32),
    grid=(parts * tiling.blocks[2],),
    compiler_params=plgpu.CompilerParams(num_warps=tiling.warps),
    interpret=interpret,
    name="depthwise_kernel_gradient",
  )(_flat(x), _flat(dy))
  return jnp.sum(sums, axis=0).reshape(*window, 1, channels)


def _kernel_gradient_part(
  x_ref, dy_ref, sums_ref, *, plan: _Plan, tiling: _Tiling, size, share: int
):
  part, channel_block = _split(
    pl.program_id(0), (sums_ref.shape[0], tiling.blocks[2])
  )
  rows, width, depth = tiling.tile
  chans, present = tiling.channels(channel_block)
  row_terms, col_terms = plan.terms
  taps = [(r.tap, c.tap) for r in row_terms for c in col_terms]
  tiles = x_ref.shape[0] * tiling.blocks[0] * tiling.blocks[1]

  def add_tile(tile, totals):
    sums = dict(zip(taps, totals, strict=True))
    image, row_block, col_block = _split(
      tile, (x_ref.shape[0], *tiling.blocks[:2])
    )
    first = row_block * rows
    cols = col_block * width + jnp.arange(width)[:, None]
    gradients = [
      _load(dy_ref, image, first + a, cols, chans, present, plan.out)
      for a in range(rows)
    ]
    uses: dict[int, list[tuple[int, _Term]]] = {}
    for a in range(rows):
      for term in row_terms:
        uses.setdefault(plan.read * a + term.shift, []).append((a, term))
    for shift, found in sorted(uses.items()):
      for c in col_terms:
        values = _load(
          x_ref,
          image,
          plan.read * first + shift,
          plan.read * cols + c.shift,
          chans,
          present,
          size,
        )
        for a, r in found:
          sums[r.tap, c.tap] += values * gradients[a]
    return tuple(sums.values())

  zeros = tuple(jnp.zeros((width, depth), jnp.float32) for _ in taps)
  start = part * share
  totals = lax.fori_loop(
    start, jnp.minimum(start + share, tiles), add_tile, zeros
  )
  for (i, j), total in zip(taps, totals, strict=True):
    plgpu.store(
      sums_ref.at[part, i, j, chans],
      jnp.sum(total, axis=0, keepdims=True),
      mask=present,
    )
