"""Weight files of timm and torchvision: the names of layers.

`torch_tensors` finds and converts their tensors.

Source: the state dictionaries of timm 1.0.31 and torchvision 0.28.0. Where
both name a network's layers alike, the layout is called 'torchvision'.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from mn_jax.models import resnet

Name = Callable[
  [str, Sequence[str]], str
]  # (path of a layer, paths of all) -> the library's name


@dataclasses.dataclass(frozen=True)
class Layout:
  """How one library names the layers of one network.

  Attributes:
    source: 'timm' or 'torchvision'.
    first: name of a layer by which a file is recognised.
    inner: what the names of other layers start with, by which a prefix of all
      names is told from a block's own.
    last: name of the layer that gives the logits.
    name: (path of a layer, paths of all) -> the library's name of it.
  """

  source: str
  first: str
  inner: str
  last: str
  name: Name


# Blocks in each of timm's stages.
_TIMM_STAGES = {
  "mobilenet_v1": (1, 2, 2, 6, 2),
  "mobilenet_v2": (1, 2, 3, 4, 3, 3, 1),
  "mobilenet_v3_large": (1, 2, 3, 4, 2, 3),
  "mobilenet_v3_small": (1, 2, 3, 2, 3),
  "mobilenet_v4_conv_small": (2, 2, 6, 6),
  "mobilenet_v4_conv_medium": (1, 2, 8, 11),
}
# Of a block with an expansion: the convolution and the BatchNorm after it.
_TIMM_INVERTED = {
  "expand": ("conv_pw", "bn1"),
  "depthwise": ("conv_dw", "bn2"),
  "project": ("conv_pwl", "bn3"),
}
# Of one without.
_TIMM_SEPARABLE = {
  "depthwise": ("conv_dw", "bn1"),
  "pointwise": ("conv_pw", "bn2"),
  "project": ("conv_pw", "bn2"),
}
_TIMM_V4 = {
  "start_depthwise": ("dw_start.conv", "dw_start.bn"),
  "expand": ("pw_exp.conv", "pw_exp.bn"),
  "depthwise": ("dw_mid.conv", "dw_mid.bn"),
  "project": ("pw_proj.conv", "pw_proj.bn"),
}
_TIMM_V4_FUSED = {
  "expand": ("conv_exp", "bn1"),
  "project": ("conv_pwl", "bn2"),
}


def _timm_mobilenet(model: str) -> Name:
  """Returns timm's names of a MobileNet's layers."""
  stages = [
    f"blocks.{stage}.{i}"
    for stage, count in enumerate(_TIMM_STAGES[model])
    for i in range(count)
  ]
  v4 = model.startswith("mobilenet_v4")
  # V3 and V4 have their last convolution as a stage of its own.
  last = f"blocks.{len(_TIMM_STAGES[model])}.0"
  fixed = {
    "backbone/stem/conv": "conv_stem",
    "backbone/stem/norm": "bn1",
    "backbone/top/conv": "conv_head" if "v2" in model else f"{last}.conv",
    "backbone/top/norm": "bn2" if "v2" in model else f"{last}.bn1",
    "head/dense0": "conv_head",
    "head/norm0": "norm_head",
    "head/logits": "classifier",
  }

  def name(path: str, paths: Sequence[str]) -> str:
    if path in fixed:
      return fixed[path]
    block, *inner, part = path.removeprefix("backbone/block").split("/")
    prefix = stages[int(block)]
    if inner == ["squeeze_excite"]:
      return f"{prefix}.se.conv_{part}"
    if not inner:  # a full convolution of V4
      return f"{prefix}.{'conv' if part == 'conv' else 'bn1'}"
    expands = f"backbone/block{block}/expand/conv" in paths
    units = _TIMM_INVERTED if expands else _TIMM_SEPARABLE
    if v4:
      fused = model.endswith("medium") and block == "0"
      units = _TIMM_V4_FUSED if fused else _TIMM_V4
    return f"{prefix}.{units[inner[0]][part == 'norm']}"

  return name


def _torchvision_mobilenet(group: str, head: Mapping[str, str]) -> Name:
  """Returns torchvision's names of a MobileNet's layers, `features.B.GROUP.J`.

  Args:
    group: 'conv' in V2, where the last convolution of a block has no group of
      its own, or 'block' in V3.
    head: names of the head's layers by path.
  """

  def name(path: str, paths: Sequence[str]) -> str:
    if path in head:
      return head[path]
    block, *inner, part = path.split("/")[1:]
    leaf = {"conv": "0", "norm": "1", "reduce": "fc1", "expand": "fc2"}[part]
    if block in ("stem", "top"):
      blocks = {p.split("/")[1] for p in paths if "/block" in p}
      return f"features.{0 if block == 'stem' else len(blocks) + 1}.{leaf}"
    prefix = f"features.{int(block.removeprefix('block')) + 1}.{group}"
    inside = [p.split("/")[2] for p in paths if f"/{block}/" in p]
    place = list(dict.fromkeys(inside)).index(inner[0])
    if group == "conv" and inner[0] == "project":
      return f"{prefix}.{place + int(leaf)}"
    return f"{prefix}.{place}.{leaf}"

  return name


def _resnet(depths: Sequence[int]) -> Name:
  """`layerS.I.convJ`, the shortcut as `downsample`; timm's names too."""
  blocks = [
    f"layer{stage}.{i}"
    for stage, count in enumerate(depths, start=1)
    for i in range(count)
  ]

  def name(path: str, paths: Sequence[str]) -> str:
    del paths
    if path == "head/logits":
      return "fc"
    block, *inner, part = path.split("/")[1:]
    if block == "stem":
      return {"conv": "conv1", "norm": "bn1"}[part]
    prefix = blocks[int(block.removeprefix("block"))]
    if inner == ["shortcut"]:
      return f"{prefix}.downsample.{0 if part == 'conv' else 1}"
    number = int(inner[0].removeprefix("conv")) + 1
    return f"{prefix}.{'conv' if part == 'conv' else 'bn'}{number}"

  return name


