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

import flax.linen as nn
import jax

from mn_jax.models import layers
from mn_jax.models.classifier import Backbone

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
  """Depthwise 3x3, BatchNorm, ReLU6, pointwise 1x1, BatchNorm, ReLU6.

  Attributes:
    features: output channels.
    stride: of the depthwise convolution.
    unit: `Backbone.conv_bn` of the network, with ReLU6.
  """

  features: int
  stride: int
  unit: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    x = self.unit(None, stride=self.stride, name="depthwise")(x, train)
    return self.unit(self.features, window=1, name="pointwise")(x, train)


class MobileNetV1(Backbone):
  """The backbone of MobileNetV1; channels are rounded down as in Keras.

  Attributes:
    shallow: leave five of the thirteen blocks out.
    separable: False replaces every separable block by a full 3x3 convolution.
    block_dropout: rate after the stem and after every block.
    conv_bias: whether convolutions have biases, which the BatchNorm after
      them makes redundant.
  """

  shallow: bool = False
  separable: bool = True
  block_dropout: float = 0.0
  conv_bias: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', 'block0', ..."""
    unit = functools.partial(
      self.conv_bn, use_bias=self.conv_bias, activation=layers.relu6
    )
    # Keras's own padding begins with the blocks.
    padding = "same" if self.padding == "end" else self.padding
    stem = unit(int(32 * self.width), stride=2, padding=padding, name="stem")
    dropout = functools.partial(
      nn.Dropout, self.block_dropout, deterministic=not train
    )
    x = dropout()(stem(x, train))
    features = {"stem": x}
    blocks = SHALLOW_BLOCKS if self.shallow else BLOCKS
    for i, (channels, stride) in enumerate(blocks):
      name, channels = f"block{i}", int(channels * self.width)
      if self.separable:
        block = SeparableBlock(channels, stride, unit, name=name)
      else:
        block = unit(channels, stride=stride, name=name)
      x = block(x, train)
      x = dropout()(x)
      features[name] = x
    return x, features
