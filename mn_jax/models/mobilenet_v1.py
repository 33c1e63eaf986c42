"""MobileNetV1.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
Vision Applications", arXiv:1704.04861, table 1; its shallow network (table 5)
and its network of full convolutions (table 4).

As in the authors' TF-slim code and Keras Applications, where the paper is
silent or differs: activations are ReLU6; BatchNorm has epsilon 0.001; the last
block has stride 1 (the table's "s2" would give a 4x4 map, not its 7x7).
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from mn_jax.models import layers

# Output channels at width 1.0 and stride of the thirteen separable blocks.
BLOCKS = (
  (64, 1),
  (128, 2),
  (128, 1),
  (256, 2),
  (256, 1),
  (512, 2),
  (512, 1),
  (512, 1),
  (512, 1),
  (512, 1),
  (512, 1),
  (1024, 2),
  (1024, 1),
)
# The shallow network lacks the five blocks of 14x14 pixels and 512 channels.
SHALLOW_BLOCKS = (*BLOCKS[:6], *BLOCKS[11:])


class SeparableBlock(nn.Module):
  """Depthwise 3x3, BatchNorm, ReLU6, pointwise 1x1, BatchNorm, ReLU6."""

  features: int
  stride: int
  norm: Callable[..., nn.Module]
  padding: str
  conv_bias: bool
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    depthwise = functools.partial(
      layers.DepthwiseConv,
      stride=self.stride,
      padding=self.padding,
      use_bias=self.conv_bias,
      dtype=self.dtype,
    )
    pointwise = functools.partial(
      layers.Conv,
      self.features,
      window=1,
      use_bias=self.conv_bias,
      dtype=self.dtype,
    )
    for name, conv in (("depthwise", depthwise), ("pointwise", pointwise)):
      x = layers.ConvBN(conv, self.norm, layers.relu6, name=name)(x, train)
    return x


class MobileNetV1(nn.Module):
  """The backbone of MobileNetV1.

  Attributes:
    width: width multiplier; channels are rounded down as in Keras.
    norm: makes a BatchNorm, given its name.
    padding: a rule of `ops.padding`.
    dtype: compute type of the convolutions.
    shallow: leave five of the thirteen blocks out.
    separable: False replaces every separable block by a full 3x3 convolution.
    block_dropout: rate after every block.
    conv_bias: whether convolutions have biases, which the BatchNorm after
      them makes redundant.
  """

  width: float
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any
  shallow: bool = False
  separable: bool = True
  block_dropout: float = 0.0
  conv_bias: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """f32[batch, h, w, 3] -> (last map, maps 'stem', 'block0', ...)."""
    conv = functools.partial(
      layers.Conv,
      padding=self.padding,
      use_bias=self.conv_bias,
      dtype=self.dtype,
    )
    features = {}
    # Keras's own padding begins with the blocks.
    rule = "same" if self.padding == "end" else self.padding
    stem = functools.partial(conv, int(32 * self.width), stride=2, padding=rule)
    x = layers.ConvBN(stem, self.norm, layers.relu6, name="stem")(x, train)
    features["stem"] = x
    blocks = SHALLOW_BLOCKS if self.shallow else BLOCKS
    for i, (channels, stride) in enumerate(blocks):
      channels = int(channels * self.width)
      if self.separable:
        block = SeparableBlock(
          channels,
          stride,
          self.norm,
          self.padding,
          self.conv_bias,
          self.dtype,
          name=f"block{i}",
        )
      else:
        full = functools.partial(conv, channels, stride=stride)
        block = layers.ConvBN(full, self.norm, layers.relu6, name=f"block{i}")
      x = block(x, train)
      x = nn.Dropout(self.block_dropout, deterministic=not train)(x)
      features[f"block{i}"] = x
    return x, features
