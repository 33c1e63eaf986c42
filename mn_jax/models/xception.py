"""Xception.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions",
arXiv:1610.02357, figure 5. The paper has no width multiplier.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from mn_jax.models import fake_quant, layers
from mn_jax.models.classifier import Backbone
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
    unit: `layers.ConvBN` with the norm and compute type of the network.
  """

  features: int
  unit: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, h, w, features]."""
    pointwise = self.unit(self.features, window=1, name="pointwise")
    x = layers.Conv(None, dtype=pointwise.dtype, name="depthwise")(x)
    return pointwise(x, train)


class ResidualBlock(nn.Module):
  """ReLU and separable convolution in turn, max pooling, plus a shortcut.

  The first block of the figure lacks the first ReLU. Its input comes from one,
  so that another changes nothing.

  Attributes:
    features: output channels of each separable convolution.
    stride: of max pooling and of the shortcut's 1x1 convolution; without a
      stride there is neither.
    unit: `layers.ConvBN` with the norm and compute type of the network.
    padding: a rule of `ops.padding`, for max pooling.
  """

  features: tuple[int, ...]
  stride: int
  unit: Callable[..., nn.Module]
  padding: str

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features[-1]]."""
    shortcut = x
    for i, features in enumerate(self.features, start=1):
      unit = SeparableUnit(features, self.unit, name=f"separable{i}")
      x = unit(jax.nn.relu(x), train)
    if self.stride > 1:
      x = pooling.max_pool(x, 3, stride=self.stride, padding=self.padding)
      unit = self.unit(
        self.features[-1], window=1, stride=self.stride, name="shortcut"
      )
      shortcut = unit(shortcut, train)
    return fake_quant.rounded(self, x + shortcut, "sum")


class Xception(Backbone):
  """The backbone of Xception; channels are rounded down.

  `padding` is for max pooling. The two convolutions before the blocks have no
  padding, and the others no stride.
  """

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', ..., 'top2'."""
    features = {}
    for name, channels, stride in (("stem", 32, 2), ("conv2", 64, 1)):
      unit = self.conv_bn(
        int(channels * self.width),
        stride=stride,
        padding="valid",
        activation=jax.nn.relu,
        name=name,
      )
      x = unit(x, train)
      features[name] = x
    for i, (channels, stride) in enumerate(BLOCKS, start=2):
      name = f"block{i}"
      channels = tuple(int(c * self.width) for c in channels)
      x = ResidualBlock(
        channels, stride, self.conv_bn, self.padding, name=name
      )(x, train)
      features[name] = x
    for i, channels in enumerate(TOP, start=1):
      name = f"top{i}"
      channels = int(channels * self.width)
      x = SeparableUnit(channels, self.conv_bn, name=name)(x, train)
      x = jax.nn.relu(x)
      features[name] = x
    return x, features
