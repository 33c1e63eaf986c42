"""Network input from images: resizing and normalisation."""

import jax
import jax.numpy as jnp
import numpy as np


def to_input(
  images: jax.Array,
  *,
  resolution: int,
  mean: tuple[float, float, float],
  std: tuple[float, float, float],
) -> jax.Array:
  """Resizes and normalises images.

  Args:
    images: u8 or f32[batch, h, w, 3] in [0, 255].
    resolution: height and width of the result in pixels; 0: those of the
      images. Resizing is bilinear, and antialiased when it shrinks.
    mean, std: of each channel, for images in [0, 1].

  Returns:
    f32[batch, resolution, resolution, 3].
  """
  x = images.astype(jnp.float32)
  if resolution and x.shape[1:3] != (resolution, resolution):
    shape = (x.shape[0], resolution, resolution, 3)
    x = jax.image.resize(x, shape, "bilinear", antialias=True)
  # In this order, a mean and deviation of 0.5 give exactly -1 to 1, however
  # XLA fuses it.
  center = np.float32(255 * np.array(mean)).reshape(1, 1, 1, 3)
  scale = np.float32(1 / (255 * np.array(std))).reshape(1, 1, 1, 3)
  return (x - center) * scale
