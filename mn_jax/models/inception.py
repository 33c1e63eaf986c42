"""The stem and the blocks of the Inception networks.

A block is a table of branches. Each takes the block's input; their outputs are
concatenated. Names of convolutions are those of torchvision's InceptionV3.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mn_jax.models import fake_quant, layers
from mn_jax.ops import pooling

# Height and width in pixels, or one number for both.
Window = int | tuple[int, int]

# Name, output channels at width 1.0, window, stride, padding, and whether max
# pooling follows.
_STEM = (
  ("stem", 32, 3, 2, "valid", False),
  ("conv_2a", 32, 3, 1, "valid", False),
  ("conv_2b", 64, 3, 1, "same", True),
  ("conv_3b", 80, 1, 1, "same", False),
  ("conv_4a", 192, 3, 1, "valid", True),
)


@dataclasses.dataclass(frozen=True)
class Branch:
  """A row of a block's table.

  Attributes:
    name: of its convolution; several are 'NAME_1', 'NAME_2', ...
    convs: of each convolution its output channels at width 1.0, its window,
      and its stride where that is not 1.
    fork: output channels of a 1x3 and a 3x1 convolution side by side at the
      end, 'NAME_3a' and 'NAME_3b'; 0 for none.
    pool: 3x3 pooling before all that: 'avg' with stride 1, 'max' with stride 2
      and without padding, or 'none'.
  """

  name: str
  convs: tuple[tuple[int, Window] | tuple[int, Window, int], ...] = ()
  fork: int = 0
  pool: str = "none"


def conv_unit(
  channels: int,
  window: Window,
  stride: int = 1,
  *,
  width: float,
  norm: Callable[..., nn.Module],
  dtype: Any,
  name: str,
  padding: str = "same",
) -> layers.ConvBN:
  """Makes a convolution with BatchNorm and ReLU.

  Args:
    channels: of its output at width 1.0.
    window: of its kernel.
    stride: in both directions.
    width: width multiplier; channels are rounded down.
    norm: makes a BatchNorm.
    dtype: compute type.
    name: of the module.
    padding: a rule of `ops.padding` for stride 1, where the rules that keep
      the size agree. These networks never pad a layer with a stride.
  """
  return layers.ConvBN(
    int(channels * width),
    norm,
    window=window,
    stride=stride,
    padding="valid" if stride > 1 else padding,
    dtype=dtype,
    activation=jax.nn.relu,
    name=name,
  )


def apply_stem(
  x: jax.Array, train: bool, unit: Callable[..., nn.Module]
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Applies five convolutions and two max poolings; 299 pixels become 35.

  Args:
    x: f32[batch, h, w, 3], normalised.
    train: whether BatchNorm uses the batch's statistics.
    unit: `conv_unit` with width, norm and dtype.

  Returns:
    The last map, and the maps of all convolutions by name.
  """
  features = {}
  for name, channels, window, stride, padding, pooled in _STEM:
    x = unit(channels, window, stride, padding=padding, name=name)(x, train)
    features[name] = x
    if pooled:
      x = pooling.max_pool(x, 3, stride=2, padding="valid")
  return x, features


class Mixed(nn.Module):
  """A block of branches, whose outputs are concatenated or a residual.

  A residual is added to the block's input: x + scale * up(branches), where `up`
  is a 1x1 convolution with a bias, without BatchNorm or ReLU.

  Attributes:
    branches: the block's table.
    unit: `conv_unit` with width, norm and dtype.
    count_padding: whether average pooling counts padded zeros.
    scale: of a residual; None for a block without.
    relu: whether ReLU follows the addition.
    dtype: compute type of `up`.
  """

  branches: tuple[Branch, ...]
  unit: Callable[..., nn.Module]
  count_padding: bool = False
  scale: float | None = None
  relu: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f[batch, h, w, c] -> f[batch, oh, ow, c or channels of all branches]."""
    outputs = []
    for branch in self.branches:
      y = x
      if branch.pool == "avg":
        y = pooling.avg_pool(
          x, 3, stride=1, padding="same", count_padding=self.count_padding
        )
        y = fake_quant.rounded(self, y, f"{branch.name}_pool")
      elif branch.pool == "max":
        y = pooling.max_pool(x, 3, stride=2, padding="valid")
      several = len(branch.convs) > 1 or branch.fork
      for i, conv in enumerate(branch.convs, start=1):
        name = f"{branch.name}_{i}" if several else branch.name
        y = self.unit(*conv, name=name)(y, train)
      if branch.fork:
        last = f"{branch.name}_{len(branch.convs) + 1}"
        for letter, window in (("a", (1, 3)), ("b", (3, 1))):
          half = self.unit(branch.fork, window, name=last + letter)
          outputs.append(half(y, train))
      else:
        outputs.append(y)
    mixed = jnp.concatenate(outputs, axis=-1)
    mixed = fake_quant.rounded(self, mixed, "mixed")
    if self.scale is None:
      return mixed
    up = layers.Conv(
      x.shape[-1], window=1, use_bias=True, dtype=self.dtype, name="up"
    )
    x = x + self.scale * up(mixed)
    x = jax.nn.relu(x) if self.relu else x
    return fake_quant.rounded(self, x, "sum")
