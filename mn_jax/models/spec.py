"""Descriptions of networks: Conventions, Options, ModelSpec, Network."""

import dataclasses
from collections.abc import Callable

from mn_jax.models.classifier import HEADS, Backbone, HeadSpec

INTERPOLATIONS = ("bilinear", "bicubic")


@dataclasses.dataclass(frozen=True)
class Conventions:
  """Preprocessing and layer settings that belong to a network's weights.

  Attributes:
    mean, std: per channel (red, green, blue), of inputs in [0, 1]; inputs are
      normalised by them.
    padding: a rule of `ops.padding`, for layers with a stride.
    epsilon: of BatchNorm.
    norm_scale: whether BatchNorm has a learned scale.
    resolution: height and width of the input in pixels.
    crop: the input's share of the image's short side, when whole photographs
      are classified.
    interpolation: of the resize before that crop: 'bilinear' or 'bicubic'.
  """

  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  padding: str = "same"
  epsilon: float = 1e-3
  norm_scale: bool = True
  resolution: int = 224
  crop: float = 0.875
  interpolation: str = "bilinear"


@dataclasses.dataclass(frozen=True)
class Options:
  """Variants that some of the networks have; see their modules.

  Attributes:
    shallow, separable, block_dropout, conv_bias: of MobileNetV1.
    minimalistic: of MobileNetV3.
    stride_in_1x1: of ResNets with bottlenecks.
  """

  shallow: bool = False
  separable: bool = True
  block_dropout: float = 0.0
  conv_bias: bool = False
  minimalistic: bool = False
  stride_in_1x1: bool = False


def _plain(width: float, options: Options) -> HeadSpec:
  """Global average pooling, then the logits; the same for all variants."""
  del width, options
  return HEADS["plain"]


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """A row of MODELS: one network.

  Attributes:
    factory: makes the backbone; takes `width`, `norm`, `padding`, `dtype` and
      the options that are named here.
    paper: the source, with its table or figure.
    conventions: of training from scratch.
    params: trainable parameters at width 1.0 and 1000 classes.
    macs: mult-adds of these at the resolution of the conventions.
    head: (width, options) -> the network's own head.
    options: names of the fields of `Options` that the network has.
    min_resolution: the smallest input in pixels.
    residual: whether it has residual blocks that `Backbone.drop_path` drops.
  """

  factory: Callable[..., Backbone]
  paper: str
  conventions: Conventions
  params: int
  macs: int
  head: Callable[[float, Options], HeadSpec] = _plain
  options: tuple[str, ...] = ()
  min_resolution: int = 1
  residual: bool = False


@dataclasses.dataclass(frozen=True)
class Network:
  """The description of a network: all that determines it but its parameters.

  Attributes:
    name: of the model.
    num_classes: number of logits.
    width: width multiplier.
    head: a name in `classifier.HEADS`, or 'own'.
    options: variants.
    conventions: preprocessing and layer settings of its weights.
  """

  name: str
  num_classes: int
  width: float
  head: str
  options: Options
  conventions: Conventions
