"""The networks by name, and what belongs to each: paper, head, counts."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mn_jax.errors import InputError
from mn_jax.models import (
  inception_resnet_v2,
  inception_v3,
  layers,
  mobilenet_v1,
  mobilenet_v2,
  mobilenet_v3,
  mobilenet_v4,
  resnet,
  simple_cnn,
  vgg,
  xception,
)
from mn_jax.models.classifier import HEADS, Classifier, Head, HeadSpec


@dataclasses.dataclass(frozen=True)
class Conventions:
  """What a network and its weights have to agree on.

  Attributes:
    mean, std: normalisation of inputs in [0, 1].
    padding: of strided convolutions, a rule of `ops.padding`.
    epsilon: of BatchNorm.
    norm_scale: whether BatchNorm has a factor.
    resolution: height and width of the input in pixels.
    crop: share of the image's short side that is the input's, when whole
      photographs are classified.
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
  """Variants that some of the families have; see their modules."""

  shallow: bool = False
  separable: bool = True
  block_dropout: float = 0.0
  conv_bias: bool = False
  minimalistic: bool = False
  stride_in_1x1: bool = False


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """A family's member.

  Attributes:
    factory: makes the backbone; takes `width`, `norm`, `padding`, `dtype` and
      the options that are named here.
    head: the network's own head at a width and with options.
    paper: where it is defined, with the table.
    conventions: of training from scratch.
    params: trainable parameters at width 1.0 and 1000 classes.
    macs: mult-adds of these at the resolution of the conventions.
    options: names of the `Options` that it has.
    min_resolution: the smallest input in pixels.
  """

  factory: Callable[..., nn.Module]
  head: Callable[[float, Options], HeadSpec]
  paper: str
  conventions: Conventions
  params: int
  macs: int
  options: tuple[str, ...] = ()
  min_resolution: int = 1


