"""Convolution over all channels, with a fast kernel gradient on CPUs."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops.cpu.convolution import multiplied
from mn_jax.ops.padding import Padding


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


# The fastest formulation on each platform.
KERNEL_GRADIENTS = {"cpu": multiplied, "default": convolved}
