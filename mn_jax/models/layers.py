"""Layers that the families share: convolutions, BatchNorm, ConvBN, dense.

Parameters are float32; `dtype` is what products are computed in. BatchNorm's
statistics and the logits are always float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops import depthwise, padding, pointwise

# Keras draws every kernel from Glorot and Bengio's uniform distribution
# (keras.layers.Conv2D, DepthwiseConv2D and Dense, `kernel_initializer`). The
# depthwise fans agree too: 9 and 9 * channels, in either order.
kernel_init = nn.initializers.glorot_uniform()

Activation = Callable[[jax.Array], jax.Array]


def relu6(x: jax.Array) -> jax.Array:
  """min(max(x, 0), 6)."""
  return jnp.minimum(jnp.maximum(x, 0), 6)


def make_divisible(channels: float, divisor: int = 8) -> int:
  """Rounds to a multiple of `divisor`, never below 90 % of `channels`.

  Source: `_make_divisible` of the authors' MobileNetV2 code (TF-slim).
  """
  rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
  return rounded + divisor if rounded < 0.9 * channels else rounded


class Conv(nn.Module):
  """Convolution with TensorFlow's 'SAME' padding; 1x1 as a matrix product."""

  features: int
  window: int = 3
  stride: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """f[batch, h, w, c] -> dtype[batch, ceil(h / stride), ..., features]."""
    window = (self.window, self.window)
    shape = (*window, x.shape[-1], self.features)
    kernel = self.param("kernel", kernel_init, shape).astype(self.dtype)
    x = x.astype(self.dtype)
    if window == (1, 1) and self.stride == 1:
      return pointwise.pointwise_conv(x, kernel[0, 0])
    return lax.conv_general_dilated(
      x,
      kernel,
      (self.stride, self.stride),
      padding.same(x.shape[1:3], window, self.stride),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class DepthwiseConv(nn.Module):
  """Depthwise convolution with TensorFlow's 'SAME' padding."""

  window: int = 3
  stride: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """f[batch, h, w, c] -> dtype[batch, ceil(h / stride), ..., c]."""
    window = (self.window, self.window)
    shape = (*window, 1, x.shape[-1])
    kernel = self.param("kernel", kernel_init, shape).astype(self.dtype)
    return depthwise.depthwise_conv(
      x.astype(self.dtype),
      kernel,
      stride=self.stride,
      padding=padding.same(x.shape[1:3], window, self.stride),
    )


class Dense(nn.Module):
  """x @ kernel + bias, in float32: the classifier head."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """f[batch, c] -> f32[batch, features]."""
    kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    x = pointwise.pointwise_conv(x.astype(jnp.float32), kernel)
    return x + bias.reshape(1, self.features)


class BatchNorm(nn.Module):
  """Batch normalisation with debiased running statistics.

  Running averages that start at mean 0 and variance 1 are wrong until about
  1 / (1 - momentum) steps have passed, which on small data can be the whole
  run. Here every average is divided by the weight it has gathered so far,
  1 - momentum^k after k steps (the correction of Adam, Kingma & Ba 2015), so
  the statistics are right from the first step. With `debias=False` the weight
  starts at 1, which is the rule of Keras and PyTorch.

  The variance is the biased one, in use and in the running average, as in
  Keras 3 and Flax (TensorFlow 1's fused kernel and PyTorch keep the unbiased
  one in the average).

  Attributes:
    momentum: share of the old running average that a step keeps.
    epsilon: added to the variance.
    debias: whether the averages are corrected for their start.
  """

  momentum: float = 0.99
  epsilon: float = 1e-3
  debias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """Normalises over all axes but the last; returns the dtype of `x`."""
    channels = x.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    zeros = functools.partial(jnp.zeros, (channels,))
    ones = functools.partial(jnp.ones, (channels,))
    start = jnp.zeros if self.debias else jnp.ones
    mean = self.variable("batch_stats", "mean", zeros)
    var = self.variable("batch_stats", "var", ones)
    weight = self.variable("batch_stats", "weight", start, ())

    if train:
      axes = tuple(range(x.ndim - 1))
      x32 = x.astype(jnp.float32)
      batch_mean = jnp.mean(x32, axis=axes)
      # One pass over x; the clip is for rounding of constant channels.
      batch_var = jnp.maximum(
        jnp.mean(jnp.square(x32), axis=axes) - jnp.square(batch_mean), 0
      )
      if not self.is_initializing():
        gathered = self.momentum * weight.value + (1 - self.momentum)
        rate = (1 - self.momentum) / gathered
        mean.value = (1 - rate) * mean.value + rate * batch_mean
        var.value = (1 - rate) * var.value + rate * batch_var
        weight.value = gathered
    else:
      batch_mean, batch_var = mean.value, var.value

    factor = scale * lax.rsqrt(batch_var + self.epsilon)
    offset = bias - batch_mean * factor
    shape = (1,) * (x.ndim - 1) + (channels,)
    out = x.astype(jnp.float32) * factor.reshape(shape) + offset.reshape(shape)
    return out.astype(x.dtype)


class ConvBN(nn.Module):
  """A convolution without bias, BatchNorm, and an activation or none.

  Attributes:
    conv: makes the convolution, `Conv` or `DepthwiseConv` with its arguments.
    norm: makes the BatchNorm.
    activation: applied last, or None for a linear layer.
  """

  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  activation: Activation | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    x = self.conv(name="conv")(x)
    x = self.norm(name="norm")(x, train)
    return x if self.activation is None else self.activation(x)
