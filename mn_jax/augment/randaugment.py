"""RandAugment: a few random operations per image, of one magnitude.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced
search space", 2020. A batch is computed as a whole, so every operation would
run on every image, as often as there are choices. Here every operation runs
once, with a strength per image that is 0 where it was not chosen, and does
nothing at 0; the geometric ones together are one matrix and one resampling.

Deviations from the paper:

- An image gets different operations, never the same twice, and they run in the
  order of `OPERATIONS`: first where pixels are, then their colours.
- There is no equalize and no sharpness, which look at other pixels.
- Strengths rise with the magnitude from nothing at all: in the paper a colour's
  factor is 0.1 at magnitude 0, 1 in the middle and 1.9 at the end, and fewer
  bits are left by posterize the smaller the magnitude. Directions are random
  for colours, too: the factor or its inverse, because 0.1 leaves nothing to be
  seen. Autocontrast, all or nothing there, is blended in.
- Beyond its edges an image is mirrored, not grey.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.augment import colour, geometry

OPERATIONS = (
  "identity",
  "rotate",
  "shear_rows",
  "shear_columns",
  "translate_rows",
  "translate_columns",
  "brightness",
  "contrast",
  "saturation",
  "posterize",
  "solarize",
  "autocontrast",
)
# The largest changes, at magnitude 10: Cubuk et al., "AutoAugment", 2019, table
# 6, which RandAugment refers to.
_MAX_ANGLE = math.radians(30)
_MAX_SHEAR = 0.3
_MAX_TRANSLATION = 150 / 331  # Of the side; there in pixels of 331.
_MAX_FACTOR = 0.9  # Above 1.
_MAX_BITS = 4  # Taken away of 8.


def draw(
  key: jax.Array, count: int, *, choices: int, magnitude: float
) -> dict[str, jax.Array]:
  """Draws operations and their strengths for every image.

  Args:
    key: the source of randomness.
    count: number of images.
    choices: operations per image, at most as many as there are.
    magnitude: in [0, 10].

  Returns:
    For each operation f32[count]: magnitude / 10 with a random sign, or 0 for
    images that do not get it.
  """
  choice_key, sign_key = jax.random.split(key)
  shape = (count, len(OPERATIONS))
  order = jnp.argsort(jax.random.uniform(choice_key, shape), axis=1)
  # Each operation's place in a random order; the first ones are chosen.
  chosen = jnp.argsort(order, axis=1) < choices
  sign = jnp.where(jax.random.bernoulli(sign_key, shape=shape), 1.0, -1.0)
  strengths = jnp.where(chosen, sign * (magnitude / 10), 0.0)
  return {name: strengths[:, i] for i, name in enumerate(OPERATIONS)}


def maps(strengths: dict[str, jax.Array], size: tuple[int, int]) -> jax.Array:
  """Combines the geometric operations into one affine map per image.

  Args:
    strengths: from `draw`, in [-1, 1].
    size: height and width of the images in pixels.

  Returns:
    f32[batch, 3, 3] for `resampling.warp`.
  """
  angle = _MAX_ANGLE * strengths["rotate"]
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  zero, one = jnp.zeros_like(angle), jnp.ones_like(angle)
  last = (zero, zero, one)
  turn = geometry.matrices((cos, -sin, zero), (sin, cos, zero), last)
  shear_rows = geometry.matrices(
    (one, _MAX_SHEAR * strengths["shear_rows"], zero), (zero, one, zero), last
  )
  shift = [
    _MAX_TRANSLATION * pixels * strengths[f"translate_{axis}"]
    for axis, pixels in zip(("rows", "columns"), size, strict=True)
  ]
  shear_columns = geometry.matrices(
    (one, zero, shift[0]),
    (_MAX_SHEAR * strengths["shear_columns"], one, shift[1]),
    last,
  )
  return geometry.compose(geometry.compose(turn, shear_rows), shear_columns)


def recolour(images: jax.Array, strengths: dict[str, jax.Array]) -> jax.Array:
  """Applies the operations on colours.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    strengths: from `draw`, in [-1, 1].

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  for name in ("brightness", "contrast", "saturation"):
    factor = 1 + _MAX_FACTOR * jnp.abs(strengths[name])
    factor = jnp.where(strengths[name] < 0, 1 / factor, factor)
    images = getattr(colour, name)(images, factor)
  images = posterize(images, jnp.abs(strengths["posterize"]))
  images = solarize(images, jnp.abs(strengths["solarize"]))
  return autocontrast(images, jnp.abs(strengths["autocontrast"]))


def posterize(images: jax.Array, strength: jax.Array) -> jax.Array:
  """Posterize: rounds values down to fewer bits, 4 of 8 at strength 1.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    strength: f32[batch] in [0, 1].

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  bits = jnp.round(_MAX_BITS * strength)
  step = jnp.exp2(bits).reshape(-1, 1, 1, 1)
  return jnp.where(step > 1, jnp.floor(images / step) * step, images)


def solarize(images: jax.Array, strength: jax.Array) -> jax.Array:
  """Solarize: inverts values above (1 - strength) of white.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    strength: f32[batch] in [0, 1].

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  limit = 255 * (1 - strength).reshape(-1, 1, 1, 1)
  return jnp.where(images > limit, 255 - images, images)


def autocontrast(images: jax.Array, strength: jax.Array) -> jax.Array:
  """Autocontrast: stretches every channel to the whole range, blended in.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    strength: f32[batch] in [0, 1], the share of the stretched image.

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  # Or XLA would compute the images twice: for the ends, and for the result.
  images = lax.optimization_barrier(images)
  low = jnp.min(images, axis=(1, 2), keepdims=True)
  span = jnp.max(images, axis=(1, 2), keepdims=True) - low
  # A channel of one value stays.
  stretched = (images - low) * (255 / jnp.maximum(span, 1))
  stretched = jnp.where(span >= 1, stretched, images)
  blend = strength.reshape(-1, 1, 1, 1)
  return colour.clip(images + blend * (stretched - images))
