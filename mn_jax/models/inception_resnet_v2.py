"""Inception-ResNet-v2.

Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", arXiv:1602.07261, figures 15 to 19.

As in the authors' TF-slim code and Keras Applications, where the figures
differ: the stem is that of InceptionV3 and one block more; there are 10, 20 and
10 residual blocks, not 5, 10 and 5; channels are the code's. Residuals are
scaled down, see the paper's section 3.3, but for the last, which has no ReLU
either. Without the auxiliary head, which only matters in training. The paper
has no width multiplier.
"""

import functools

import flax.linen as nn
import jax

from mn_jax.models import inception
from mn_jax.models.classifier import Backbone
from mn_jax.models.inception import Branch

_MIXED_5B = (
  Branch("branch1x1", ((96, 1),)),
  Branch("branch5x5", ((48, 1), (64, 5))),
  Branch("branch3x3dbl", ((64, 1), (96, 3), (96, 3))),
  Branch("branch_pool", ((64, 1),), pool="avg"),
)
_BLOCK_35 = (
  Branch("branch1x1", ((32, 1),)),
  Branch("branch3x3", ((32, 1), (32, 3))),
  Branch("branch3x3dbl", ((32, 1), (48, 3), (64, 3))),
)
_MIXED_6A = (
  Branch("branch3x3", ((384, 3, 2),)),
  Branch("branch3x3dbl", ((256, 1), (256, 3), (384, 3, 2))),
  Branch("branch_pool", pool="max"),
)
_BLOCK_17 = (
  Branch("branch1x1", ((192, 1),)),
  Branch("branch7x7", ((128, 1), (160, (1, 7)), (192, (7, 1)))),
)
_MIXED_7A = (
  Branch("branch3x3", ((256, 1), (384, 3, 2))),
  Branch("branch3x3less", ((256, 1), (288, 3, 2))),
  Branch("branch3x3dbl", ((256, 1), (288, 3), (320, 3, 2))),
  Branch("branch_pool", pool="max"),
)
_BLOCK_8 = (
  Branch("branch1x1", ((192, 1),)),
  Branch("branch3x3", ((192, 1), (224, (1, 3)), (256, (3, 1)))),
)
# Three blocks without a residual connection, each with its name and table; then
# name, table and number of those with one that follow it, and the scale of
# their residuals.
STAGES = (
  ("mixed_5b", _MIXED_5B, "block35", _BLOCK_35, 10, 0.17),
  ("mixed_6a", _MIXED_6A, "block17", _BLOCK_17, 20, 0.1),
  ("mixed_7a", _MIXED_7A, "block8", _BLOCK_8, 10, 0.2),
)


class InceptionResNetV2(Backbone):
  """The backbone of Inception-ResNet-v2; channels are rounded down.

  `padding` is not used: convolutions with a stride have none, and average
  pooling never counts its padding, here also in timm.
  """

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', ..., 'top'."""
    unit = functools.partial(
      inception.conv_unit, width=self.width, norm=self.norm, dtype=self.dtype
    )
    x, features = inception.apply_stem(x, train, unit)
    for mixed, mixed_table, block, block_table, repeats, scale in STAGES:
      x = inception.Mixed(mixed_table, unit, name=mixed)(x, train)
      features[mixed] = x
      for i in range(1, repeats + 1):
        last = block == "block8" and i == repeats
        name = f"{block}_{i}"
        x = inception.Mixed(
          block_table,
          unit,
          scale=1.0 if last else scale,
          relu=not last,
          dtype=self.dtype,
          name=name,
        )(x, train)
        features[name] = x
    x = unit(1536, 1, name="top")(x, train)
    features["top"] = x
    return x, features
