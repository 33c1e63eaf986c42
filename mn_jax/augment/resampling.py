"""Bilinear resampling of images under affine maps, fast on every platform.

Affine maps are matrices on (row, column, 1) in pixels from the image's centre,
and lead from a pixel of the result to its place in the source. Beyond its
edges an image is mirrored. The mirror image repeats the outermost pixels: half
a pixel around their centres has their colour, as when an image is resized.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Two taps of one axis: i32 indices of the source, and f32 weights.
Taps = tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def warp(images: jax.Array, maps: jax.Array) -> jax.Array:
  """Resamples images under any affine maps.

  Args:
    images: f32[batch, h, w, 3].
    maps: f32[batch, 3, 3] from pixels of the result to the source; the last
      row is (0, 0, 1).

  Returns:
    f32[batch, h, w, 3].
  """
  return lax.platform_dependent(images, maps, **WARPS)


def scale_and_translate(images: jax.Array, maps: jax.Array) -> jax.Array:
  """Resamples images under maps that only scale and translate, as `warp` does.

  Rows stay rows, so the two axes are resampled one after the other.

  Args:
    images: f32[batch, h, w, 3].
    maps: f32[batch, 3, 3] as for `warp`, with no elements but the diagonal and
      the last column; others are not looked at.

  Returns:
    f32[batch, h, w, 3], that of `warp` up to rounding.
  """
  return lax.platform_dependent(images, maps, **FORMULATIONS)


def gathered(images: jax.Array, maps: jax.Array) -> jax.Array:
  """Gathers the pixels; arguments are those of `scale_and_translate`.

  On GPUs XLA fuses all of it with what comes before and after: bytes of an
  image are read once, and its input to the network is written once.
  """
  return _interpolate(_interpolate(images, maps, axis=1), maps, axis=2)


def gathered_by_axis(images: jax.Array, maps: jax.Array) -> jax.Array:
  """As `gathered`, with whole rows written before columns are gathered.

  On CPUs copies of rows are fast, those of pixels are not. And XLA would
  interpolate anew wherever a pixel is used.
  """
  for axis in (1, 2):
    images = lax.optimization_barrier(_interpolate(images, maps, axis=axis))
  return images


def multiplied(images: jax.Array, maps: jax.Array) -> jax.Array:
  """Multiplies rows and columns by matrices with two entries in a row.

  TPUs multiply matrices fast, and gather pixels very slowly. At less than full
  precision, bytes would not stay as they are under the identity.
  """
  for axis, products in ((1, "bos,bswc->bowc"), (2, "bos,bhsc->bhoc")):
    count = images.shape[axis]
    source = jnp.arange(count).reshape(1, 1, count)
    matrix = sum(
      jnp.where(index[..., None] == source, weight[..., None], 0)
      for index, weight in _taps(maps, axis, count)
    )
    images = jnp.einsum(
      products, matrix, images, precision=lax.Precision.HIGHEST
    )
  return images


def warped(images: jax.Array, maps: jax.Array) -> jax.Array:
  """Gathers the four pixels around every place; arguments are those of `warp`.

  Indices are not checked: checks keep XLA's GPU backend from fusing what comes
  before and after.
  """
  return _warp(images, maps, mode="promise_in_bounds")


def warped_once(images: jax.Array, maps: jax.Array) -> jax.Array:
  """As `warped`, with the result in memory, and indices checked.

  Or XLA would interpolate anew wherever a pixel is used. Its CPU and TPU
  backends take longer where indices are not checked.
  """
  return lax.optimization_barrier(_warp(images, maps, mode="fill"))


# The formulations of each platform. Only the CPU's have been measured; the
# others are by the bytes of compiled programs, the TPU's also by its compiler's
# count of cycles.
WARPS = {"cpu": warped_once, "tpu": warped_once, "default": warped}
FORMULATIONS = {
  "cpu": gathered_by_axis,
  "tpu": multiplied,
  "default": gathered,
}


def _interpolate(images: jax.Array, maps: jax.Array, axis: int) -> jax.Array:
  """Resamples one axis of f32[batch, h, w, 3]: 1 for rows, 2 for columns."""

  def take(image: jax.Array, index: jax.Array) -> jax.Array:
    where = (*(axis - 1) * (slice(None),), index)
    return image.at[where].get(mode="promise_in_bounds")

  shape = [1] * images.ndim
  shape[0], shape[axis] = images.shape[0], images.shape[axis]
  return sum(
    weight.reshape(shape) * jax.vmap(take)(images, index)
    for index, weight in _taps(maps, axis, images.shape[axis])
  )


def _taps(maps: jax.Array, axis: int, count: int) -> Taps:
  """The taps of an axis, 1 for rows, 2 for columns; [batch, count] each."""
  middle = (count - 1) / 2
  place = jnp.arange(count, dtype=jnp.float32).reshape(1, -1) - middle
  scale, shift = maps[:, axis - 1, axis - 1, None], maps[:, axis - 1, 2, None]
  return _split(scale * place + shift + middle, count)


def _warp(images: jax.Array, maps: jax.Array, *, mode: str) -> jax.Array:
  batch, height, width, channels = images.shape
  m = maps.reshape(batch, 3, 3, 1, 1)
  middle = ((height - 1) / 2, (width - 1) / 2)
  rows = (jnp.arange(height, dtype=jnp.float32) - middle[0]).reshape(1, -1, 1)
  columns = jnp.arange(width, dtype=jnp.float32) - middle[1]
  columns = columns.reshape(1, 1, -1)
  row_taps, column_taps = (
    _split(
      m[:, axis, 0] * rows
      + m[:, axis, 1] * columns
      + m[:, axis, 2]
      + middle[axis],
      images.shape[1 + axis],
    )
    for axis in (0, 1)
  )
  flat = images.reshape(batch, height * width, channels)
  total = jnp.zeros_like(flat)
  for row, row_weight in row_taps:
    for column, column_weight in column_taps:
      index = (row * width + column).reshape(batch, -1, 1)
      weight = (row_weight * column_weight).reshape(batch, -1, 1)
      total += weight * jnp.take_along_axis(flat, index, axis=1, mode=mode)
  return total.reshape(images.shape)


def _split(at: jax.Array, count: int) -> Taps:
  """Two taps for places f32[...] along an axis of `count` pixels."""
  below = jnp.floor(at)
  share = at - below
  below = below.astype(jnp.int32)
  return (_mirror(below, count), 1 - share), (_mirror(below + 1, count), share)


def _mirror(index: jax.Array, count: int) -> jax.Array:
  """Returns i32 in [0, count): ... 1 0 | 0 1 2 ... count - 1 | count - 1 ..."""
  # Left of the edge, -1 is 0 and -2 is 1. The fewer operations, the more of
  # the rest is fused with them.
  index = lax.rem(jnp.maximum(index, -1 - index), np.int32(2 * count))
  return jnp.minimum(index, 2 * count - 1 - index)
