"""Depthwise convolution and both gradients as kernels for NVIDIA GPUs.

A candidate of `ops.depthwise`. Arrays are read as they are: no padded copy,
every value once from memory and for further taps from the caches. The forward
pass and the input's gradient are one kernel, a sum over taps that reads at one
stride and writes at another; the kernel's gradient is summed in parts.
"""

import functools
from collections.abc import Callable

import jax

from mn_jax.ops import depthwise_kernels, taps
from mn_jax.ops.depthwise_kernels import Elementwise
from mn_jax.ops.padding import Padding


def depthwise_conv(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int,
  padding: Padding,
  interpret: bool = False,
) -> jax.Array:
  """`ops.depthwise.depthwise_conv` on a GPU.

  Args:
    x: f[batch, h, w, channels], of 32 bits or fewer.
    kernel: f[kh, kw, 1, channels], of the same dtype.
    stride: the same stride in both directions.
    padding: zero pixels around the image.
    interpret: run as plain JAX on any platform, slowly, for tests.

  Returns:
    f[batch, oh, ow, channels] of the dtype of `x`.
  """
  return _conv(stride, padding, interpret, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _conv(stride, padding, interpret, x, kernel):
  plan = taps.forward(x.shape[1:3], kernel.shape[:2], stride, padding)
  y, _ = depthwise_kernels.correlate(
    plan, Elementwise((x,)), kernel, interpret=interpret
  )
  return y


def _conv_fwd(stride, padding, interpret, x, kernel):
  return _conv(stride, padding, interpret, x, kernel), (x, kernel)


def _conv_bwd(stride, padding, interpret, residuals, dy):
  x, kernel = residuals
  plan_of = (x.shape[1:3], kernel.shape[:2], stride, padding)
  given, gradient = Elementwise((x,)), Elementwise((dy,))
  dx, _ = depthwise_kernels.correlate(
    taps.input_gradient(*plan_of), gradient, kernel, interpret=interpret
  )
  dkernel = depthwise_kernels.kernel_gradient(
    taps.forward(*plan_of), given, gradient, interpret=interpret
  )
  return dx, dkernel.astype(kernel.dtype)


_conv.defvjp(_conv_fwd, _conv_bwd)


def activated_conv(
  x: jax.Array,
  factor: jax.Array,
  offset: jax.Array,
  kernel: jax.Array,
  *,
  activation: Callable[[jax.Array], jax.Array],
  stride: int,
  padding: Padding,
  interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """A convolution of activation(x * factor + offset), between BatchNorms.

  The BatchNorm before it comes as a factor and an offset, with the statistics
  in them; for the one behind it there are the output's sums. So the activated
  input is never written, nor is the output read again for its statistics.

  Args:
    x: f[batch, h, w, channels], of 32 bits or fewer.
    factor: f32[channels].
    offset: f32[channels].
    kernel: f[kh, kw, 1, channels], of the dtype of `x`.
    activation: elementwise, differentiable by JAX.
    stride: the same stride in both directions.
    padding: zero pixels around the activated image.
    interpret: run as plain JAX on any platform, slowly, for tests.

  Returns:
    f[batch, oh, ow, channels] of the dtype of `x`, the output y; f32[channels],
    the sum of y over images and pixels; f32[channels], the sum of its squares.
    Both are sums of y before it is rounded to its dtype.
  """
  static = (activation, stride, padding, interpret)
  return _activated(static, x, factor, offset, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _activated(static, x, factor, offset, kernel):
  activation, stride, padding, interpret = static
  y, (total, squares) = depthwise_kernels.correlate(
    taps.forward(x.shape[1:3], kernel.shape[:2], stride, padding),
    _before(activation, x, factor, offset),
    kernel,
    Elementwise(function=lambda y: (y, y, y * y)),
    sums=2,
    interpret=interpret,
  )
  return y, total, squares


def _activated_fwd(static, x, factor, offset, kernel):
  y, total, squares = _activated(static, x, factor, offset, kernel)
  return (y, total, squares), (x, factor, offset, kernel, y)


def _activated_bwd(static, residuals, cotangents):
  activation, stride, padding, interpret = static
  x, factor, offset, kernel, y = residuals
  dy, dtotal, dsquares = cotangents
  plan_of = (x.shape[1:3], kernel.shape[:2], stride, padding)
  # What comes back through the output and through its sums.
  gradient = Elementwise(
    (dy, y),
    (dtotal, 2 * dsquares),
    lambda dy, y, constant, slope: dy + constant + slope * y,
  )

  def finish(dz, x, factor, offset):
    before = x * factor + offset
    (slope,) = jax.vjp(activation, before)[1](dz)
    return slope * factor, slope * x, slope

  dx, (dfactor, doffset) = depthwise_kernels.correlate(
    taps.input_gradient(*plan_of),
    gradient,
    kernel,
    Elementwise((x,), (factor, offset), finish),
    sums=2,
    interpret=interpret,
  )
  dkernel = depthwise_kernels.kernel_gradient(
    taps.forward(*plan_of),
    _before(activation, x, factor, offset),
    gradient,
    interpret=interpret,
  )
  return dx, dfactor, doffset, dkernel.astype(kernel.dtype)


_activated.defvjp(_activated_fwd, _activated_bwd)


def _before(activation, x, factor, offset) -> Elementwise:
  return Elementwise(
    (x,),
    (factor, offset),
    lambda x, factor, offset: activation(x * factor + offset),
  )
