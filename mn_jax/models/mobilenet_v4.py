"""MobileNetV4, the convolutional networks: Conv-Small and Conv-Medium.

Qin et al., "MobileNetV4: Universal Models for the Mobile Ecosystem",
arXiv:2404.10518, the tables of the appendix.

As in timm, whose weights are public: all activations are ReLU; the rows that
the paper calls fused inverted bottlenecks in Conv-Small are two convolutions
with an activation after each. The width multiplier rounds channels to multiples
of 8; it leaves the stem at 32 channels unless it is above 1, and the hidden
layer of the head always.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from mn_jax.models import layers
from mn_jax.models.classifier import HeadSpec


@dataclasses.dataclass(frozen=True)
class Full:
  """A row: convolution, BatchNorm, ReLU.

  Attributes:
    window: height and width of the kernel.
    features: output channels at width 1.0.
    stride: of the convolution.
  """

  window: int
  features: int
  stride: int = 1


@dataclasses.dataclass(frozen=True)
class Fused:
  """A row: a fused inverted bottleneck, see `FusedBottleneck`.

  Attributes:
    window: height and width of the expanding kernel.
    expansion: of the input's channels.
    features: output channels at width 1.0.
    stride: of the expanding convolution.
  """

  window: int
  expansion: int
  features: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Universal:
  """A row: a universal inverted bottleneck, see `UniversalBottleneck`.

  Attributes:
    start, middle: height and width of the two depthwise kernels; 0 for none.
    expansion: of the input's channels.
    features: output channels at width 1.0.
    stride: of the bottleneck.
  """

  start: int
  middle: int
  expansion: int
  features: int
  stride: int = 1


Rows = tuple[Full | Fused | Universal, ...]

# Without the stem and the last convolution, which both have in common.
CONV_SMALL: Rows = (
  Full(3, 32, stride=2),
  Full(1, 32),
  Full(3, 96, stride=2),
  Full(1, 64),
  Universal(5, 5, 3, 96, stride=2),
  Universal(0, 3, 2, 96),
  Universal(0, 3, 2, 96),
  Universal(0, 3, 2, 96),
  Universal(0, 3, 2, 96),
  Universal(3, 0, 4, 96),
  Universal(3, 3, 6, 128, stride=2),
  Universal(5, 5, 4, 128),
  Universal(0, 5, 4, 128),
  Universal(0, 5, 3, 128),
  Universal(0, 3, 4, 128),
  Universal(0, 3, 4, 128),
)
CONV_MEDIUM: Rows = (
  Fused(3, 4, 48, stride=2),
  Universal(3, 5, 4, 80, stride=2),
  Universal(3, 3, 2, 80),
  Universal(3, 5, 6, 160, stride=2),
  Universal(3, 3, 4, 160),
  Universal(3, 3, 4, 160),
  Universal(3, 5, 4, 160),
  Universal(3, 3, 4, 160),
  Universal(3, 0, 4, 160),
  Universal(0, 0, 2, 160),
  Universal(3, 0, 4, 160),
  Universal(5, 5, 6, 256, stride=2),
  Universal(5, 5, 4, 256),
  Universal(3, 5, 4, 256),
  Universal(3, 5, 4, 256),
  Universal(0, 0, 4, 256),
  Universal(3, 0, 4, 256),
  Universal(3, 5, 2, 256),
  Universal(5, 5, 4, 256),
  Universal(0, 0, 4, 256),
  Universal(0, 0, 4, 256),
  Universal(5, 0, 2, 256),
)

_STEM = 32
_TOP = 960

HEAD = HeadSpec(
  hidden=(1280,), activation=jax.nn.relu, norm="before", hidden_bias=False
)


class FusedBottleneck(nn.Module):
  """Expand by a full convolution, project 1x1.

  It has no shortcut: it only occurs with stride 2.
  """

  expanded: int
  features: int
  window: int
  stride: int
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    expand = functools.partial(
      layers.Conv,
      self.expanded,
      window=self.window,
      stride=self.stride,
      padding=self.padding,
      dtype=self.dtype,
    )
    project = functools.partial(
      layers.Conv, self.features, window=1, dtype=self.dtype
    )
    x = layers.ConvBN(expand, self.norm, jax.nn.relu, name="expand")(x, train)
    return layers.ConvBN(project, self.norm, name="project")(x, train)


class UniversalBottleneck(nn.Module):
  """Depthwise, expand 1x1, depthwise, project 1x1, add.

  ReLU follows the expansion and the second depthwise convolution alone. The
  second has the stride, or where there is none, the first.

  Attributes:
    expanded: channels of the second depthwise convolution.
    features: output channels.
    start, middle: height and width of the depthwise kernels; 0 for none.
    stride: of the bottleneck.
    norm: makes a BatchNorm.
    padding: a rule of `ops.padding`.
    dtype: compute type.
  """

  expanded: int
  features: int
  start: int
  middle: int
  stride: int
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    conv = functools.partial(layers.Conv, window=1, dtype=self.dtype)
    depthwise = functools.partial(
      layers.DepthwiseConv, padding=self.padding, dtype=self.dtype
    )
    units = []
    if self.start:
      stride = 1 if self.middle else self.stride
      start = functools.partial(depthwise, window=self.start, stride=stride)
      units.append(("start_depthwise", start, None))
    expand = functools.partial(conv, self.expanded)
    units.append(("expand", expand, jax.nn.relu))
    if self.middle:
      middle = functools.partial(
        depthwise, window=self.middle, stride=self.stride
      )
      units.append(("depthwise", middle, jax.nn.relu))
    project = functools.partial(conv, self.features)
    units.append(("project", project, None))
    shortcut = x
    for name, conv, activation in units:
      x = layers.ConvBN(conv, self.norm, activation, name=name)(x, train)
    residual = self.stride == 1 and shortcut.shape[-1] == self.features
    return x + shortcut if residual else x


class MobileNetV4(nn.Module):
  """The backbone of MobileNetV4.

  Attributes:
    rows: of its blocks: CONV_SMALL or CONV_MEDIUM.
    width: width multiplier.
    norm: makes a BatchNorm, given its name.
    padding: a rule of `ops.padding`.
    dtype: compute type of the convolutions.
  """

  rows: Rows
  width: float
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """f32[batch, h, w, 3] -> (last map, maps 'stem', 'block0', ..., 'top')."""
    features = {}
    channels = layers.make_divisible(_STEM * max(1.0, self.width))
    x = self._full("stem", 3, channels, 2)(x, train)
    features["stem"] = x
    for i, row in enumerate(self.rows):
      name = f"block{i}"
      x = self._block(name, row, x.shape[-1])(x, train)
      features[name] = x
    channels = layers.make_divisible(_TOP * self.width)
    x = self._full("top", 1, channels, 1)(x, train)
    features["top"] = x
    return x, features

  def _full(
    self, name: str, window: int, features: int, stride: int
  ) -> nn.Module:
    conv = functools.partial(
      layers.Conv,
      features,
      window=window,
      stride=stride,
      padding=self.padding,
      dtype=self.dtype,
    )
    return layers.ConvBN(conv, self.norm, jax.nn.relu, name=name)

  def _block(
    self, name: str, row: Full | Fused | Universal, channels: int
  ) -> nn.Module:
    """The block of a row for an input of `channels`."""
    features = layers.make_divisible(row.features * self.width)
    if isinstance(row, Full):
      return self._full(name, row.window, features, row.stride)
    if isinstance(row, Fused):
      block = functools.partial(FusedBottleneck, window=row.window)
    else:
      block = functools.partial(
        UniversalBottleneck, start=row.start, middle=row.middle
      )
    return block(
      expanded=layers.make_divisible(channels * row.expansion),
      features=features,
      stride=row.stride,
      norm=self.norm,
      padding=self.padding,
      dtype=self.dtype,
      name=name,
    )
