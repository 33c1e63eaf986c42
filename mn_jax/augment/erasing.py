"""Random erasing.

Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.
"""

import jax
import jax.numpy as jnp

from mn_jax.augment import boxes

# The paper's table of hyper-parameters: shares of the area, ratio of the sides.
_AREA = (0.02, 0.4)
_RATIO = 1 / 0.3


def erase(images: jax.Array, key: jax.Array, probability: float) -> jax.Array:
  """Covers a random rectangle of each image, with some probability.

  Deviations from the paper: a rectangle that would leave the image gets a less
  extreme ratio, instead of being drawn again; the logarithm of the ratio is
  uniform; and a rectangle has one random colour rather than one per pixel,
  which costs a thousandth of the random numbers.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    key: the source of randomness.
    probability: that an image gets a rectangle, in [0, 1].

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  batch, *size, _ = images.shape
  chosen_key, area_key, ratio_key, row_key, column_key, colour_key = (
    jax.random.split(key, 6)
  )
  chosen = jax.random.bernoulli(chosen_key, probability, (batch,))
  area = jax.random.uniform(
    area_key, (batch,), minval=_AREA[0], maxval=_AREA[1]
  )
  sides = boxes.random_sides(ratio_key, area, max_ratio=_RATIO)
  start, stop = [], []
  for axis_key, side, count in zip(
    (row_key, column_key), sides, size, strict=True
  ):
    pixels = jnp.clip(jnp.round(side * count).astype(jnp.int32), 1, count)
    first = jax.random.randint(axis_key, (batch,), 0, count - pixels + 1)
    start.append(first)
    stop.append(first + jnp.where(chosen, pixels, 0))
  covered = boxes.inside(tuple(start), tuple(stop), tuple(size))
  colours = jax.random.uniform(colour_key, (batch, 1, 1, 3), maxval=255.0)
  return jnp.where(covered, colours, images)
