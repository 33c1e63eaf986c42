"""Operations of RandAugment and TrivialAugment, with the numbers of Pillow.

Images are f32[batch, h, w, 3] with whole numbers in [0, 255], before and after.
Every image has an argument of its own, f32[batch]; each function says what it
means. Results are those of Pillow's functions of that name on bytes, but for
rare pixels that are one off, where Pillow computes in another precision.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.augment import boxes, geometry, resampling

Operation = Callable[[jax.Array, jax.Array], jax.Array]

# Of Pillow's "L" of RGB: 16-bit fractions of the luma of ITU-R BT.601.
_LUMA = (19595, 38470, 7471)
_LEVELS = 256
# A level is 16 * high + low.
_HALF = 16


def autocontrast(images: jax.Array, _: jax.Array) -> jax.Array:
  """Stretches every channel to the whole range; takes no argument."""
  images = lax.optimization_barrier(images)
  low = jnp.min(images, axis=(1, 2), keepdims=True)
  span = jnp.max(images, axis=(1, 2), keepdims=True) - low
  stretched = jnp.floor((images - low) * 255 / jnp.maximum(span, 1))
  return jnp.where(span > 0, stretched, images)


def equalize(images: jax.Array, _: jax.Array) -> jax.Array:
  """Flattens the histogram of every channel; takes no argument."""
  batch, height, width, channels = images.shape
  pixels = lax.optimization_barrier(images).astype(jnp.int32)
  pixels = jnp.moveaxis(pixels, -1, 1).reshape(batch * channels, -1)
  counts = lax.platform_dependent(pixels, cpu=_scattered, default=_multiplied)
  last = _LEVELS - 1 - jnp.argmax(counts[:, ::-1] > 0, axis=1, keepdims=True)
  all_but_last = height * width - jnp.take_along_axis(counts, last, axis=1)
  step = all_but_last // 255
  below = jnp.cumsum(counts, axis=1) - counts
  table = (step // 2 + below) // jnp.maximum(step, 1)
  table = jnp.where(step > 0, table, jnp.arange(_LEVELS).reshape(1, -1))
  table = jnp.minimum(table, 255).astype(jnp.float32)
  out = jnp.take_along_axis(table, pixels, axis=1)
  return jnp.moveaxis(out.reshape(batch, channels, height, width), 1, -1)


def _scattered(pixels: jax.Array) -> jax.Array:
  """Histograms i32[n, 256] of i32[n, pixels], counted one by one."""
  rows = jnp.arange(len(pixels)).reshape(-1, 1)
  zeros = jnp.zeros((len(pixels), _LEVELS), jnp.int32)
  return zeros.at[rows, pixels].add(1, mode="promise_in_bounds")


def _multiplied(pixels: jax.Array) -> jax.Array:
  """As `_scattered`, by a matrix product of the two halves of each level.

  Ones and zeros are exact in bfloat16, and so are their sums in float32.
  """
  levels = jnp.arange(_HALF).reshape(1, 1, -1)
  high, low = (
    (half[..., None] == levels).astype(jnp.bfloat16)
    for half in (pixels // _HALF, pixels % _HALF)
  )
  counts = jnp.einsum(
    "nph,npl->nhl", high, low, preferred_element_type=jnp.float32
  )
  return counts.reshape(len(pixels), _LEVELS).astype(jnp.int32)


def invert(images: jax.Array, _: jax.Array) -> jax.Array:
  """Makes the negative; takes no argument."""
  return 255 - images


def posterize(images: jax.Array, bits: jax.Array) -> jax.Array:
  """Keeps the upper `bits` of 8, from 0 to 8."""
  step = jnp.exp2(8 - _per_image(bits))
  return jnp.floor(images / step) * step


def solarize(images: jax.Array, threshold: jax.Array) -> jax.Array:
  """Inverts values from a threshold on, 0 to 256."""
  return jnp.where(images < _per_image(threshold), images, 255 - images)


def solarize_add(images: jax.Array, addition: jax.Array) -> jax.Array:
  """Adds to the values below 128, which Pillow has no function for."""
  added = jnp.minimum(images + _per_image(addition), 255)
  return jnp.where(images < 128, added, images)


def color(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Changes the saturation: 0 is grey, 1 the image."""
  return _blend(_grey(images), images, factor)


def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Changes the contrast: 0 is the mean grey, 1 the image."""
  images = lax.optimization_barrier(images)
  mean = jnp.mean(_grey(images), axis=(1, 2), keepdims=True)
  return _blend(jnp.floor(mean + 0.5), images, factor)


def brightness(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Changes the brightness: 0 is black, 1 the image."""
  return _blend(jnp.zeros(()), images, factor)


