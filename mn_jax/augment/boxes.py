"""Random rectangles, for crops, random erasing and CutMix."""

import math

import jax
import jax.numpy as jnp


def random_sides(
  key: jax.Array, area: jax.Array, *, max_ratio: float
) -> tuple[jax.Array, jax.Array]:
  """Draws the sides of rectangles with given areas and random shapes.

  Args:
    key: the source of randomness.
    area: f32[batch] in (0, 1], shares of an image's area.
    max_ratio: largest ratio of the longer side to the shorter, each as a share
      of the image's. Its logarithm is uniform, in a smaller range where a
      side would leave the image.

  Returns:
    Height and width, f32[batch] in (0, 1], whose products are `area`.
  """
  limit = jnp.minimum(math.log(max_ratio), -jnp.log(area))
  half = limit * jax.random.uniform(key, area.shape, minval=-0.5, maxval=0.5)
  side = jnp.sqrt(area)
  return side * jnp.exp(half), side * jnp.exp(-half)


def inside(
  start: tuple[jax.Array, jax.Array],
  stop: tuple[jax.Array, jax.Array],
  size: tuple[int, int],
) -> jax.Array:
  """Marks the pixels that lie in a rectangle.

  Args:
    start, stop: i32[batch] rows and i32[batch] columns; `stop` is outside.
    size: height and width of the images in pixels.

  Returns:
    bool[batch, h, w, 1].
  """
  rows = jnp.arange(size[0]).reshape(1, -1, 1, 1)
  columns = jnp.arange(size[1]).reshape(1, 1, -1, 1)
  (top, left), (bottom, right) = (
    [x.reshape(-1, 1, 1, 1) for x in corner] for corner in (start, stop)
  )
  return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
