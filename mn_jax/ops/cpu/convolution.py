"""The kernel's gradient of a full convolution on CPUs, by matrix products."""

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops.padding import Padding

# Up to so many input channels all taps go into one matrix product.
_FEW_CHANNELS = 4


def multiplied(
  stride: int,
  padding: Padding,
  shape: tuple[int, ...],
  x: jax.Array,
  dy: jax.Array,
) -> jax.Array:
  """Computes the kernel's gradient by matrix products over all pixels.

  One product for every tap of the kernel or, where the channels are few, one
  for all taps. The convolution that JAX derives takes XLA's CPU backend
  1.2-2.5 x as long.

  Args:
    stride, padding: of the convolution.
    shape: of the kernel, (kh, kw, channels, features).
    x: f[batch, h, w, channels], the input.
    dy: f[batch, oh, ow, features], the output's gradient.

  Returns:
    f[kh, kw, channels, features].
  """
  height, width, channels, features = shape
  out = dy.shape[1:3]
  padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0))))

  def window(x, tap, axis):
    limit = tap + stride * (out[axis] - 1) + 1
    return lax.slice_in_dim(x, tap, limit, stride, axis=x.ndim - 3 + axis)

  def product(pixels):
    pixels = lax.optimization_barrier(pixels)
    return lax.dot_general(
      pixels.reshape(-1, pixels.shape[-1]),
      dy.reshape(-1, features),
      (((0,), (0,)), ((), ())),
    )

  if channels <= _FEW_CHANNELS and max(height, width) <= 3:
    # Whole rows first: they are contiguous.
    rows = jnp.stack([window(padded, i, 0) for i in range(height)], axis=2)
    taps = [window(rows, j, 1) for j in range(width)]
    # [batch, oh, i, ow, j * channels] -> [batch, oh, ow, i, j * channels]
    pixels = jnp.moveaxis(jnp.concatenate(taps, axis=-1), 2, 3)
    return product(pixels.reshape(*pixels.shape[:3], -1)).reshape(shape)
  taps = [
    window(window(padded, i, 0), j, 1)
    for i in range(height)
    for j in range(width)
  ]
  if channels <= _FEW_CHANNELS:
    return product(jnp.concatenate(taps, axis=-1)).reshape(shape)
  return jnp.stack([product(tap) for tap in taps]).reshape(shape)
