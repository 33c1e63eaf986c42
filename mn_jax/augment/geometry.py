"""Geometric changes: flips, turns, crops and affine maps.

Affine maps are those of `resampling`, matrices. So several maps are one matrix
product, and pixels are interpolated only once.
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
    f32[count, 3, 3], for `resampling`.
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


def _where(chosen: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.where(chosen.reshape(-1, 1, 1, 1), a, b)
