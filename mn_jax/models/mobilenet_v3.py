"""MobileNetV3: Large and Small.

Howard et al., "Searching for MobileNetV3", arXiv:1905.02244, tables 1 and 2.

As in the authors' TF-slim code and Keras Applications, where the paper is
silent or differs: the first bottleneck (its expansion size is its input's) has
no expansion layer; the last convolution of Small has no squeeze and excitation;
squeezed channels are a quarter of the expanded ones, rounded to multiples of 8.
The width multiplier rounds channels to multiples of 8 too; it leaves the stem
at 16 channels, and the hidden layer of the head unless it is above 1.

The minimalistic networks of the same code have the same channels, but 3x3
kernels, ReLU and no squeeze and excitation throughout, head included.
"""

import flax.linen as nn
import jax

from mn_jax.models import blocks, layers
from mn_jax.models.classifier import Backbone, HeadSpec

# The columns of tables 1 and 2, channels at width 1.0: kernel, expansion size,
# output channels, squeeze and excitation, nonlinearity (hard swish or ReLU),
# stride.
LARGE = (
  (3, 16, 16, False, "RE", 1),
  (3, 64, 24, False, "RE", 2),
  (3, 72, 24, False, "RE", 1),
  (5, 72, 40, True, "RE", 2),
  (5, 120, 40, True, "RE", 1),
  (5, 120, 40, True, "RE", 1),
  (3, 240, 80, False, "HS", 2),
  (3, 200, 80, False, "HS", 1),
  (3, 184, 80, False, "HS", 1),
  (3, 184, 80, False, "HS", 1),
  (3, 480, 112, True, "HS", 1),
  (3, 672, 112, True, "HS", 1),
  (5, 672, 160, True, "HS", 2),
  (5, 960, 160, True, "HS", 1),
  (5, 960, 160, True, "HS", 1),
)
SMALL = (
  (3, 16, 16, True, "RE", 2),
  (3, 72, 24, False, "RE", 2),
  (3, 88, 24, False, "RE", 1),
  (5, 96, 40, True, "HS", 2),
  (5, 240, 40, True, "HS", 1),
  (5, 240, 40, True, "HS", 1),
  (5, 120, 48, True, "HS", 1),
  (5, 144, 48, True, "HS", 1),
  (5, 288, 96, True, "HS", 2),
  (5, 576, 96, True, "HS", 1),
  (5, 576, 96, True, "HS", 1),
)
# Hidden features of the head at width 1.0. The 2.9 M parameters of Small in
# TF-slim's README are those of 1280 features; its code has 1024.
LARGE_HIDDEN = 1280
SMALL_HIDDEN = 1024

_STEM = 16


def head(hidden: int, width: float, minimalistic: bool) -> HeadSpec:
  """Returns the head: one hidden layer without BatchNorm.

  Args:
    hidden: its features at width 1.0.
    width: width multiplier.
    minimalistic: whether its activation is ReLU.
  """
  return HeadSpec(
    hidden=(layers.make_divisible(hidden * width) if width > 1 else hidden,),
    activation=_activation("HS", minimalistic),
  )


class MobileNetV3(Backbone):
  """The backbone of MobileNetV3.

  Attributes:
    rows: of its bottlenecks: LARGE or SMALL.
    minimalistic: 3x3 kernels, ReLU, no squeeze and excitation.
  """

  rows: tuple[tuple[int, int, int, bool, str, int], ...] = SMALL
  minimalistic: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', 'block0', ..., 'top'."""
    swish = _activation("HS", self.minimalistic)
    x = self.conv_bn(_STEM, stride=2, activation=swish, name="stem")(x, train)
    features = {"stem": x}
    before = _STEM
    for i, row in enumerate(self.rows):
      window, expanded, channels, excite, nonlinearity, stride = row
      # The multiplier is the bottleneck's, the ratio to its input stays.
      expanded = layers.make_divisible(x.shape[-1] * (expanded / before))
      excite = excite and not self.minimalistic
      x = blocks.InvertedResidual(
        expanded,
        layers.make_divisible(channels * self.width),
        stride,
        _activation(nonlinearity, self.minimalistic),
        self.conv_bn,
        window=3 if self.minimalistic else window,
        squeezed=layers.make_divisible(expanded / 4) if excite else None,
        drop_path=self.drop_rate(i, len(self.rows)),
        name=f"block{i}",
      )(x, train)
      features[f"block{i}"] = x
      before = channels
    channels = layers.make_divisible(x.shape[-1] * 6)
    top = self.conv_bn(channels, window=1, activation=swish, name="top")
    x = top(x, train)
    features["top"] = x
    return x, features


def _activation(name: str, minimalistic: bool) -> layers.Activation:
  """Returns the activation of a nonlinearity in the tables."""
  hard = name == "HS" and not minimalistic
  return layers.hard_swish if hard else jax.nn.relu
