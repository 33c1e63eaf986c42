"""From images of any size to the network's input, in JAX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from mn_jax.export.options import Options
from mn_jax.export.source import Source

# Interpolation -> method of jax.image.
METHODS = {"bilinear": "linear", "bicubic": "cubic"}


def to_network(
  source: Source, options: Options, images: jax.Array
) -> jax.Array:
  """Maps the images that a file takes to the network's input.

  Args:
    source: the network.
    options: of the file, which say how large its images are, whether they are
      ready, and whether they are normalised.
    images: u8[batch, h, w, 3], of which h and w may be symbolic; or normalised
      ones, f32[batch, r, r, 3], which stay as they are.

  Returns:
    f32[batch, r, r, 3], r being the resolution.
  """
  if options.input == "normalised":
    return images
  trained = source.trained
  if options.size != (trained.image_size, trained.image_size):
    images = fit(
      images,
      trained.image_size,
      crop=trained.crop,
      interpolation=trained.interpolation,
    )
  return source.normalise(images)


def fit(
  images: jax.Array, size: int, *, crop: float | None, interpolation: str
) -> jax.Array:
  """Resizes and crops images as `data.decode` does, for any height and width.

  Pixels differ by rounding, at most by a few of 255 levels; images that have
  the size already are not changed where nothing is cropped of them.

  Args:
    images: u8[batch, h, w, 3]; h and w may be symbolic.
    size: height and width of the result in pixels.
    crop: share of the short side that the middle square has; None: resized
      without regard to the aspect ratio.
    interpolation: 'bilinear' or 'bicubic'.

  Returns:
    u8[batch, size, size, 3].
  """
  method = METHODS[interpolation]
  resize = functools.partial(_resize, size=size, crop=crop, method=method)
  if crop is not None and int(size / crop) != size:
    return resize(images)
  height, width = images.shape[1:3]
  if not any(map(jax_export.is_symbolic_dim, (height, width))):
    return images if height == width == size else resize(images)
  is_fit = (jnp.int32(height) == size) & (jnp.int32(width) == size)
  return jax.lax.cond(
    is_fit, functools.partial(_same, size=size), resize, images
  )


def _same(images: jax.Array, *, size: int) -> jax.Array:
  """Returns images of that size as they are, with a shape that is known."""
  # Of another size this is not called; indices keep the shapes right.
  rows, columns = (
    jnp.minimum(jnp.arange(size), jnp.int32(n) - 1) for n in images.shape[1:3]
  )
  return images[:, rows][:, :, columns]


def placement(
  shape: tuple[int, int], size: int, *, crop: float | None
) -> tuple[tuple, tuple]:
  """Returns how an image is scaled and moved so that it fits.

  Args:
    shape: its height and width: numbers, or scalars that JAX traces.
    size, crop: as of `fit`.

  Returns:
    Scale and translation of the two axes, as `jax.image.scale_and_translate`
    takes them.
  """
  resized, corner = (size, size), (0, 0)
  if crop is not None:
    height, width = shape
    known = isinstance(height, int) and isinstance(width, int)
    short = (np if known else jnp).minimum(height, width)
    # Rounded down, as there.
    resized = tuple(int(size / crop) * n // short for n in shape)
    corner = tuple((n - size) // 2 for n in resized)
  scale = tuple(a / b for a, b in zip(resized, shape, strict=True))
  return scale, tuple(-n for n in corner)


def _resize(
  images: jax.Array, *, size: int, crop: float | None, method: str
) -> jax.Array:
  shape, number = images.shape[1:3], np  # constants of the program
  if any(map(jax_export.is_symbolic_dim, shape)):
    shape, number = tuple(map(jnp.int32, shape)), jnp
  scale, translation = placement(shape, size, crop=crop)
  x = jax.image.scale_and_translate(
    images.astype(jnp.float32),
    (images.shape[0], size, size, 3),
    spatial_dims=(1, 2),
    scale=number.stack(scale).astype(np.float32),
    translation=number.stack(translation).astype(np.float32),
    method=method,
    antialias=True,
  )
  return jnp.round(x.clip(0, 255)).astype(jnp.uint8)