# The authors' code and Keras scale inputs to [-1, 1]: x / 127.5 - 1.
_HALF = Conventions(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# Mean and standard deviation of ImageNet's training images (torchvision, timm).
_IMAGENET = Conventions(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The authors' code and Keras leave BatchNorm's factor out: the layer behind its
# ReLU makes up for it.
_INCEPTION = dataclasses.replace(_HALF, norm_scale=False, resolution=299)


def _plain(width: float, options: Options) -> HeadSpec:
  """Mean over the map, then the logits, whatever the width and the options."""
  del width, options
  return HEADS["plain"]


def _resnet(depth: int, options: tuple[str, ...], counts: tuple[int, int]):
  """A ResNet by its depth; `counts` are its parameters and mult-adds."""
  params, macs = counts
  return ModelSpec(
    factory=functools.partial(resnet.ResNet, depth=depth),
    head=_plain,
    paper="He et al. 2015, arXiv:1512.03385, table 1",
    conventions=dataclasses.replace(
      _IMAGENET, padding="symmetric", epsilon=1e-5
    ),
    params=params,
    macs=macs,
    options=options,
  )


MODELS = {
  "mobilenet_v1": ModelSpec(
    factory=mobilenet_v1.MobileNetV1,
    head=_plain,
    paper="Howard et al. 2017, arXiv:1704.04861, table 1",
    conventions=_HALF,
    params=4_231_976,
    macs=568_740_352,
    options=("shallow", "separable", "block_dropout", "conv_bias"),
  ),
  "mobilenet_v2": ModelSpec(
    factory=mobilenet_v2.MobileNetV2,
    head=_plain,
    paper="Sandler et al. 2018, arXiv:1801.04381, table 2",
    conventions=_HALF,
    params=3_504_872,
    macs=300_774_272,
  ),
  "mobilenet_v3_large": ModelSpec(
    factory=functools.partial(
      mobilenet_v3.MobileNetV3, rows=mobilenet_v3.LARGE
    ),
    head=lambda width, options: mobilenet_v3.head(
      mobilenet_v3.LARGE_HIDDEN, width, options.minimalistic
    ),
    paper="Howard et al. 2019, arXiv:1905.02244, table 1",
    conventions=_HALF,
    params=5_483_032,
    macs=216_589_760,
    options=("minimalistic",),
  ),
  "mobilenet_v3_small": ModelSpec(
    factory=functools.partial(
      mobilenet_v3.MobileNetV3, rows=mobilenet_v3.SMALL
    ),
    head=lambda width, options: mobilenet_v3.head(
      mobilenet_v3.SMALL_HIDDEN, width, options.minimalistic
    ),
    paper="Howard et al. 2019, arXiv:1905.02244, table 2",
    conventions=_HALF,
    params=2_542_856,
    macs=56_510_400,
    options=("minimalistic",),
  ),
  "mobilenet_v4_conv_small": ModelSpec(
    factory=functools.partial(
      mobilenet_v4.MobileNetV4, rows=mobilenet_v4.CONV_SMALL
    ),
    head=lambda *_: mobilenet_v4.HEAD,
    paper="Qin et al. 2024, arXiv:2404.10518, MNv4-Conv-S",
    conventions=_IMAGENET,
    params=3_774_024,
    macs=186_005_568,
  ),
  "mobilenet_v4_conv_medium": ModelSpec(
    factory=functools.partial(
      mobilenet_v4.MobileNetV4, rows=mobilenet_v4.CONV_MEDIUM
    ),
    head=lambda *_: mobilenet_v4.HEAD,
    paper="Qin et al. 2024, arXiv:2404.10518, MNv4-Conv-M",
    conventions=dataclasses.replace(_IMAGENET, resolution=256),
    params=9_715_512,
    macs=1_080_244_224,
  ),
  "inception_v3": ModelSpec(
    factory=inception_v3.InceptionV3,
    head=_plain,
    paper="Szegedy et al. 2015, arXiv:1512.00567, table 1",
    conventions=_INCEPTION,
    params=23_817_352,
    macs=5_713_216_096,
    min_resolution=75,
  ),
  "inception_resnet_v2": ModelSpec(
    factory=inception_resnet_v2.InceptionResNetV2,
    head=_plain,
    paper="Szegedy et al. 2016, arXiv:1602.07261, figure 15",
    conventions=_INCEPTION,
    params=55_813_192,
    macs=13_155_794_016,
    min_resolution=75,
  ),
  "xception": ModelSpec(
    factory=xception.Xception,
    head=_plain,
    paper="Chollet 2016, arXiv:1610.02357, figure 5",
    conventions=dataclasses.replace(_HALF, resolution=299),
    params=22_855_952,
    macs=8_357_403_496,
    min_resolution=7,
  ),
  "resnet18": _resnet(18, (), (11_689_512, 1_814_073_344)),
  "resnet34": _resnet(34, (), (21_797_672, 3_663_761_408)),
  "resnet50": _resnet(50, ("stride_in_1x1",), (25_557_032, 4_089_184_256)),
  "resnet152": _resnet(152, ("stride_in_1x1",), (60_192_808, 11_513_626_624)),
  "vgg16": ModelSpec(
    factory=vgg.VGG,
    head=lambda width, _: vgg.head(width),
    paper="Simonyan and Zisserman 2014, arXiv:1409.1556, table 1 D",
    conventions=_IMAGENET,
    params=138_357_544,
    macs=15_470_264_320,
    min_resolution=vgg.MIN_RESOLUTION,
  ),
  "simple_cnn": ModelSpec(
    factory=simple_cnn.SimpleCNN,
    head=lambda width, _: simple_cnn.head(width),
    paper="none: a baseline",
    conventions=dataclasses.replace(_HALF, resolution=160),
    params=702_792,
    macs=457_555_200,
    min_resolution=simple_cnn.MIN_RESOLUTION,
  ),
}


@dataclasses.dataclass(frozen=True)
class Network:
  """All that determines a network's function but its parameters.

  Attributes:
    name: of the model.
    num_classes: number of logits.
    width: width multiplier.
    head: a name in `classifier.HEADS`, or 'own'.
    options: variants.
    conventions: what it agrees on with its weights.
  """

  name: str
  num_classes: int
  width: float
  head: str
  options: Options
  conventions: Conventions


def get(name: str) -> ModelSpec:
  """Looks a network up.

  Raises:
    InputError: if there is none of that name.
  """
  if name not in MODELS:
    raise InputError(f"model.name: got {name!r}; valid: {', '.join(MODELS)}")
  return MODELS[name]


def describe(
  name: str,
  *,
  num_classes: int,
  width: float = 1.0,
  head: str = "own",
  options: Options | None = None,
  conventions: Conventions | None = None,
) -> Network:
  """A checked `Network`.

  Args:
    name: of the model.
    num_classes: number of logits.
    width: width multiplier, above 0.
    head: a name in `classifier.HEADS`, or 'own'.
    options: variants; None for none.
    conventions: None for those of training from scratch.

  Raises:
    InputError: for an unknown name, or an option that the model lacks.
  """
  spec = get(name)
  if head not in ("own", *HEADS):
    raise InputError(
      f"model.head: got {head!r}; valid: own, {', '.join(HEADS)}"
    )
  options = options or Options()
  for field in dataclasses.fields(options):
    value = getattr(options, field.name)
    if value != field.default and field.name not in spec.options:
      having = [n for n, s in MODELS.items() if field.name in s.options]
      raise InputError(
        f"model.{field.name}: got {value} for {name!r}; valid: "
        f"{field.default}, or a model that has it: {', '.join(having)}"
      )
  return Network(
    name=name,
    num_classes=num_classes,
    width=width,
    head=head,
    options=options,
    conventions=conventions or spec.conventions,
  )


def from_dict(values: dict[str, Any]) -> Network:
  """A network as `dataclasses.asdict` and JSON gave it away.

  Raises:
    KeyError, TypeError: if it is not one of this version.
  """
  return Network(
    **{
      **values,
      "options": Options(**values["options"]),
      "conventions": Conventions(**values["conventions"]),
    }
  )


def build(
  network: Network,
  *,
  dropout: float = 0.0,
  norm_momentum: float = 0.99,
  norm_debias: bool = True,
  norm_group: int = 0,
  dtype: str = "float32",
  keeps_norm: Callable[[str], bool] | None = None,
  freeze_backbone: bool = False,
  folded: bool = False,
) -> Classifier:
  """Makes the module of a network.

  Args:
    network: from `describe`.
    dropout: rate in the head.
    norm_momentum, norm_debias, norm_group: see `layers.BatchNorm`.
    dtype: compute type: 'float32' or 'bfloat16'.
    keeps_norm: `frozen` of `layers.BatchNorm`.
    freeze_backbone: see `classifier.Classifier`.
    folded: for parameters from `folding.fold`: the backbone has biases
      instead of BatchNorm.
  """
  spec = get(network.name)
  compute: Any = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}[dtype]
  conventions = network.conventions
  norm = functools.partial(
    layers.BatchNorm,
    momentum=norm_momentum,
    epsilon=conventions.epsilon,
    debias=norm_debias,
    group=norm_group,
    frozen=keeps_norm,
  )
  scaled = functools.partial(norm, use_scale=conventions.norm_scale)
  head = spec.head(network.width, network.options)
  return Classifier(
    backbone=spec.factory(
      width=network.width,
      norm=layers.FoldedNorm if folded else scaled,
      padding=conventions.padding,
      dtype=compute,
      **{name: getattr(network.options, name) for name in spec.options},
    ),
    head=Head(
      num_classes=network.num_classes,
      spec=head if network.head == "own" else HEADS[network.head],
      dropout=dropout,
      norm=norm,
    ),
    frozen=freeze_backbone,
    norm_debias=norm_debias,
  )


def check_resolution(name: str, resolution: int) -> None:
  """Refuses inputs that are too small for a network.

  Raises:
    InputError: if it is.
  """
  smallest = get(name).min_resolution
  if resolution < smallest:
    raise InputError(
      f"model.resolution: got {resolution} pixels for {name!r}; valid: "
      f"{smallest} or more"
    )
