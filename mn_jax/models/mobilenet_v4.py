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

import flax.linen as nn
import jax

from mn_jax.models import blocks, fake_quant, layers
from mn_jax.models.classifier import Backbone, HeadSpec


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
class Universal:
  """A row: a universal inverted bottleneck, a `UniversalBottleneck`.

  Attributes:
    start, middle: height and width of the two depthwise kernels; 0 for none.
    expansion: of the input's channels.
    features: output channels at width 1.0.
    stride: of the bottleneck.
    window: height and width of the expanding kernel; above 1 for what the paper
      calls a fused inverted bottleneck.
  """

  start: int
  middle: int
  expansion: int
  features: int
  stride: int = 1
  window: int = 1


Rows = tuple[Full | Universal, ...]

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
  Universal(0, 0, 4, 48, stride=2, window=3),
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


class UniversalBottleneck(nn.Module):
  """Depthwise, expand, depthwise, project 1x1, add.

  ReLU follows the expansion and the second depthwise convolution alone. The
  second has the stride; where there is none, the first; else the expansion.

  Attributes:
    expanded: channels of the second depthwise convolution.
    features: output channels.
    start, middle: height and width of the depthwise kernels; 0 for none.
    stride: of the bottleneck.
    window: height and width of the expanding kernel.
    unit: `Backbone.conv_bn` of the network.
    drop_path: rate of `blocks.DropPath`, where there is an addition.
  """

  expanded: int
  features: int
  start: int
  middle: int
  stride: int
  window: int
  unit: Callable[..., nn.Module]
  drop_path: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, features]."""
    unit, relu, shortcut = self.unit, jax.nn.relu, x
    if self.start:
      stride = 1 if self.middle else self.stride
      start = unit(
        None, window=self.start, stride=stride, name="start_depthwise"
      )
      x = start(x, train)
    expand = unit(
      self.expanded,
      window=self.window,
      stride=1 if self.start or self.middle else self.stride,
      activation=relu,
      name="expand",
    )
    x = expand(x, train)
    if self.middle:
      middle = unit(
        None,
        window=self.middle,
        stride=self.stride,
        activation=relu,
        name="depthwise",
      )
      x = middle(x, train)
    x = unit(self.features, window=1, name="project")(x, train)
    if self.stride > 1 or shortcut.shape[-1] != self.features:
      return x
    x = blocks.DropPath(self.drop_path, name="drop_path")(x, train)
    return fake_quant.rounded(self, x + shortcut, "sum")


class MobileNetV4(Backbone):
  """The backbone of MobileNetV4.

  Attributes:
    rows: of its blocks: CONV_SMALL or CONV_MEDIUM.
  """

  rows: Rows = CONV_SMALL

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', 'block0', ..., 'top'."""
    full = functools.partial(self.conv_bn, activation=jax.nn.relu)
    channels = layers.make_divisible(_STEM * max(1.0, self.width))
    x = full(channels, stride=2, name="stem")(x, train)
    features = {"stem": x}
    for i, row in enumerate(self.rows):
      name = f"block{i}"
      channels = layers.make_divisible(row.features * self.width)
      if isinstance(row, Full):
        block = full(channels, window=row.window, stride=row.stride, name=name)
      else:
        block = UniversalBottleneck(
          layers.make_divisible(x.shape[-1] * row.expansion),
          channels,
          row.start,
          row.middle,
          row.stride,
          row.window,
          self.conv_bn,
          drop_path=self.drop_rate(i, len(self.rows)),
          name=name,
        )
      x = block(x, train)
      features[name] = x
    channels = layers.make_divisible(_TOP * self.width)
    x = full(channels, window=1, name="top")(x, train)
    features["top"] = x
    return x, features
