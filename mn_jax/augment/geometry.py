"""Geometric changes: flips, turns, crops and affine resampling.

Affine maps are matrices on (row, column, 1) in pixels from the image's centre,
and lead from a pixel of the result to its place in the source. So several maps
are one matrix product, and pixels are interpolated only once.
"""

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.augment import boxes

# Largest ratio of a random crop's sides: Szegedy et al. 2015, section 6.
_CROP_RATIO = 4 / 3


def flip(images: jax.Array, key: jax.Array, how: str) -> jax.Array:
  """Flips each image at random, with probability 1/2 per direction.

  Args:
    images: [batch, h, w, 3] of any dtype.
    key: the source of randomness.
    how: 'horizontal' swaps left and right; 'both' also swaps top and bottom.

  Returns:
    [batch, h, w, 3] of the dtype of `images`.
  """
  choice = jax.random.bernoulli(key, shape=(2, images.shape[0]))
  if how == "both":
    images = _where(choice[0], jnp.flip(images, 1), images)
  return _where(choice[1], jnp.flip(images, 2), images)


def quarter_turns(images: jax.Array, key: jax.Array) -> jax.Array:
  """Turns each image at random by 0, 90, 180 or 270 degrees.

  Args:
    images: [batch, h, h, 3] of any dtype.
    key: the source of randomness.

  Returns:
    [batch, h, h, 3] of the dtype of `images`.

  Raises:
    ValueError: for images that are not square.
  """
  if images.shape[1] != images.shape[2]:
    raise ValueError(
      f"augment.quarter_turns: got images of {images.shape[1]}x"
      f"{images.shape[2]} pixels; valid: square images"
    )
  turns = jax.random.randint(key, (images.shape[0],), 0, 4)
  half = _where(turns >= 2, jnp.flip(images, (1, 2)), images)
  quarter = jnp.rot90(half, axes=(1, 2))
  return _where(turns % 2 == 1, quarter, half)


def padded_crop(images: jax.Array, key: jax.Array, padding: int) -> jax.Array:
  """Shifts each image by whole pixels at random: a crop of the padded image.

  Args:
    images: [batch, h, w, 3] of any dtype.
    key: the source of randomness.
    padding: the largest shift in each direction in pixels, below h and w. The
      image is padded by reflection in its outermost pixels.

  Returns:
    [batch, h, w, 3] of the dtype of `images`.
  """
  batch, height, width, _ = images.shape
  offsets = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)
  sides = (padding, padding)
  padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)), mode="reflect")

  def crop(image: jax.Array, offset: jax.Array) -> jax.Array:
    start = (offset[0], offset[1], jnp.zeros_like(offset[0]))
    return lax.dynamic_slice(image, start, (height, width, 3))

  return jax.vmap(crop)(padded, offsets)


def random_crops(
  key: jax.Array, count: int, *, size: tuple[int, int], min_area: float
) -> jax.Array:
  """Draws affine maps that enlarge a random rectangle to the whole image.

  Args:
    key: the source of randomness.
    count: number of maps.
    size: height and width of the images in pixels.
    min_area: smallest share of the image's area, above 0; shares are uniform
      from there to 1, ratios of the sides at most 4/3.

  Returns:
    f32[count, 3, 3], for `warp`.
  """
  area_key, ratio_key, place_key = jax.random.split(key, 3)
  area = jax.random.uniform(area_key, (count,), minval=min_area)
  sides = boxes.random_sides(ratio_key, area, max_ratio=_CROP_RATIO)
  sides = jnp.stack(sides, axis=1)
  place = jax.random.uniform(place_key, (count, 2), minval=-0.5, maxval=0.5)
  pixels = jnp.array(size, jnp.float32).reshape(1, 2)
  shift = place * (1 - sides) * pixels
  zero, one = jnp.zeros(count), jnp.ones(count)
  return matrices(
    (sides[:, 0], zero, shift[:, 0]),
    (zero, sides[:, 1], shift[:, 1]),
    (zero, zero, one),
  )


def matrices(*rows: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
  """Stacks three rows of three f32[batch] to matrices f32[batch, 3, 3]."""
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def compose(first: jax.Array, second: jax.Array) -> jax.Array:
  """Composes affine maps, f32[batch, 3, 3] each: `first`, then `second`."""
  # At less than full precision, coordinates would be off by tenths of a pixel.
  return jnp.matmul(second, first, precision=lax.Precision.HIGHEST)


def warp(images: jax.Array, maps: jax.Array) -> jax.Array:
  """Resamples images bilinearly; beyond its edges an image is mirrored.

  The mirror image repeats the outermost pixels: half a pixel around their
  centres has their colour, as when an image is resized.

  Args:
    images: f32[batch, h, w, 3].
    maps: f32[batch, 3, 3] from pixels of the result to the source; the last
      row is (0, 0, 1).

  Returns:
    f32[batch, h, w, 3].
  """
  batch, height, width, _ = images.shape
  center = ((height - 1) / 2, (width - 1) / 2)
  rows, columns = (
    jnp.arange(pixels, dtype=jnp.float32) - middle
    for pixels, middle in zip((height, width), center, strict=True)
  )
  rows, columns = rows.reshape(1, -1, 1), columns.reshape(1, 1, -1)
  m = maps.reshape(batch, 3, 3, 1, 1)
  taps = []
  for axis, count in enumerate((height, width)):
    at = m[:, axis, 0] * rows + m[:, axis, 1] * columns + m[:, axis, 2]
    at = at + center[axis]
    below = jnp.floor(at)
    share = at - below
    below = below.astype(jnp.int32)
    taps.append(
      [(_mirror(below, count), 1 - share), (_mirror(below + 1, count), share)]
    )
  flat = images.reshape(batch, height * width, 3)
  total = jnp.zeros_like(flat)
  for row, row_weight in taps[0]:
    for column, column_weight in taps[1]:
      index = (row * width + column).reshape(batch, -1, 1)
      weight = (row_weight * column_weight).reshape(batch, -1, 1)
      total += weight * jnp.take_along_axis(flat, index, axis=1)
  # Or XLA would interpolate anew wherever a pixel is used.
  return lax.optimization_barrier(total.reshape(images.shape))


def _mirror(index: jax.Array, count: int) -> jax.Array:
  """Returns i32 in [0, count): ... 1 0 | 0 1 2 ... count - 1 | count - 1 ..."""
  index = index % (2 * count)
  return jnp.minimum(index, 2 * count - 1 - index)


def _where(chosen: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.where(chosen.reshape(-1, 1, 1, 1), a, b)
