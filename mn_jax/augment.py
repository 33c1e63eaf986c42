"""Images on the device: uint8 to network input, and random changes."""

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.config import AugmentConfig


def augment(
  images: jax.Array, key: jax.Array, config: AugmentConfig
) -> jax.Array:
  """Changes every image at random, independently of the others.

  Args:
    images: u8[batch, h, w, 3].
    key: the only source of randomness.
    config: what to do; without any change the images are returned as given.

  Returns:
    u8[batch, h, w, 3].

  Raises:
    ValueError: for quarter turns of images that are not square.
  """
  flip_key, turn_key = jax.random.split(key)
  if config.flip:
    choice = jax.random.bernoulli(flip_key, shape=(2, images.shape[0]))
    for axis, chosen in ((1, choice[0]), (2, choice[1])):
      images = _where(chosen, jnp.flip(images, axis), images)
  if config.quarter_turns:
    if images.shape[1] != images.shape[2]:
      raise ValueError(
        f"augment.quarter_turns: got images of {images.shape[1]}x"
        f"{images.shape[2]} pixels; valid: square images"
      )
    turns = jax.random.randint(turn_key, (images.shape[0],), 0, 4)
    half = _where(turns >= 2, jnp.flip(images, (1, 2)), images)
    quarter = jnp.rot90(half, axes=(1, 2))
    images = _where(turns % 2 == 1, quarter, half)
  return images


def to_input(
  images: jax.Array,
  *,
  resolution: int,
  mean: tuple[float, float, float],
  std: tuple[float, float, float],
) -> jax.Array:
  """Resizes and normalises.

  Args:
    images: u8[batch, h, w, 3].
    resolution: height and width of the result in pixels; 0 keeps the size.
      Bilinear, antialiased when it shrinks.
    mean, std: per channel, of images in [0, 1].

  Returns:
    f32[batch, resolution, resolution, 3].
  """
  x = images.astype(jnp.float32)
  if resolution and x.shape[1:3] != (resolution, resolution):
    shape = (x.shape[0], resolution, resolution, 3)
    x = jax.image.resize(x, shape, "bilinear", antialias=True)
  # In this order, mean and deviation 0.5 give exactly -1 to 1 however it fuses.
  center = np.float32(255 * np.array(mean)).reshape(1, 1, 1, 3)
  scale = np.float32(1 / (255 * np.array(std))).reshape(1, 1, 1, 3)
  return (x - center) * scale


def _where(chosen: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.where(chosen.reshape(-1, 1, 1, 1), a, b)
