"""The networks by name: MODELS, and how one of them is described and built.

To add a network, write a file with a subclass of `classifier.Backbone`, and add
a row to MODELS. Its parameters and mult-adds are printed by
`python -m mn_jax.tools.summary --model=NAME`.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any

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
from mn_jax.models.spec import (
  INTERPOLATIONS,
  Conventions,
  ModelSpec,
  Network,
  Options,
)
from mn_jax.ops import padding

# Of numbers in a description that was written to a file.
_MAX_WIDTH = 4.0
_LARGEST = 1e6
_LONGEST = 99  # text
# The authors' code and Keras scale inputs to [-1, 1]: x / 127.5 - 1.
_HALF = Conventions(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# Mean and standard deviation of ImageNet's training images (torchvision, timm).
_IMAGENET = Conventions(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The authors' code and Keras leave BatchNorm's scale out: the layer behind its
# ReLU makes up for it.
_INCEPTION = dataclasses.replace(_HALF, norm_scale=False, resolution=299)
_RESNET = dataclasses.replace(_IMAGENET, padding="symmetric", epsilon=1e-5)


def _resnet(
  depth: int, params: int, macs: int, options: tuple[str, ...] = ()
) -> ModelSpec:
  return ModelSpec(
    factory=functools.partial(resnet.ResNet, depth=depth),
    paper="He et al. 2015, arXiv:1512.03385, table 1",
    conventions=_RESNET,
    params=params,
    macs=macs,
    options=options,
    residual=True,
  )


def _mobilenet_v3(
  table: int, rows: tuple, hidden: int, params: int, macs: int
) -> ModelSpec:
  return ModelSpec(
    factory=functools.partial(mobilenet_v3.MobileNetV3, rows=rows),
    head=lambda width, options: mobilenet_v3.head(
      hidden, width, options.minimalistic
    ),
    paper=f"Howard et al. 2019, arXiv:1905.02244, table {table}",
    conventions=_HALF,
    params=params,
    macs=macs,
    options=("minimalistic",),
    residual=True,
  )


def _mobilenet_v4(
  name: str, rows: mobilenet_v4.Rows, resolution: int, params: int, macs: int
) -> ModelSpec:
  return ModelSpec(
    factory=functools.partial(mobilenet_v4.MobileNetV4, rows=rows),
    head=lambda *_: mobilenet_v4.HEAD,
    paper=f"Qin et al. 2024, arXiv:2404.10518, {name}",
    conventions=dataclasses.replace(_IMAGENET, resolution=resolution),
    params=params,
    macs=macs,
    residual=True,
  )


MODELS = {
  "mobilenet_v1": ModelSpec(
    factory=mobilenet_v1.MobileNetV1,
    paper="Howard et al. 2017, arXiv:1704.04861, table 1",
    conventions=_HALF,
    params=4_231_976,
    macs=568_740_352,
    options=("shallow", "separable", "block_dropout", "conv_bias"),
  ),
  "mobilenet_v2": ModelSpec(
    factory=mobilenet_v2.MobileNetV2,
    paper="Sandler et al. 2018, arXiv:1801.04381, table 2",
    conventions=_HALF,
    params=3_504_872,
    macs=300_774_272,
    residual=True,
  ),
  "mobilenet_v3_large": _mobilenet_v3(
    1, mobilenet_v3.LARGE, mobilenet_v3.LARGE_HIDDEN, 5_483_032, 216_589_760
  ),
  "mobilenet_v3_small": _mobilenet_v3(
    2, mobilenet_v3.SMALL, mobilenet_v3.SMALL_HIDDEN, 2_542_856, 56_510_400
  ),
  "mobilenet_v4_conv_small": _mobilenet_v4(
    "MNv4-Conv-S", mobilenet_v4.CONV_SMALL, 224, 3_774_024, 186_005_568
  ),
  "mobilenet_v4_conv_medium": _mobilenet_v4(
    "MNv4-Conv-M", mobilenet_v4.CONV_MEDIUM, 256, 9_715_512, 1_080_244_224
  ),
  "inception_v3": ModelSpec(
    factory=inception_v3.InceptionV3,
    paper="Szegedy et al. 2015, arXiv:1512.00567, table 1",
    conventions=_INCEPTION,
    params=23_817_352,
    macs=5_713_216_096,
    min_resolution=75,
  ),
  "inception_resnet_v2": ModelSpec(
    factory=inception_resnet_v2.InceptionResNetV2,
    paper="Szegedy et al. 2016, arXiv:1602.07261, figure 15",
    conventions=_INCEPTION,
    params=55_813_192,
    macs=13_155_794_016,
    min_resolution=75,
  ),
  "xception": ModelSpec(
    factory=xception.Xception,
    paper="Chollet 2016, arXiv:1610.02357, figure 5",
    conventions=dataclasses.replace(_HALF, resolution=299),
    params=22_855_952,
    macs=8_357_403_496,
    min_resolution=7,
  ),
  "resnet18": _resnet(18, 11_689_512, 1_814_073_344),
  "resnet34": _resnet(34, 21_797_672, 3_663_761_408),
  "resnet50": _resnet(50, 25_557_032, 4_089_184_256, ("stride_in_1x1",)),
  "resnet152": _resnet(152, 60_192_808, 11_513_626_624, ("stride_in_1x1",)),
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


def get(name: str) -> ModelSpec:
  """Returns a network's row of MODELS.

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
  """Describes a network, checking its head and its options.

  Args:
    name: of the model.
    num_classes: number of logits.
    width: width multiplier, above 0.
    head: a name in `classifier.HEADS`, or 'own'.
    options: variants; None for none.
    conventions: of its weights; None for those of training from scratch.

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
      others = [n for n, s in MODELS.items() if field.name in s.options]
      raise InputError(
        f"model.{field.name}: got {value} for {name!r}; valid: "
        f"{field.default}, or a model that has it: {', '.join(others)}"
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
  """Reads a network that `dataclasses.asdict` wrote to JSON.

  Raises:
    InputError, KeyError, TypeError, ValueError: if its fields are not those of
      this version, or have values that no network has.
  """
  network = _typed(
    Network,
    {
      **values,
      "options": _typed(Options, values["options"]),
      "conventions": _typed(Conventions, values["conventions"]),
    },
  )
  conventions = network.conventions
  for name, is_valid in (
    ("num_classes", network.num_classes > 0),
    ("width", 0 < network.width <= _MAX_WIDTH),
    ("block_dropout", 0 <= network.options.block_dropout < 1),
    ("std", min(conventions.std) > 0),
    ("padding", conventions.padding in padding.RULES),
    ("epsilon", conventions.epsilon > 0),
    ("resolution", conventions.resolution > 0),
    ("crop", 0 < conventions.crop <= 1),
    ("interpolation", conventions.interpolation in INTERPOLATIONS),
  ):
    if not is_valid:
      raise ValueError(f"a network with a {name} that there is not")
  return describe(**vars(network))


def _typed(cls: type, values: dict[str, Any]) -> Any:
  """Makes an object of fields from JSON, which must be of the right types."""
  made = {}
  for name, value in vars(cls(**values)).items():
    made[name] = tuple(value) if isinstance(value, list) else value
    if not _is_of(made[name], cls.__annotations__[name]):
      raise TypeError(f"{name} of {str(value)[:40]!r}")
  return cls(**made)


def _is_of(value: Any, kind: Any) -> bool:
  """Whether a value is of a type, and neither huge nor, as text, long."""
  if kinds := typing.get_args(kind):  # of a tuple
    is_tuple = type(value) is tuple and len(value) == len(kinds)
    return is_tuple and all(map(_is_of, value, kinds))
  if kind is float:
    return type(value) in (int, float) and abs(value) < _LARGEST
  return type(value) is kind and (kind is not str or len(value) < _LONGEST)


def build(
  network: Network,
  *,
  dropout: float = 0.0,
  drop_path: float = 0.0,
  norm_momentum: float = 0.99,
  norm_debias: bool = True,
  norm_group: int = 0,
  dtype: str = "float32",
  norm_frozen: Callable[[str], bool] | None = None,
  freeze_backbone: bool = False,
  folded: bool = False,
) -> Classifier:
  """Builds the module of a network.

  Args:
    network: from `describe`.
    dropout: rate in the head.
    drop_path: of `Backbone`; 0 for networks without residual blocks.
    norm_momentum, norm_debias, norm_group: momentum, debias and group of
      `layers.BatchNorm`.
    dtype: compute type: 'float32' or 'bfloat16'.
    norm_frozen: says of a BatchNorm's path whether its running statistics are
      used, and not updated, in training too; None for none.
    freeze_backbone: whether the backbone stays in evaluation mode during
      training.
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
    frozen=norm_frozen,
  )
  scaled = functools.partial(norm, use_scale=conventions.norm_scale)
  return Classifier(
    backbone=spec.factory(
      width=network.width,
      norm=layers.FoldedNorm if folded else scaled,
      padding=conventions.padding,
      dtype=compute,
      drop_path=drop_path,
      **{name: getattr(network.options, name) for name in spec.options},
    ),
    head=Head(
      num_classes=network.num_classes,
      spec=_head(network),
      dropout=dropout,
      norm=norm,
    ),
    frozen=freeze_backbone,
    norm_debias=norm_debias,
  )


def head_pools(network: Network) -> bool:
  """Whether a network's head takes feature maps of any size."""
  return _head(network).pool


def _head(network: Network) -> HeadSpec:
  if network.head != "own":
    return HEADS[network.head]
  return get(network.name).head(network.width, network.options)


def check_resolution(name: str, resolution: int) -> None:
  """Checks that inputs are large enough for a network.

  Args:
    name: of the network.
    resolution: height and width of the input in pixels.

  Raises:
    InputError: if they are not.
  """
  smallest = get(name).min_resolution
  if resolution < smallest:
    raise InputError(
      f"model.resolution: got {resolution} pixels for {name!r}; valid: "
      f"{smallest} or more"
    )
