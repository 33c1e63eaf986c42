"""Brightness, contrast, saturation and hue.

Every function takes and returns f32[batch, h, w, 3] in [0, 255], and one number
per image; 1 as a factor and 0 as a turn leave an image as it is, to the bit.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# RGB to YIQ, the colours of NTSC (FCC 1953): luma and two of chroma.
_YIQ = np.array(
  [
    [0.299, 0.587, 0.114],
    [0.5959, -0.2746, -0.3213],
    [0.2115, -0.5227, 0.3112],
  ]
)


def random_changes(key: jax.Array, count: int, strength: float) -> jax.Array:
  """f32[count], drawn evenly from -strength to strength."""
  return jax.random.uniform(key, (count,), minval=-strength, maxval=strength)


def luma(images: jax.Array) -> jax.Array:
  """f32[batch, h, w, 1] in [0, 255]: the grey that looks as bright."""
  red, green, blue = (
    float(weight) * images[..., i : i + 1] for i, weight in enumerate(_YIQ[0])
  )
  # Not a sum over an axis of three: XLA does not fuse that on CPUs.
  return red + green + blue


def brightness(images: jax.Array, factors: jax.Array) -> jax.Array:
  """Multiplies by `factors` f32[batch], at least 0."""
  return clip(images * _per_image(factors))


def contrast(images: jax.Array, factors: jax.Array) -> jax.Array:
  """Multiplies differences from the image's mean grey by `factors`."""
  # Or XLA would compute the images twice: for the mean, and for the result.
  images = lax.optimization_barrier(images)
  # The luma of the mean is the mean of the luma, five times as fast on CPUs.
  mean = luma(jnp.mean(images, axis=(1, 2), keepdims=True))
  return clip(images + (_per_image(factors) - 1) * (images - mean))


def saturation(images: jax.Array, factors: jax.Array) -> jax.Array:
  """Multiplies differences from each pixel's grey by `factors`."""
  grey = luma(images)
  return clip(images + (_per_image(factors) - 1) * (images - grey))


def hue(images: jax.Array, turns: jax.Array) -> jax.Array:
  """Turns the hue, by a rotation of the chroma plane of YIQ.

  Not a shift of HSV's hue: this one is linear and keeps the luma, where the
  result needs no clipping.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    turns: f32[batch], in whole turns.
  """
  angle = 2 * np.pi * turns
  to_rgb = np.linalg.inv(_YIQ)
  # The rotation less the identity, so that no turn changes nothing.
  along = np.float32(to_rgb[:, 1:] @ _YIQ[1:]).reshape(1, 3, 3)
  across = np.float32(to_rgb[:, 1:] @ [[0, -1], [1, 0]] @ _YIQ[1:])
  cos, sin = (f(angle).reshape(-1, 1, 1) for f in (jnp.cos, jnp.sin))
  change = (cos - 1) * along + sin * across.reshape(1, 3, 3)
  # Products written out: XLA fuses them with what comes before and after,
  # which it does not do with a matrix multiplication.
  red, green, blue = (
    images[..., i : i + 1] * change[:, :, i].reshape(-1, 1, 1, 3)
    for i in range(3)
  )
  return clip(images + red + green + blue)


def clip(images: jax.Array) -> jax.Array:
  """Values in [0, 255]."""
  return jnp.clip(images, 0, 255)


def _per_image(values: jax.Array) -> jax.Array:
  return values.reshape(-1, 1, 1, 1)