def _vgg(dense: Mapping[str, str]) -> Name:
  """`features.I`, counting ReLU and pooling; the head has names of its own."""

  def name(path: str, paths: Sequence[str]) -> str:
    if path in dense:
      return dense[path]
    convs = [p for p in paths if p.startswith("backbone/")]
    pools = int(path.split("/")[1].removeprefix("block"))
    return f"features.{2 * convs.index(path) + pools}"

  return name


# InceptionV3's layers outside of the blocks, and the names of the blocks.
_INCEPTION_STEM = {
  "stem": "Conv2d_1a_3x3",
  "conv_2a": "Conv2d_2a_3x3",
  "conv_2b": "Conv2d_2b_3x3",
  "conv_3b": "Conv2d_3b_1x1",
  "conv_4a": "Conv2d_4a_3x3",
}
_INCEPTION_BLOCKS = (
  *(f"5{letter}" for letter in "bcd"),
  *(f"6{letter}" for letter in "abcde"),
  *(f"7{letter}" for letter in "abc"),
)


def _inception_v3(path: str, paths: Sequence[str]) -> str:
  """`Mixed_B.branch`; the other names here are torchvision's too."""
  del paths
  if path == "head/logits":
    return "fc"
  block, *inner, part = path.split("/")[1:]
  leaf = "conv" if part == "conv" else "bn"
  if block in _INCEPTION_STEM:
    return f"{_INCEPTION_STEM[block]}.{leaf}"
  letter = _INCEPTION_BLOCKS[int(block.removeprefix("mixed"))]
  return f"Mixed_{letter}.{inner[0]}.{leaf}"


def _timm(model: str) -> Layout:
  return Layout(
    "timm", "conv_stem", "blocks.0", "classifier", _timm_mobilenet(model)
  )


def _both(first: str, inner: str, name: Name) -> tuple[Layout]:
  return (Layout("torchvision", first, inner, "fc", name),)


def _vgg_layout(source: str, first: str, *dense: str) -> Layout:
  """Returns a layout; `dense` are the names of the head's three layers."""
  paths = ("head/dense0", "head/dense1", "head/logits")
  name = _vgg(dict(zip(paths, dense, strict=True)))
  return Layout(source, first, "features.2", dense[-1], name)


def _torchvision(group: str, head: Mapping[str, str]) -> Layout:
  name = _torchvision_mobilenet(group, head)
  last = head["head/logits"]
  return Layout("torchvision", "features.0.0", "features.1", last, name)


_TORCHVISION_V3 = _torchvision(
  "block", {"head/dense0": "classifier.0", "head/logits": "classifier.3"}
)
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
  "mobilenet_v1": (_timm("mobilenet_v1"),),
  "mobilenet_v2": (
    _timm("mobilenet_v2"),
    _torchvision("conv", {"head/logits": "classifier.1"}),
  ),
  "mobilenet_v3_large": (_timm("mobilenet_v3_large"), _TORCHVISION_V3),
  "mobilenet_v3_small": (_timm("mobilenet_v3_small"), _TORCHVISION_V3),
  "mobilenet_v4_conv_small": (_timm("mobilenet_v4_conv_small"),),
  "mobilenet_v4_conv_medium": (_timm("mobilenet_v4_conv_medium"),),
  **{
    f"resnet{depth}": _both("conv1", "layer1.0", _resnet(stages))
    for depth, stages in resnet.STAGES.items()
  },
  "vgg16": (
    _vgg_layout(
      "timm", "pre_logits.fc1", "pre_logits.fc1", "pre_logits.fc2", "head.fc"
    ),
    _vgg_layout(
      "torchvision",
      "features.0",
      "classifier.0",
      "classifier.3",
      "classifier.6",
    ),
  ),
  "inception_v3": _both("Conv2d_1a_3x3.conv", "Mixed_5b", _inception_v3),
}
