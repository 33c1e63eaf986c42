"""MobileNetV1.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
Vision Applications", arXiv:1704.04861, table 1.

As in the authors' TF-slim code and Keras Applications, where the paper is
silent or differs: activations are ReLU6; BatchNorm has epsilon 0.001; the last
block has stride 1 (the table's "s2" would give a 4x4 map, not its 7x7).
Padding is 'SAME' at every size, as in TF-slim; Keras Applications pads only
the bottom and right of strided layers, which differs at odd sizes.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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


class SeparableBlock(nn.Module):
  """Depthwise 3x3, BatchNorm, ReLU6, pointwise 1x1, BatchNorm, ReLU6."""

  features: int
  stride: int
  norm: Any
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, ceil(h / stride), ..., features]."""
    depthwise = functools.partial(
      layers.DepthwiseConv, stride=self.stride, dtype=self.dtype
    )
    pointwise = functools.partial(
      layers.Conv, self.features, window=1, dtype=self.dtype
    )
    for name, conv in (("depthwise", depthwise), ("pointwise", pointwise)):
      x = layers.ConvBN(conv, self.norm, layers.relu6, name=name)(x, train)
    return x


class MobileNetV1(nn.Module):
  """MobileNetV1 with a width multiplier.

  Attributes:
    num_classes: number of logits.
    width: width multiplier; channels are rounded down as in Keras.
    dropout: rate before the classifier.
    norm_momentum, norm_debias: see `layers.BatchNorm`.
    dtype: compute type of the convolutions.
  """

  num_classes: int
  width: float = 1.0
  dropout: float = 0.0
  norm_momentum: float = 0.99
  norm_debias: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Classifies images.

    Args:
      x: f32[batch, h, w, 3], normalised.
      train: whether BatchNorm uses and gathers batch statistics and dropout
        is on (then an rng named 'dropout' is needed unless the rate is 0).

    Returns:
      Logits f32[batch, num_classes], and the named feature maps: 'stem',
      'block0' to 'block12' and 'pooled'.
    """
    norm = functools.partial(
      layers.BatchNorm, momentum=self.norm_momentum, debias=self.norm_debias
    )
    features = {}
    stem = functools.partial(
      layers.Conv, int(32 * self.width), stride=2, dtype=self.dtype
    )
    x = layers.ConvBN(stem, norm, layers.relu6, name="stem")(x, train)
    features["stem"] = x
    for i, (channels, stride) in enumerate(BLOCKS):
      name = f"block{i}"
      x = SeparableBlock(
        int(channels * self.width), stride, norm, self.dtype, name=name
      )(x, train)
      features[name] = x
    x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
    features["pooled"] = x
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return layers.Dense(self.num_classes, name="head")(x), features
