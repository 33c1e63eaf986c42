"""ResNet.

He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385,
table 1. Shortcuts that change the shape are projections (the paper's option B).

The paper, Caffe and Keras Applications halve the map in the first 1x1
convolution of a bottleneck; torchvision and timm do so in its 3x3 convolution,
which is more precise at more mult-adds (Goyal et al., arXiv:1706.02677,
section 5.1). Here the second is the default, and an option gives the first.

The paper has no width multiplier; here it multiplies all channels, rounded
down.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax

from mn_jax.models import blocks, fake_quant
from mn_jax.models.classifier import Backbone
from mn_jax.ops import pooling

# By the network's depth: residual blocks in each of the four stages, conv2_x to
# conv5_x.
STAGES = {
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 6, 3),
  152: (3, 8, 36, 3),
}
# Networks of this depth and more have bottlenecks.
_BOTTLENECK_DEPTH = 50
# Channels of the first stage, at width 1.0; every further stage doubles them.
_CHANNELS = 64
# A bottleneck's output has four times the channels of its 3x3 convolution.
_EXPANSION = 4


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions, or the bottleneck 1x1, 3x3, 1x1; then the addition.

  Attributes:
    features: channels of the 3x3 convolutions.
    stride: of one convolution and of the shortcut.
    bottleneck: whether it is one, with four times the channels at its end.
    stride_in_1x1: whether a bottleneck's stride is in its first convolution.
    unit: `Backbone.conv_bn` of the network.
    drop_path: rate of `blocks.DropPath`.
  """

  features: int
  stride: int
  bottleneck: bool
  stride_in_1x1: bool
  unit: Callable[..., nn.Module]
  drop_path: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, out]."""
    if self.bottleneck:
      out = self.features * _EXPANSION
      strides = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
      rows = [
        (self.features, 1, strides[0]),
        (self.features, 3, strides[1]),
        (out, 1, 1),
      ]
    else:
      out = self.features
      rows = [(out, 3, self.stride), (out, 3, 1)]
    shortcut = x
    for i, (channels, window, stride) in enumerate(rows):
      activation = jax.nn.relu if i < len(rows) - 1 else None
      unit = self.unit(
        channels,
        window=window,
        stride=stride,
        activation=activation,
        name=f"conv{i}",
      )
      x = unit(x, train)
    if self.stride > 1 or shortcut.shape[-1] != out:
      unit = self.unit(out, window=1, stride=self.stride, name="shortcut")
      shortcut = unit(shortcut, train)
    x = blocks.DropPath(self.drop_path, name="drop_path")(x, train)
    return fake_quant.rounded(self, jax.nn.relu(x + shortcut), "sum")


class ResNet(Backbone):
  """The backbone of a ResNet.

  `padding` is not used: Caffe, torchvision and Keras Applications all pad
  symmetrically.

  Attributes:
    depth: number of layers, one of STAGES.
    stride_in_1x1: whether the first 1x1 convolution of a bottleneck, not its
      3x3 convolution, has the stride.
  """

  depth: int = 18
  stride_in_1x1: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', 'block0', ...

    'stem' is the map before the max-pooling.
    """
    unit = functools.partial(self.conv_bn, padding="symmetric")
    stem = unit(
      int(_CHANNELS * self.width),
      window=7,
      stride=2,
      activation=jax.nn.relu,
      name="stem",
    )
    x = stem(x, train)
    features = {"stem": x}
    x = pooling.max_pool(x, 3, stride=2, padding="symmetric")
    index = 0
    for stage, count in enumerate(STAGES[self.depth]):
      for i in range(count):
        x = ResidualBlock(
          int(_CHANNELS * 2**stage * self.width),
          2 if stage > 0 and i == 0 else 1,
          self.depth >= _BOTTLENECK_DEPTH,
          self.stride_in_1x1,
          unit,
          drop_path=self.drop_rate(index, sum(STAGES[self.depth])),
          name=f"block{index}",
        )(x, train)
        features[f"block{index}"] = x
        index += 1
    return x, features
