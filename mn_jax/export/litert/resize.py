"""Resizing inside of LiteRT files, for images of one size.

LiteRT's own operation does not antialias. As a product with a matrix, as which
JAX writes it, resizing 480x640 pixels takes as long as MobileNetV1; a pixel of
the result needs only few of the image, which are gathered.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.export import fitting
from mn_jax.export.options import Options
from mn_jax.export.source import Source


def to_resolution(
  source: Source, options: Options, images: jax.Array
) -> jax.Array:
  """Resizes images as `fitting.to_network` does, without normalising them.

  Args:
    source: the network.
    options: of the file.
    images: u8[batch, h, w, 3], of the file's size.

  Returns:
    u8[batch, r, r, 3], or f32 where the resolution r is another than the size
    of the images in training.
  """
  trained, resolution = source.trained, source.resolution
  size = (trained.image_size, trained.image_size)
  if options.size != size:
    scale, translation = fitting.placement(
      options.size, size[0], crop=trained.crop
    )
    method = fitting.METHODS[trained.interpolation]
    x = _resize(images, size, scale, translation, method)
    images = jnp.round(x.clip(0, 255)).astype(jnp.uint8)
  if size != (resolution, resolution):
    scale = (resolution / size[0],) * 2
    images = _resize(images, (resolution,) * 2, scale, (0, 0), "linear")
  return images


def _resize(
  images: jax.Array,
  size: tuple[int, int],
  scale: tuple[float, float],
  translation: tuple[float, float],
  method: str,
) -> jax.Array:
  x = images.astype(jnp.float32)
  for axis in (1, 2):
    with jax.ensure_compile_time_eval():
      matrix = jax.image.scale_and_translate(
        np.eye(x.shape[axis], dtype=np.float32),
        (size[axis - 1], x.shape[axis]),
        spatial_dims=(0,),
        scale=np.float32([scale[axis - 1]]),
        translation=np.float32([translation[axis - 1]]),
        method=method,
        antialias=True,
      )
    x = _weighted(x, axis, np.asarray(matrix))
  return x


def _weighted(x: jax.Array, axis: int, matrix: np.ndarray) -> jax.Array:
  """Multiplies an axis by a matrix of few entries a row, side by side."""
  used = matrix != 0
  first = used.argmax(axis=1)
  last = matrix.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
  # Not the number of entries: bicubic has zeros between them.
  count = (last - first).max() + 1
  first = np.minimum(first, matrix.shape[1] - count)
  shape = [1, 1, 1, 1]
  shape[axis] = -1
  terms = []
  for k in range(count):
    columns = (first + k).astype(np.int32)
    weights = matrix[np.arange(len(matrix)), columns].reshape(shape)
    terms.append(_columns(x, columns, axis) * weights)
  return functools.reduce(operator.add, terms)


def _columns(x: jax.Array, columns: np.ndarray, axis: int) -> jax.Array:
  if (np.diff(columns) == 1).all():
    # The converter makes a slice of that gather too, one of fixed batch.
    return jax.lax.slice_in_dim(x, columns[0], columns[-1] + 1, axis=axis)
  return jnp.take(x, columns, axis=axis, mode="clip")