def sharpness(images: jax.Array, factor: jax.Array) -> jax.Array:
  """Changes the sharpness: 0 is smoothed, 1 the image, above 1 sharpened."""
  images = lax.optimization_barrier(images)
  box = lax.reduce_window(
    images, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME"
  )
  smooth = jnp.floor((box + 4 * images) / 13 + 0.5)
  # The outermost pixels have no neighbours to be smoothed with.
  height, width = images.shape[1:3]
  one = jnp.ones((len(images),), jnp.int32)
  inner = boxes.inside(
    (one, one), (one * (height - 1), one * (width - 1)), (height, width)
  )
  return jnp.where(inner, _blend(smooth, images, factor), images)


COLOURS: dict[str, Operation] = {
  "autocontrast": autocontrast,
  "equalize": equalize,
  "invert": invert,
  "posterize": posterize,
  "solarize": solarize,
  "solarize_add": solarize_add,
  "color": color,
  "contrast": contrast,
  "brightness": brightness,
  "sharpness": sharpness,
}
# All five are one map, and one resampling.
GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def cutout(
  images: jax.Array, pad: jax.Array, key: jax.Array, *, fill: float
) -> jax.Array:
  """Covers a square around a random pixel, of twice `pad` in height and width.

  Args:
    images: f32[batch, h, w, 3].
    pad: f32[batch] in pixels; 0 leaves the image.
    key: the source of randomness.
    fill: of the square.

  Returns:
    f32[batch, h, w, 3].
  """
  pad, size = pad.astype(jnp.int32), images.shape[1:3]
  start, stop = [], []
  for axis_key, count in zip(jax.random.split(key), size, strict=True):
    center = jax.random.randint(axis_key, pad.shape, 0, count)
    start.append(center - pad)
    stop.append(center + pad)
  covered = boxes.inside(tuple(start), tuple(stop), size)
  return jnp.where(covered, fill, images)


def warp(
  images: jax.Array, arguments: dict[str, jax.Array], *, fill: float
) -> jax.Array:
  """Rotates, shears and shifts images, bilinear, as Pillow's AFFINE does.

  Of several operations on one image the maps are combined: pixels are
  interpolated once, and what comes from beyond the image's edges is filled
  once.

  Args:
    images: f32[batch, h, w, 3].
    arguments: f32[batch] of each of GEOMETRY, 0 for none: degrees
      counter-clockwise; a shear's shift per pixel, from the upper left corner;
      pixels.
    fill: what is beyond the edges.

  Returns:
    f32[batch, h, w, 3].
  """
  height, width = images.shape[1:3]
  maps = _maps(arguments, height, width)
  warped = jnp.floor(resampling.warp(images, maps) + 0.5)
  rows, columns = (
    jnp.arange(count, dtype=jnp.float32) - (count - 1) / 2
    for count in (height, width)
  )
  rows, columns = rows.reshape(1, -1, 1), columns.reshape(1, 1, -1)
  m = maps.reshape(-1, 3, 3, 1, 1)
  inside = True
  for axis, count in enumerate((height, width)):
    place = m[:, axis, 0] * rows + m[:, axis, 1] * columns + m[:, axis, 2]
    inside &= (place >= -count / 2) & (place < count / 2)
  return jnp.where(inside[..., None], warped, fill)


def _maps(
  arguments: dict[str, jax.Array], height: int, width: int
) -> jax.Array:
  """Returns f32[batch, 3, 3] for `resampling.warp`, from result to source."""
  angle = jnp.deg2rad(arguments["rotate"])
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  zero, one = jnp.zeros_like(angle), jnp.ones_like(angle)
  last = (zero, zero, one)
  # A column of the source is cos * column - sin * row, counter-clockwise.
  turn = geometry.matrices((cos, sin, zero), (-sin, cos, zero), last)
  shear_x, shear_y = arguments["shear_x"], arguments["shear_y"]
  shear_columns = geometry.matrices(
    (one, zero, zero),
    (shear_x, one, shear_x * (height / 2) + arguments["translate_x"]),
    last,
  )
  shear_rows = geometry.matrices(
    (one, shear_y, shear_y * (width / 2) + arguments["translate_y"]),
    (zero, one, zero),
    last,
  )
  return geometry.compose(geometry.compose(turn, shear_columns), shear_rows)


def _grey(images: jax.Array) -> jax.Array:
  """Returns f32[batch, h, w, 1], Pillow's conversion to 'L'."""
  # Sums of bytes times 16-bit fractions have too many bits for float32.
  whole = images.astype(jnp.int32)
  total = sum(w * whole[..., i : i + 1] for i, w in enumerate(_LUMA))
  return ((total + (1 << 15)) >> 16).astype(jnp.float32)


def _blend(a: jax.Array, b: jax.Array, factor: jax.Array) -> jax.Array:
  """Returns a + factor * (b - a) in whole numbers of [0, 255]."""
  blended = jnp.clip(a + _per_image(factor) * (b - a), 0, 255)
  return jnp.floor(blended)


def _per_image(values: jax.Array) -> jax.Array:
  return values.reshape(-1, 1, 1, 1)
