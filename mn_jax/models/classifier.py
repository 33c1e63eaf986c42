"""The parts of every network: Backbone, Head, and Classifier with both."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mn_jax.models import fake_quant, layers


@dataclasses.dataclass(frozen=True)
class HeadSpec:
  """The layers between a backbone's last feature map and the logits.

  Attributes:
    pool: whether the map is averaged over its pixels first; else it is
      flattened.
    hidden: features of the dense layers before the logits.
    activation: of these layers.
    norm: BatchNorm 'before' the activation, 'after' it, or 'none'.
    hidden_bias: whether the dense layers before the logits have a bias.
    one_dropout: whether dropout is before the logits alone, instead of after
      every hidden layer.
  """

  pool: bool = True
  hidden: tuple[int, ...] = ()
  activation: layers.Activation = jax.nn.relu
  norm: str = "none"
  hidden_bias: bool = True
  one_dropout: bool = False


# Heads that the studies put on pretrained backbones, for any network.
HEADS = {
  "plain": HeadSpec(),
  "gap_128_64": HeadSpec(hidden=(128, 64), norm="after"),
  "gap_1024": HeadSpec(hidden=(1024,)),
  "flatten_4096_1024": HeadSpec(
    pool=False, hidden=(4096, 1024), one_dropout=True
  ),
}


class Backbone(nn.Module):
  """Images to feature maps: the base class of all networks.

  A network defines

      @nn.compact
      def __call__(self, x, train): ...

  from images x, f32[batch, h, w, 3], normalised, to its last feature map and
  all feature maps that have a name, {'stem': f[batch, h, w, c], ...}, in the
  order of their computation. Modules have explicit names: weight import,
  transfer and optimizer rules address parameters by their paths.

  Attributes:
    width: width multiplier, a factor of all channels.
    norm: makes a BatchNorm, given its name.
    padding: a rule of `ops.padding`, for every layer with a window.
    dtype: compute type of the convolutions.
    drop_path: stochastic depth of the last residual block, where a network has
      these; of others see `drop_rate`.
  """

  width: float
  norm: Callable[..., nn.Module]
  padding: str
  dtype: Any
  drop_path: float = 0.0

  def drop_rate(self, index: int, count: int) -> float:
    """Returns the rate of a block's `blocks.DropPath`.

    It rises linearly from 0 for the first of `count` blocks to `drop_path` for
    the last, as in timm's ResNets; Huang et al. 2016, section 3, and
    TensorFlow's Model Garden start one step above 0, timm's MobileNets end one
    step below the rate.
    """
    return self.drop_path * index / (count - 1)

  @property
  def conv_bn(self) -> Callable[..., layers.ConvBN]:
    """`layers.ConvBN` with the norm, padding and compute type of the network.

    Arguments are the others of `layers.ConvBN` and the module's name.
    """
    return functools.partial(
      layers.ConvBN, norm=self.norm, padding=self.padding, dtype=self.dtype
    )


class Head(nn.Module):
  """Dense layers on a pooled or flattened feature map, in float32.

  Attributes:
    num_classes: number of logits.
    spec: the layers before the logits.
    dropout: rate after every hidden layer, or where there is none, or the spec
      says so, before the logits alone.
    norm: makes a BatchNorm.
  """

  num_classes: int
  spec: HeadSpec
  dropout: float
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """f32[batch, c] (pooled) or f[batch, h, w, c] -> f32[batch, classes]."""
    x = x.astype(jnp.float32).reshape(x.shape[0], -1)
    x = fake_quant.rounded(self, x, "input")
    dropout = nn.Dropout(self.dropout, deterministic=not train)
    for i, features in enumerate(self.spec.hidden):
      dense = layers.Dense(
        features, use_bias=self.spec.hidden_bias, name=f"dense{i}"
      )
      if self.spec.norm == "before":
        x = self.norm(name=f"norm{i}")(dense(x), train)
        x = fake_quant.rounded(self, self.spec.activation(x), f"norm{i}")
      else:
        x = dense(x, self.spec.activation)
      if self.spec.norm == "after":
        x = self.norm(name=f"norm{i}")(x, train)
        x = fake_quant.rounded(self, x, f"norm{i}")
      if not self.spec.one_dropout:
        x = dropout(x)
    if self.spec.one_dropout or not self.spec.hidden:
      x = dropout(x)
    return layers.Dense(self.num_classes, name="logits")(x)


class Classifier(nn.Module):
  """A network: a backbone and its head.

  Their parameters are below 'backbone' and 'head'.

  Attributes:
    backbone: images -> (last feature map, named feature maps).
    head: last feature map -> logits.
    frozen: whether the backbone stays in evaluation mode during training:
      its running statistics are used and not updated, its dropout is off.
    norm_debias: whether running statistics are debiased, as in
      `layers.BatchNorm`; their initial weight depends on it.
  """

  backbone: Backbone
  head: Head
  frozen: bool = False
  norm_debias: bool = True

  def __call__(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Classifies images.

    Args:
      x: f32[batch, h, w, 3], normalised.
      train: whether BatchNorm uses the batch's statistics and updates the
        running ones, and dropout is on (then an rng named 'dropout' is needed
        unless all rates are 0).

    Returns:
      Logits f32[batch, num_classes], and the named feature maps of the
      backbone with 'pooled', f32[batch, c], the mean of the last.
    """
    last, features = self._maps(x, train)
    features["pooled"] = jnp.mean(last.astype(jnp.float32), axis=(1, 2))
    x = features["pooled"] if self.head.spec.pool else last
    return self.head(x, train), features

  def extract(self, x: jax.Array) -> jax.Array:
    """Computes the head's input in evaluation mode.

    Args:
      x: f32[batch, h, w, 3], normalised.

    Returns:
      f32[batch, c] for a head that pools, else f32[batch, h, w, c].
    """
    last = self.last_map(x)
    return jnp.mean(last, axis=(1, 2)) if self.head.spec.pool else last

  def last_map(self, x: jax.Array) -> jax.Array:
    """Computes the backbone's last feature map in evaluation mode.

    Args:
      x: f32[batch, h, w, 3], normalised.

    Returns:
      f32[batch, h', w', c].
    """
    last, _ = self._maps(x, False)
    return last.astype(jnp.float32)

  def classify_map(self, last: jax.Array) -> jax.Array:
    """Computes logits in evaluation mode.

    Args:
      last: f32[batch, h, w, c], from `last_map`.

    Returns:
      f32[batch, num_classes].
    """
    pooled = jnp.mean(last, axis=(1, 2)) if self.head.spec.pool else last
    return self.head(pooled, False)

  def classify(self, extracted: jax.Array, train: bool) -> jax.Array:
    """Computes logits from the head's input.

    Args:
      extracted: f32[batch, c] or f32[batch, h, w, c], from `extract`.
      train: whether the head is in training mode.

    Returns:
      f32[batch, num_classes].
    """
    return self.head(extracted, train)

  def _maps(
    self, x: jax.Array, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    x = fake_quant.rounded(self, x, "input")
    return self.backbone(x, train and not self.frozen)
