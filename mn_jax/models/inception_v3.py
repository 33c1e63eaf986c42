"""InceptionV3.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
arXiv:1512.00567, table 1 and figures 5, 6, 7 and 10.

As in the authors' TF-slim code and Keras Applications, where the table differs:
the last three convolutions before the blocks are a 1x1 and a 3x3 convolution
and max pooling; the blocks of figure 5 keep a 5x5 convolution; of the five of
figure 6 the first is the reduction to 17x17 pixels. Without the auxiliary head,
which only matters in training. The paper has no width multiplier.
"""

import functools

import flax.linen as nn
import jax

from mn_jax.models import inception
from mn_jax.models.classifier import Backbone
from mn_jax.models.inception import Branch


def _figure_5(pooled: int) -> tuple[Branch, ...]:
  """35x35 pixels; `pooled` are the channels of the branch that pools."""
  return (
    Branch("branch1x1", ((64, 1),)),
    Branch("branch5x5", ((48, 1), (64, 5))),
    Branch("branch3x3dbl", ((64, 1), (96, 3), (96, 3))),
    Branch("branch_pool", ((pooled, 1),), pool="avg"),
  )


def _figure_6(c: int) -> tuple[Branch, ...]:
  """17x17 pixels; `c` are the channels between the factors of 7x7."""
  return (
    Branch("branch1x1", ((192, 1),)),
    Branch("branch7x7", ((c, 1), (c, (1, 7)), (192, (7, 1)))),
    Branch(
      "branch7x7dbl",
      ((c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7))),
    ),
    Branch("branch_pool", ((192, 1),), pool="avg"),
  )


# Figure 10: to 17x17 and to 8x8 pixels.
_TO_17 = (
  Branch("branch3x3", ((384, 3, 2),)),
  Branch("branch3x3dbl", ((64, 1), (96, 3), (96, 3, 2))),
  Branch("branch_pool", pool="max"),
)
_TO_8 = (
  Branch("branch3x3", ((192, 1), (320, 3, 2))),
  Branch("branch7x7x3", ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))),
  Branch("branch_pool", pool="max"),
)
_FIGURE_7 = (
  Branch("branch1x1", ((320, 1),)),
  Branch("branch3x3", ((384, 1),), fork=384),
  Branch("branch3x3dbl", ((448, 1), (384, 3)), fork=384),
  Branch("branch_pool", ((192, 1),), pool="avg"),
)
# 'mixed0' to 'mixed10'.
BLOCKS = (
  _figure_5(32),
  _figure_5(64),
  _figure_5(64),
  _TO_17,
  _figure_6(128),
  _figure_6(160),
  _figure_6(160),
  _figure_6(192),
  _TO_8,
  _FIGURE_7,
  _FIGURE_7,
)


class InceptionV3(Backbone):
  """The backbone of InceptionV3; channels are rounded down.

  No convolution uses `padding`: those with a stride have none. With
  'symmetric', average pooling counts its padding.
  """

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the last map, and the maps 'stem', ..., 'mixed10'."""
    unit = functools.partial(
      inception.conv_unit, width=self.width, norm=self.norm, dtype=self.dtype
    )
    x, features = inception.apply_stem(x, train, unit)
    for i, branches in enumerate(BLOCKS):
      name = f"mixed{i}"
      x = inception.Mixed(
        branches, unit, self.padding == "symmetric", name=name
      )(x, train)
      features[name] = x
    return x, features
