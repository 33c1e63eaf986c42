"""Changes of brightness, contrast, saturation and hue.

Images are f32[batch, h, w, 3] in [0, 255], before and after. Every image has
a number of its own; a factor of 1 and a turn of 0 leave it as it is, bit for
bit.
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
  """Draws f32[count], uniform in [-strength, strength)."""
  return jax.random.uniform(key, (count,), minval=-strength, maxval=strength)


def luma(images: jax.Array) -> jax.Array:
  """Computes luma, the grey that looks as bright.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].

  Returns:
    f32[batch, h, w, 1] in [0, 255].
  """
  red, green, blue = (
    float(weight) * images[..., i : i + 1] for i, weight in enumerate(_YIQ[0])
  )
  # Not a sum over an axis of three: XLA does not fuse that on CPUs.
  return red + green + blue


def brightness(images: jax.Array, factors: jax.Array) -> jax.Array:
  """Changes the brightness: multiplies every value by a factor.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    factors: f32[batch], at least 0.

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  return clip(images * _per_image(factors))


def contrast(images: jax.Array, factors: jax.Array) -> jax.Array:
  """Changes the contrast: multiplies differences from the image's mean grey.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    factors: f32[batch], at least 0.

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  # Or XLA would compute the images twice: for the mean, and for the result.
  images = lax.optimization_barrier(images)
  # The luma of the mean is the mean of the luma, five times as fast on CPUs.
  mean = luma(jnp.mean(images, axis=(1, 2), keepdims=True))
  return clip(images + (_per_image(factors) - 1) * (images - mean))


def saturation(images: jax.Array, factors: jax.Array) -> jax.Array:
  """Changes the saturation: multiplies differences from each pixel's grey.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    factors: f32[batch], at least 0.

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  grey = luma(images)
  return clip(images + (_per_image(factors) - 1) * (images - grey))


def hue(images: jax.Array, turns: jax.Array) -> jax.Array:
  """Changes the hue, by a rotation of the chroma plane of YIQ.

  This is not a shift of HSV's hue: it is linear and does not change the luma,
  unless the result is clipped.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    turns: f32[batch], angles in whole turns.

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  angle = 2 * np.pi * turns
  to_rgb = np.linalg.inv(_YIQ)
  # The rotation minus the identity, so that a turn of 0 changes no bit.
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
  """Clips values to [0, 255]."""
  return jnp.clip(images, 0, 255)


def _per_image(values: jax.Array) -> jax.Array:
  return values.reshape(-1, 1, 1, 1)
