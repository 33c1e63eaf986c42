"""VGG16.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", arXiv:1409.1556, table 1, column D. Convolutions have biases and
no BatchNorm. The paper has no width multiplier; here it multiplies the
channels and the hidden layers of the head, rounded down.
"""

from typing import Any

import flax.linen as nn
import jax

from mn_jax.models import layers
from mn_jax.models.classifier import Backbone, HeadSpec
from mn_jax.ops import pooling

# Channels at width 1.0 and number of convolutions of the five blocks.
VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

# Each block halves the map, and an odd row or column is lost.
MIN_RESOLUTION = 32


def head(width: float) -> HeadSpec:
  """Returns the head at a width: the map flattened, and two hidden layers."""
  hidden = int(4096 * width)
  return HeadSpec(pool=False, hidden=(hidden, hidden))


class Block(nn.Module):
  """3x3 convolutions with bias and ReLU, then max pooling of 2x2 pixels.

  Attributes:
    features: output channels.
    count: number of convolutions.
    padding: a rule of `ops.padding`, for the convolutions.
    dtype: compute type.
  """

  features: int
  count: int
  padding: str
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, h // 2, w // 2, features]."""
    for i in range(self.count):
      conv = layers.Conv(
        self.features,
        padding=self.padding,
        use_bias=True,
        dtype=self.dtype,
        name=f"conv{i}",
      )
      x = conv(x, jax.nn.relu)
    return pooling.max_pool(x, 2, stride=2, padding="valid")


class VGG(Backbone):
  """The backbone of VGG16; there is no BatchNorm.

  Of the rules of `padding` all but 'valid' agree: no convolution has a stride.

  Attributes:
    blocks: channels at width 1.0 and number of convolutions of each.
  """

  blocks: tuple[tuple[int, int], ...] = VGG16_BLOCKS

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'block0', ..., after pooling."""
    del train  # nothing differs
    features = {}
    for i, (channels, count) in enumerate(self.blocks):
      x = Block(
        int(channels * self.width),
        count,
        self.padding,
        self.dtype,
        name=f"block{i}",
      )(x)
      features[f"block{i}"] = x
    return x, features
