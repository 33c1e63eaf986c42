"""Convolution over all channels, with a fast kernel gradient on CPUs."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops.padding import Padding

# Up to so many input channels all taps go into one matrix product.
_FEW_CHANNELS = 4


def conv(
  x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> jax.Array:
  """Convolves all channels of images.

  Args:
    x: f[batch, h, w, channels].
    kernel: f[kh, kw, channels, features], of the same dtype as `x`.
    stride: the same stride in both directions.
    padding: numbers of zero pixels around the image, from `padding.resolve`.

  Returns:
    f[batch, oh, ow, features] of the dtype of `x`.
  """
  return _conv(stride, padding, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv(
  stride: int, padding: Padding, x: jax.Array, kernel: jax.Array
) -> jax.Array:
  return _lax_conv(stride, padding, x, kernel)


def _lax_conv(stride, padding, x, kernel):
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _conv_fwd(stride, padding, x, kernel):
  return _conv(stride, padding, x, kernel), (x, kernel)


def _conv_bwd(stride, padding, residuals, dy):
  x, kernel = residuals
  _, pull = jax.vjp(lambda x: _lax_conv(stride, padding, x, kernel), x)
  by_platform = {
    platform: functools.partial(function, stride, padding, kernel.shape)
    for platform, function in KERNEL_GRADIENTS.items()
  }
  return pull(dy)[0], lax.platform_dependent(x, dy, **by_platform)


_conv.defvjp(_conv_fwd, _conv_bwd)


def convolved(
  stride: int,
  padding: Padding,
  shape: tuple[int, ...],
  x: jax.Array,
  dy: jax.Array,
) -> jax.Array:
  """Computes the kernel's gradient as JAX derives it, by a convolution.

  Args:
    stride, padding: of the convolution.
    shape: of the kernel, (kh, kw, channels, features).
    x: f[batch, h, w, channels], the input.
    dy: f[batch, oh, ow, features], the output's gradient.

  Returns:
    f[kh, kw, channels, features].
  """
  zeros = jnp.zeros(shape, x.dtype)
  _, pull = jax.vjp(lambda k: _lax_conv(stride, padding, x, k), zeros)
  return pull(dy)[0]


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


# The fastest formulation on each platform.
KERNEL_GRADIENTS = {"cpu": multiplied, "default": convolved}
