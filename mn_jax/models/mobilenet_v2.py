"""MobileNetV2.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv:1801.04381, table 2.

As in the authors' TF-slim code and Keras Applications: the first bottleneck
(expansion 1) has no expansion layer; the width multiplier rounds channels to
multiples of 8 and leaves the last convolution at 1280 unless it is above 1.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from mn_jax.models import layers

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


class InvertedResidual(nn.Module):
  """Expand 1x1, depthwise 3x3, project 1x1 (linear bottleneck), add."""

  features: int
  stride: int
  expansion: int
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    conv = functools.partial(layers.Conv, window=1, dtype=self.dtype)
    expand = functools.partial(conv, x.shape[-1] * self.expansion)
    depthwise = functools.partial(
      layers.DepthwiseConv,
      stride=self.stride,
      padding=self.padding,
      dtype=self.dtype,
    )
    project = functools.partial(conv, self.features)
    rows = [
      ("expand", expand, layers.relu6),
      ("depthwise", depthwise, layers.relu6),
      ("project", project, None),
    ]
    shortcut = x
    for name, conv, activation in rows[self.expansion == 1 :]:
      x = layers.ConvBN(conv, self.norm, activation, name=name)(x, train)
    residual = self.stride == 1 and shortcut.shape[-1] == self.features
    return x + shortcut if residual else x


class MobileNetV2(nn.Module):
  """The backbone of MobileNetV2.

  Attributes:
    width: width multiplier.
    norm: makes a BatchNorm, given its name.
    padding: a rule of `ops.padding`.
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
    """f32[batch, h, w, 3] -> (last map, maps 'stem', 'block0', ..., 'top')."""
    conv = functools.partial(
      layers.Conv, padding=self.padding, dtype=self.dtype
    )
    features = {}
    channels = layers.make_divisible(32 * self.width)
    stem = functools.partial(conv, channels, stride=2)
    x = layers.ConvBN(stem, self.norm, layers.relu6, name="stem")(x, train)
    features["stem"] = x
    index = 0
    for expansion, width, repeats, first_stride in BOTTLENECKS:
      channels = layers.make_divisible(width * self.width)
      for repeat in range(repeats):
        name = f"block{index}"
        x = InvertedResidual(
          channels,
          first_stride if repeat == 0 else 1,
          expansion,
          self.norm,
          self.padding,
          self.dtype,
          name=name,
        )(x, train)
        features[name] = x
        index += 1
    channels = layers.make_divisible(1280 * max(1.0, self.width))
    top = functools.partial(conv, channels, window=1)
    x = layers.ConvBN(top, self.norm, layers.relu6, name="top")(x, train)
    features["top"] = x
    return x, features
