"""MobileNetV2.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv:1801.04381, table 2.

As in the authors' TF-slim code and Keras Applications: the first bottleneck
(expansion 1) has no expansion layer; the width multiplier rounds channels to
multiples of 8 and leaves the last convolution at 1280 unless it is above 1.
"""

import flax.linen as nn
import jax

from mn_jax.models import blocks, layers
from mn_jax.models.classifier import Backbone

# Expansion t, output channels c at width 1.0, repeats n, first stride s.
BOTTLENECKS = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)


class MobileNetV2(Backbone):
  """The backbone of MobileNetV2."""

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', 'block0', ..., 'top'."""
    channels = layers.make_divisible(32 * self.width)
    stem = self.conv_bn(
      channels, stride=2, activation=layers.relu6, name="stem"
    )
    x = stem(x, train)
    features = {"stem": x}
    index, count = 0, sum(repeats for _, _, repeats, _ in BOTTLENECKS)
    for expansion, width, repeats, first_stride in BOTTLENECKS:
      channels = layers.make_divisible(width * self.width)
      for repeat in range(repeats):
        name = f"block{index}"
        stride = first_stride if repeat == 0 else 1
        expanded = x.shape[-1] * expansion
        x = blocks.InvertedResidual(
          expanded,
          channels,
          stride,
          layers.relu6,
          self.conv_bn,
          drop_path=self.drop_rate(index, count),
          name=name,
        )(x, train)
        features[name] = x
        index += 1
    channels = layers.make_divisible(1280 * max(1.0, self.width))
    top = self.conv_bn(channels, window=1, activation=layers.relu6, name="top")
    x = top(x, train)
    features["top"] = x
    return x, features
