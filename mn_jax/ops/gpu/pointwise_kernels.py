"""Products of pixels and matrices as kernels for NVIDIA GPUs.

Written in Pallas for the Triton compiler. XLA's own products are as good, but
write what goes into them and read again what comes out of them: its compiler
puts no activation before a product and no sum behind one. Sums are in float32
and free of atomics, so that equal inputs give equal bits.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mn_jax.ops.gpu.elementwise import Elementwise

# The sizes below come from the compiler's counts of registers and bytes; none
# has been measured.

# Pixels of a tile, and channels that are multiplied at once.
_ROWS = 128
_DEPTH = 32
# Columns of a tile; matrix units take no fewer than 16.
_COLUMNS = (128, 64, 32, 16)
# Programs that a product's tiles are divided among, so that sums over pixels
# have few parts.
_PROGRAMS = 2048
# Of the kernel's gradient, whose parts are whole matrices.
_GRADIENT_PROGRAMS = 264
_WARPS = 4


def product(
  given: Elementwise,
  matrix: jax.Array,
  finish: Elementwise | None = None,
  *,
  sums: int = 0,
  transposed: bool = False,
  interpret: bool,
) -> tuple[jax.Array, jax.Array]:
  """Multiplies every pixel by a matrix.

  Args:
    given: the pixels.
    matrix: f[channels, features], or with `transposed` f[features, channels].
    finish: its images have the output's shape. Its function takes a value of
      the product before theirs, and returns the value that is written and
      `sums` others, which are added up over images and pixels.
    sums: how many.
    transposed: whether the matrix is.
    interpret: run as plain JAX on any platform, slowly, for tests.

  Returns:
    f[batch, h, w, features] of the matrix's dtype; f32[sums, features].
  """
  finish = finish or Elementwise()
  shape = given.images[0].shape
  features = matrix.shape[0 if transposed else 1]
  rows = shape[0] * shape[1] * shape[2]
  columns = _block(features)
  blocks, tiles = pl.cdiv(features, columns), pl.cdiv(rows, _ROWS)
  # Each program takes so many tiles of its columns, one after the other.
  share = pl.cdiv(tiles * blocks, _PROGRAMS)
  parts = pl.cdiv(tiles, share)
  y, totals = pl.pallas_call(
    functools.partial(
      _product_part,
      size=(rows, shape[3], features),
      columns=columns,
      share=share,
      sums=sums,
      transposed=transposed,
      before=given.function,
      after=finish.function,
    ),
    out_shape=(
      jax.ShapeDtypeStruct((rows, features), matrix.dtype),
      [jax.ShapeDtypeStruct((parts, sums, features), jnp.float32)] * bool(sums),
    ),
    grid=(parts * blocks,),
    compiler_params=plgpu.CompilerParams(num_warps=2 * _WARPS),
    interpret=interpret,
    name="pointwise",
    metadata=_metadata(rows, shape[3], features),
  )(_refs(given), matrix, _refs(finish))
  totals = jnp.sum(totals[0], axis=0) if sums else jnp.zeros((0, features))
  return y.reshape(*shape[:3], features), totals


def _product_part(
  given,
  matrix_ref,
  finish,
  y_ref,
  totals_refs,
  *,
  size,
  columns,
  share,
  sums,
  transposed,
  before,
  after,
):
  rows, channels, features = size
  blocks = pl.cdiv(features, columns)
  part = lax.div(pl.program_id(0), jnp.int32(blocks))
  block = lax.rem(pl.program_id(0), jnp.int32(blocks))
  cols = block * columns + jnp.arange(columns)
  images, vectors = finish
  vectors = [_vector(ref, cols, features) for ref in vectors]

  def multiply(k, total, lines):
    chans = k * _DEPTH + jnp.arange(_DEPTH)
    values = _read(given, before, lines, chans, (rows, channels))
    if transposed:
      mask = (cols < features)[:, None] & (chans < channels)[None, :]
      at = matrix_ref.at[cols[:, None], chans[None, :]]
      factor = plgpu.load(at, mask=mask, other=0.0).T
    else:
      mask = (chans < channels)[:, None] & (cols < features)[None, :]
      at = matrix_ref.at[chans[:, None], cols[None, :]]
      factor = plgpu.load(at, mask=mask, other=0.0)
    # Transposed, it is the gradient that is multiplied.
    if transposed:
      values = _rounded(values, lines, chans, factor.dtype)
    return total + _dot(values.astype(factor.dtype), factor)

  def add_tile(tile, totals):
    lines = tile * _ROWS + jnp.arange(_ROWS)
    value = lax.fori_loop(
      0,
      pl.cdiv(channels, _DEPTH),
      functools.partial(multiply, lines=lines),
      jnp.zeros((_ROWS, columns), jnp.float32),
    )
    mask = (lines < rows)[:, None] & (cols < features)[None, :]
    where = (lines[:, None], cols[None, :])
    if after is not None:
      others = [_load(ref, where, mask) for ref in images]
      value, *terms = after(value, *others, *vectors)
      totals = tuple(
        total + jnp.sum(jnp.where(mask, term, 0.0), axis=0)
        for total, term in zip(totals, terms, strict=True)
      )
    plgpu.store(y_ref.at[*where], value.astype(y_ref.dtype), mask=mask)
    return totals

  start = part * share
  stop = jnp.minimum(start + share, pl.cdiv(rows, _ROWS))
  zeros = (jnp.zeros((columns,), jnp.float32),) * sums
  totals = lax.fori_loop(start, stop, add_tile, zeros)
  for k, total in enumerate(totals):
    where = totals_refs[0].at[part, k, cols]
    plgpu.store(where, total, mask=cols < features)


def kernel_gradient(
  given: Elementwise, gradient: Elementwise, *, dtype, interpret: bool
) -> jax.Array:
  """Sums over images and pixels of the products of two images' channels.

  Args:
    given: the input.
    gradient: of the output.
    dtype: in which values are multiplied.
    interpret: run as plain JAX on any platform, slowly, for tests.

  Returns:
    f32[channels, features].
  """
  shape, features = given.images[0].shape, gradient.images[0].shape[3]
  rows, channels = shape[0] * shape[1] * shape[2], shape[3]
  tile = _block(channels), _block(features)
  blocks = pl.cdiv(channels, tile[0]), pl.cdiv(features, tile[1])
  steps = pl.cdiv(rows, _DEPTH)
  parts = min(max(_GRADIENT_PROGRAMS // (blocks[0] * blocks[1]), 1), steps)
  share = pl.cdiv(steps, parts)
  parts = pl.cdiv(steps, share)
  sums = pl.pallas_call(
    functools.partial(
      _kernel_gradient_part,
      size=(rows, channels, features),
      tile=tile,
      share=share,
      dtype=dtype,
      functions=(given.function, gradient.function),
    ),
    out_shape=jax.ShapeDtypeStruct((parts, channels, features), jnp.float32),
    grid=(parts * blocks[0] * blocks[1],),
    compiler_params=plgpu.CompilerParams(num_warps=_WARPS),
    interpret=interpret,
    name="pointwise_kernel_gradient",
    metadata=_metadata(rows, channels, features),
  )(_refs(given), _refs(gradient))
  return jnp.sum(sums, axis=0)


def _kernel_gradient_part(
  given, gradient, sums_ref, *, size, tile, share, dtype, functions
):
  rows, channels, features = size
  blocks = pl.cdiv(channels, tile[0]), pl.cdiv(features, tile[1])
  rest = lax.div(pl.program_id(0), jnp.int32(blocks[1]))
  part = lax.div(rest, jnp.int32(blocks[0]))
  chans = lax.rem(rest, jnp.int32(blocks[0])) * tile[0] + jnp.arange(tile[0])
  cols = lax.rem(pl.program_id(0), jnp.int32(blocks[1])) * tile[1]
  cols = cols + jnp.arange(tile[1])

  def add(step, total):
    lines = step * _DEPTH + jnp.arange(_DEPTH)
    x = _read(given, functions[0], lines, chans, (rows, channels))
    dy = _read(gradient, functions[1], lines, cols, (rows, features))
    dy = _rounded(dy, lines, cols, dtype)
    return total + _dot(x.astype(dtype).T, dy.astype(dtype))

  start = part * share
  stop = jnp.minimum(start + share, pl.cdiv(rows, _DEPTH))
  total = lax.fori_loop(start, stop, add, jnp.zeros(tile, jnp.float32))
  mask = (chans < channels)[:, None] & (cols < features)[None, :]
  where = sums_ref.at[part, chans[:, None], cols[None, :]]
  plgpu.store(where, total, mask=mask)


def _read(refs, function: Callable | None, lines, chans, size) -> jax.Array:
  """f32[lines, chans] of an `Elementwise`, zero outside of its size."""
  images, vectors = refs
  mask = (lines < size[0])[:, None] & (chans < size[1])[None, :]
  where = (lines[:, None], chans[None, :])
  values = [_load(ref, where, mask) for ref in images]
  if function is None:
    return values[0]
  vectors = [_vector(ref, chans, size[1]) for ref in vectors]
  return jnp.where(mask, function(*values, *vectors), 0.0)


def _rounded(values: jax.Array, lines, chans, dtype) -> jax.Array:
  """f32[lines, chans], rounded to bfloat16 up or down as places have it.

  A gradient has been rounded once, where it was written. What is added to it
  then, so that its mean is 0, is less than half a unit in the last place where
  pixels are many, and rounding to the nearest would undo it everywhere. Here
  the share of values that are rounded up is that of the unit: the mean stays.
  """
  if dtype != jnp.bfloat16:
    return values
  place = (lines[:, None] * 0x3779B1 + chans[None, :]).astype(jnp.uint32)
  place = place * np.uint32(0x9E3779B9)
  place = (place ^ (place >> 16)) * np.uint32(0x85EBCA6B)
  threshold = (place ^ (place >> 13)) >> 16
  bits = lax.bitcast_convert_type(values, jnp.uint32) + threshold
  rounded = bits & np.uint32(0xFFFF0000)
  rounded = lax.bitcast_convert_type(rounded, jnp.float32)
  # The bits of NaN may be all ones, and would become those of a zero.
  return jnp.where(jnp.abs(values) < jnp.inf, rounded, values)


def _load(ref, where, mask) -> jax.Array:
  values = plgpu.load(ref.at[*where], mask=mask, other=0.0)
  return values.astype(jnp.float32)


def _vector(ref, chans, channels: int) -> jax.Array:
  """f32[1, chans], zero for absent channels."""
  values = plgpu.load(ref.at[chans], mask=chans < channels, other=0.0)
  return values.astype(jnp.float32)[None, :]


def _dot(one: jax.Array, other: jax.Array) -> jax.Array:
  return jnp.dot(one, other, preferred_element_type=jnp.float32)


def _refs(given: Elementwise) -> tuple[tuple[jax.Array, ...], ...]:
  """What a kernel is given: images as [pixels, channels], and vectors."""
  rows = tuple(x.reshape(-1, x.shape[-1]) for x in given.images)
  return rows, given.vectors


def _metadata(*size: int) -> dict[str, str]:
  """A kernel's FLOPs, which nobody can read from a compiled program."""
  return {"flops": str(2 * math.prod(size))}


def _block(size: int) -> int:
  """The columns that cover `size` with the least excess, the most of them."""
  return min(_COLUMNS, key=lambda n: (pl.cdiv(size, n) * n, -n))
