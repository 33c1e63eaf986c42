"""Layers of the networks: convolutions, BatchNorm, ConvBN, dense, activations.

Parameters are float32; `dtype` is the compute type of products. BatchNorm's
statistics and the logits are always float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.models import fake_quant
from mn_jax.ops import batch_norm, convolution, pointwise
from mn_jax.ops import padding as padding_lib
from mn_jax.ops.depthwise import depthwise_conv
from mn_jax.ops.gpu import chain, origins

# Keras draws every kernel from Glorot and Bengio's uniform distribution
# (keras.layers.Conv2D, DepthwiseConv2D and Dense, `kernel_initializer`). The
# depthwise fans agree too: 9 and 9 * channels, in either order.
kernel_init = nn.initializers.glorot_uniform()

Activation = Callable[[jax.Array], jax.Array]


@jax.custom_jvp
def relu6(x: jax.Array) -> jax.Array:
  """ReLU6: min(max(x, 0), 6), with a gradient of 0 at 0 and at 6."""
  return jnp.minimum(jnp.maximum(x, 0), 6)


# JAX would halve the gradients at 0 and 6: a division of every element for
# each. `jax.nn.relu` has none there either.
relu6.defjvps(lambda tangent, _, x: jnp.where((x > 0) & (x < 6), tangent, 0))


def hard_sigmoid(x: jax.Array) -> jax.Array:
  """Hard sigmoid: relu6(x + 3) / 6."""
  return relu6(x + 3) / 6


def hard_swish(x: jax.Array) -> jax.Array:
  """Hard swish: x * relu6(x + 3) / 6."""
  return x * hard_sigmoid(x)


def make_divisible(channels: float, divisor: int = 8) -> int:
  """Rounds to a multiple of `divisor`, never below 90 % of `channels`.

  Source: `_make_divisible` of the authors' MobileNetV2 code (TF-slim).
  """
  rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
  return rounded + divisor if rounded < 0.9 * channels else rounded


# What int8 files compute as a part of the layer before, without rounding.
_FUSED = (None, jax.nn.relu, relu6)


class Conv(nn.Module):
  """Convolution over all channels, or of every channel with its own kernel.

  Attributes:
    features: output channels; None for a depthwise convolution.
    window: kernel height and width in pixels, or one number for both.
    stride: in both directions.
    padding: a rule of `ops.padding`.
    use_bias: whether a bias is added.
    dtype: compute type.
  """

  features: int | None
  window: int | tuple[int, int] = 3
  stride: int = 1
  padding: str = "same"
  use_bias: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    activation: Activation | None = None,
    folded: tuple[jax.Array, jax.Array] | None = None,
  ) -> jax.Array:
    """Convolves images, and applies an activation.

    Args:
      x: f[batch, h, w, c].
      activation: elementwise, applied last; None for none.
      folded: factor and offset f32[features or c] of the output's channels, of
        a BatchNorm between convolution and activation.

    Returns:
      dtype[batch, oh, ow, features or c].
    """
    window, channels = as_pair(self.window), x.shape[-1]
    depthwise = self.features is None
    outputs = channels if depthwise else self.features
    shape = (*window, 1 if depthwise else channels, outputs)
    kernel = self.param("kernel", kernel_init, shape)
    if folded is not None:
      kernel = kernel * folded[0].reshape(1, 1, 1, -1)
    if fake_quant.is_on(self):
      kernel = fake_quant.kernel(self, kernel)
    kernel = kernel.astype(self.dtype)
    x = x.astype(self.dtype)
    # Within `chain.links` alone.
    linked = chain.applies(x, outputs)
    if window == (1, 1) and not depthwise:
      if self.stride > 1:
        # Without padding a stride only picks pixels.
        x = x[:, :: self.stride, :: self.stride]
      mix = chain.pointwise_conv if linked else pointwise.pointwise_conv
      out = mix(x, kernel[0, 0])
    else:
      conv = convolution.conv
      if depthwise:
        conv = chain.depthwise_conv if linked else depthwise_conv
      padding = padding_lib.resolve(
        self.padding, (x.shape[1], x.shape[2]), window, self.stride
      )
      out = conv(x, kernel, stride=self.stride, padding=padding)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (outputs,))
      if folded is not None:
        bias = bias * folded[0]
      out = out + bias.astype(self.dtype).reshape(1, 1, 1, -1)
    if folded is not None:
      out = out + folded[1].reshape(1, 1, 1, -1)
    return _activate(self, out, activation)


class Dense(nn.Module):
  """Dense layer of a head, in float32: x @ kernel + bias.

  Attributes:
    features: output features.
    use_bias: whether a bias is added.
  """

  features: int
  use_bias: bool = True

  @nn.compact
  def __call__(
    self, x: jax.Array, activation: Activation | None = None
  ) -> jax.Array:
    """f[batch, c] -> f32[batch, features], with an activation if given."""
    kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
    if fake_quant.is_on(self):
      kernel = fake_quant.kernel(self, kernel)
    x = pointwise.pointwise_conv(x.astype(jnp.float32), kernel)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
      x = x + bias.reshape(1, self.features)
    return _activate(self, x, activation)


def _activate(
  layer: nn.Module, x: jax.Array, activation: Activation | None
) -> jax.Array:
  """Applies an activation, with the roundings of int8 around it."""
  if activation not in _FUSED:
    x = fake_quant.rounded(layer, x, "preactivation")
  if activation is not None:
    x = activation(x)
  return fake_quant.rounded(layer, x, "output")


class BatchNorm(nn.Module):
  """Batch normalisation with debiased running statistics.

  Running averages that start at mean 0 and variance 1 are wrong until about
  1 / (1 - momentum) steps have passed, which on small data can be the whole
  run. Here every average is divided by its weight so far, 1 - momentum^k after
  k steps (the correction of Adam, Kingma & Ba 2015), so the statistics are
  right from the first step. With `debias=False` the weight starts at 1, which
  is the rule of Keras and PyTorch.

  The variance is the biased one, in use and in the running average, as in
  Keras 3 and Flax (TensorFlow 1's fused kernel and PyTorch keep the unbiased
  one in the average).

  Attributes:
    momentum: share of the old running average that a step keeps.
    epsilon: added to the variance.
    debias: whether the averages are corrected for their start.
    use_scale: whether there is a learned scale.
    group: number of images that are normalised together in training (ghost
      batches); 0: the whole batch. The running averages are then those of the
      groups' means.
    frozen: says of a layer's path ('backbone/block3/expand/norm') whether its
      running statistics are used, and not updated, in training too.
  """

  momentum: float = 0.99
  epsilon: float = 1e-3
  debias: bool = True
  use_scale: bool = True
  group: int = 0
  frozen: Callable[[str], bool] | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool, activation: Activation | None = None
  ) -> jax.Array:
    """Normalises over all axes but the last, and applies an activation.

    Args:
      x: f[..., channels].
      train: whether the batch's statistics are used, and update the running
        ones.
      activation: elementwise, applied last; None for none.

    Returns:
      f[..., channels] of the dtype of `x`.
    """
    channels = x.shape[-1]
    factor = 1.0
    if self.use_scale:
      factor = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    zeros = functools.partial(jnp.zeros, (channels,))
    ones = functools.partial(jnp.ones, (channels,))
    start = jnp.zeros if self.debias else jnp.ones
    mean = self.variable("batch_stats", "mean", zeros)
    var = self.variable("batch_stats", "var", ones)
    weight = self.variable("batch_stats", "weight", start, ())

    if train and not (self.frozen and self.frozen("/".join(self.path))):
      out, batch_mean, batch_var = batch_norm.batch_norm(
        x,
        jnp.broadcast_to(factor, (channels,)),
        bias,
        epsilon=self.epsilon,
        activation=activation,
        group=self.group,
      )
      if not self.is_initializing():
        weight_sum = self.momentum * weight.value + (1 - self.momentum)
        rate = (1 - self.momentum) / weight_sum
        mean.value = (1 - rate) * mean.value + rate * batch_mean
        var.value = (1 - rate) * var.value + rate * batch_var
        weight.value = weight_sum
      return out
    factor = factor * lax.rsqrt(var.value + self.epsilon)
    offset = bias - mean.value * factor
    shape = (1,) * (x.ndim - 1) + (channels,)
    out = x.astype(jnp.float32) * factor.reshape(shape) + offset.reshape(shape)
    out = (activation or (lambda x: x))(out).astype(x.dtype)
    if chain.applies(x):
      origins.note(out, origins.Normalised(x, (factor, offset), activation))
    return out

  def affine(self) -> tuple[jax.Array, jax.Array]:
    """Returns factor and offset f32[channels] by the running statistics."""
    bias = self.get_variable("params", "bias")
    mean = self.get_variable("batch_stats", "mean")
    var = self.get_variable("batch_stats", "var")
    factor = lax.rsqrt(var + self.epsilon)
    if self.use_scale:
      factor = factor * self.get_variable("params", "scale")
    return factor, bias - mean * factor


class FoldedNorm(nn.Module):
  """The bias that is left of a BatchNorm folded into its convolution."""

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool, activation: Activation | None = None
  ) -> jax.Array:
    """Adds the bias and applies an activation; returns the dtype of `x`."""
    if train:
      raise ValueError("a network with folded BatchNorm cannot be trained")
    bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
    shape = (1,) * (x.ndim - 1) + (x.shape[-1],)
    x = x + bias.astype(x.dtype).reshape(shape)
    return x if activation is None else activation(x)


class ConvBN(nn.Module):
  """A convolution, BatchNorm, and an activation or none.

  Attributes:
    features: output channels; None for a depthwise convolution.
    norm: makes the BatchNorm, given its name.
    window, stride, padding, use_bias, dtype: of the convolution, as of `Conv`.
    activation: applied last, or None for a linear layer.
  """

  features: int | None
  norm: Callable[..., nn.Module]
  window: int | tuple[int, int] = 3
  stride: int = 1
  padding: str = "same"
  use_bias: bool = False
  dtype: Any = jnp.float32
  activation: Activation | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    conv = Conv(
      self.features,
      window=self.window,
      stride=self.stride,
      padding=self.padding,
      use_bias=self.use_bias,
      dtype=self.dtype,
      name="conv",
    )
    norm = self.norm(name="norm")
    if fake_quant.is_on(conv):
      return conv(x, self.activation, norm.affine())
    return norm(conv(x), train, self.activation)


def as_pair(window: int | tuple[int, int]) -> tuple[int, int]:
  """Returns height and width of a window that may be one number for both."""
  return (window, window) if isinstance(window, int) else window
