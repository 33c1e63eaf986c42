"""Blocks of several networks: inverted residuals, squeeze-excite, drop path."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mn_jax.models import fake_quant, layers


class SqueezeExcite(nn.Module):
  """Squeeze and excitation: a gate per channel, from the mean of the map.

  Hu et al., arXiv:1709.01507, with the hard sigmoid of MobileNetV3.

  Attributes:
    hidden: channels between the two dense layers.
  """

  hidden: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, h, w, c], computed in the dtype of `x`."""
    conv = functools.partial(
      layers.Conv, window=1, use_bias=True, dtype=x.dtype
    )
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    mean = fake_quant.rounded(self, mean, "mean")
    squeezed = conv(self.hidden, name="reduce")(mean, jax.nn.relu)
    gate = conv(x.shape[-1], name="expand")(squeezed, layers.hard_sigmoid)
    return fake_quant.rounded(self, x * gate, "product")


class DropPath(nn.Module):
  """Stochastic depth: whole images skip a residual branch at random.

  Huang et al., "Deep Networks with Stochastic Depth", arXiv:1603.09382; as in
  EfficientNet's code and timm, what is kept is divided by its share, so that
  evaluation needs no other scale.

  Attributes:
    rate: that an image skips the branch.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c], a branch before its addition -> the same shape."""
    if not (train and self.rate):
      return x
    keep = 1 - self.rate
    shape = (x.shape[0], *(1,) * (x.ndim - 1))
    kept = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
    return x * (kept.astype(jnp.float32) / keep).astype(x.dtype)


class InvertedResidual(nn.Module):
  """Expand 1x1, depthwise, squeeze and excite, project 1x1, add.

  The block of MobileNetV2 and V3; the projection is a linear bottleneck.

  Attributes:
    expanded: channels of the depthwise convolution; no expansion layer where
      they are the input's.
    features: output channels.
    stride: of the depthwise convolution.
    activation: after the expansion and the depthwise convolution.
    unit: `Backbone.conv_bn` of the network.
    window: height and width of the depthwise kernel.
    squeezed: channels of squeeze and excitation; None for none.
    drop_path: rate of `DropPath`, where there is an addition.
  """

  expanded: int
  features: int
  stride: int
  activation: layers.Activation
  unit: Callable[..., nn.Module]
  window: int = 3
  squeezed: int | None = None
  drop_path: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    hidden = functools.partial(self.unit, activation=self.activation)
    shortcut = x
    if self.expanded != x.shape[-1]:
      x = hidden(self.expanded, window=1, name="expand")(x, train)
    depthwise = hidden(
      None, window=self.window, stride=self.stride, name="depthwise"
    )
    x = depthwise(x, train)
    if self.squeezed is not None:
      x = SqueezeExcite(self.squeezed, name="squeeze_excite")(x)
    x = self.unit(self.features, window=1, name="project")(x, train)
    if self.stride > 1 or shortcut.shape[-1] != self.features:
      return x
    x = DropPath(self.drop_path, name="drop_path")(x, train)
    return fake_quant.rounded(self, x + shortcut, "sum")
