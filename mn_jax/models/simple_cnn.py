"""Simple CNN: four convolutions, a baseline without any refinement.

No paper defines it. Each convolution is 3x3 with a bias and ReLU, and followed
by a pooling of 2x2 pixels; the head flattens the map and has one hidden layer.
The width multiplies the channels and that layer, rounded down.
"""

import flax.linen as nn
import jax

from mn_jax.models import layers
from mn_jax.models.classifier import Backbone, HeadSpec
from mn_jax.ops import pooling

# Channels at width 1.0.
CHANNELS = (64, 64, 128, 128)

# Each pooling halves the map, and an odd row or column is lost.
MIN_RESOLUTION = 16


def head(width: float) -> HeadSpec:
  """Returns the head at a width: the map flattened, and one hidden layer."""
  return HeadSpec(pool=False, hidden=(int(32 * width),))


class SimpleCNN(Backbone):
  """The backbone of the simple network; there is no BatchNorm.

  Of the rules of `padding` all but 'valid' agree: no convolution has a stride.
  """

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'block0', ..., after pooling."""
    del train  # nothing differs
    features = {}
    for i, channels in enumerate(CHANNELS):
      conv = layers.Conv(
        int(channels * self.width),
        padding=self.padding,
        use_bias=True,
        dtype=self.dtype,
        name=f"conv{i}",
      )
      x = conv(x, jax.nn.relu)
      x = pooling.max_pool(x, 2, stride=2, padding="valid")
      features[f"block{i}"] = x
    return x, features
