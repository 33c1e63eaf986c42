"""Xception.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions",
arXiv:1610.02357, figure 5. The paper has no width multiplier.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from mn_jax.models import layers
from mn_jax.ops import pooling

# Output channels of the separable convolutions of 'block2' to 'block13', and
# the stride of the max pooling after them, in the entry, middle and exit flow.
BLOCKS = (
  ((128, 128), 2),
  ((256, 256), 2),
  ((728, 728), 2),
  *(((728, 728, 728), 1),) * 8,
  ((728, 1024), 2),
)
# Of the two at the end, 'top1' and 'top2', each with a ReLU after it.
TOP = (1536, 2048)


class SeparableUnit(nn.Module):
  """Depthwise 3x3, pointwise 1x1, BatchNorm; nothing between the first two.

  Attributes:
    features: output channels.
    norm: makes a BatchNorm.
    dtype: compute type.
  """

  features: int
  norm: Callable[..., nn.Module]
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, h, w, features]."""
    x = layers.DepthwiseConv(dtype=self.dtype, name="depthwise")(x)
    pointwise = functools.partial(
      layers.Conv, self.features, window=1, dtype=self.dtype
    )
    return layers.ConvBN(pointwise, self.norm, name="pointwise")(x, train)


class ResidualBlock(nn.Module):
  """ReLU and separable convolution in turn, max pooling, plus a shortcut.

  The first block of the figure lacks the first ReLU. Its input comes from one,
  so that another changes nothing.

  Attributes:
    features: output channels of each separable convolution.
    stride: of max pooling and of the shortcut's 1x1 convolution; without a
      stride there is neither.
    norm: makes a BatchNorm.
    padding: a rule of `ops.padding`, for max pooling.
    dtype: compute type.
  """

  features: tuple[int, ...]
  stride: int
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features[-1]]."""
    shortcut = x
    for i, features in enumerate(self.features, start=1):
      x = SeparableUnit(features, self.norm, self.dtype, name=f"separable{i}")(
        jax.nn.relu(x), train
      )
    if self.stride > 1:
      x = pooling.max_pool(x, 3, stride=self.stride, padding=self.padding)
      conv = functools.partial(
        layers.Conv,
        self.features[-1],
        window=1,
        stride=self.stride,
        dtype=self.dtype,
      )
      shortcut = layers.ConvBN(conv, self.norm, name="shortcut")(
        shortcut, train
      )
    return x + shortcut


class Xception(nn.Module):
  """The backbone of Xception.

  Attributes:
    width: factor of all channels, which are rounded down.
    norm: makes a BatchNorm, given its name.
    padding: a rule of `ops.padding`, for max pooling. The two convolutions
      before the blocks have no padding.
    dtype: compute type of the convolutions.
  """

  width: float
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """f32[batch, h, w, 3] -> (last map, maps 'stem', ..., 'top2')."""
    features = {}
    for name, channels, stride in (("stem", 32, 2), ("conv2", 64, 1)):
      conv = functools.partial(
        layers.Conv,
        int(channels * self.width),
        stride=stride,
        padding="valid",
        dtype=self.dtype,
      )
      x = layers.ConvBN(conv, self.norm, jax.nn.relu, name=name)(x, train)
      features[name] = x
    for i, (channels, stride) in enumerate(BLOCKS, start=2):
      name = f"block{i}"
      x = ResidualBlock(
        tuple(int(c * self.width) for c in channels),
        stride,
        self.norm,
        self.padding,
        self.dtype,
        name=name,
      )(x, train)
      features[name] = x
    for i, channels in enumerate(TOP, start=1):
      name = f"top{i}"
      x = SeparableUnit(
        int(channels * self.width), self.norm, self.dtype, name=name
      )(x, train)
      x = jax.nn.relu(x)
      features[name] = x
    return x, features
