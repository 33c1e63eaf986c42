"""Conventions of published weights: Keras Applications, torchvision, timm.

Sources: `preprocess_input` and the layers of Keras Applications 3.15; the
default weights' metadata of torchvision 0.28; timm 1.0.31's default tags.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

from mn_jax.errors import InputError
from mn_jax.models import registry

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
# Caffe's: the mean of every channel is subtracted from values of 0 to 255.
_CAFFE = {
  "mean": (123.68 / 255, 116.779 / 255, 103.939 / 255),
  "std": (1 / 255, 1 / 255, 1 / 255),
}

# The file beside timm's weights.
CONFIG = "config.json"
# Arguments of timm's networks that change no logits of one that is trained.
_HARMLESS = ("num_classes", "drop_rate", "drop_path_rate", "bn_momentum")
# The largest input that timm's config.json may ask for, in pixels.
_MAX_RESOLUTION = 4096

# By network; other fields are those of training from scratch.
_KERAS = {
  "mobilenet_v1": {**_HALF, "padding": "end"},
  "mobilenet_v2": _HALF,
  "mobilenet_v3_large": _HALF,
  "mobilenet_v3_small": _HALF,
  "resnet50": {**_CAFFE, "epsilon": 1.001e-5},
  "resnet152": {**_CAFFE, "epsilon": 1.001e-5},
  "vgg16": _CAFFE,
  "inception_v3": {**_HALF, "norm_scale": False},
  "xception": _HALF,
  "inception_resnet_v2": {**_HALF, "norm_scale": False},
}
_TORCH = {"padding": "symmetric", "norm_scale": True, "epsilon": 1e-5}
_TORCHVISION = {
  **dict.fromkeys(
    ("mobilenet_v2", "resnet18", "resnet34", "resnet50", "resnet152", "vgg16"),
    _IMAGENET,
  ),
  **dict.fromkeys(
    ("mobilenet_v3_large", "mobilenet_v3_small"), _IMAGENET | {"epsilon": 1e-3}
  ),
  # The published program turns ImageNet's normalisation into this one.
  "inception_v3": {**_HALF, "epsilon": 1e-3},
}
_TIMM = {
  "mobilenet_v1": _HALF,
  "mobilenet_v2": _IMAGENET,
  "mobilenet_v3_large": _IMAGENET,
  "mobilenet_v3_small": _IMAGENET,
  "mobilenet_v4_conv_small": _IMAGENET,
  "mobilenet_v4_conv_medium": _IMAGENET | {"resolution": 256, "crop": 0.95},
  "vgg16": _IMAGENET,
}


def keras(network: registry.Network) -> registry.Network:
  """Returns a network with the conventions of Keras Applications.

  Raises:
    InputError: if Keras Applications does not have the network.
  """
  if network.name not in _KERAS:
    raise InputError(
      f"model.weights: got a Keras file for {network.name!r}; valid: a "
      f".safetensors file, or a model of Keras Applications: "
      f"{', '.join(_KERAS)}"
    )
  options = network.options
  if network.name.startswith("resnet"):
    options = dataclasses.replace(options, stride_in_1x1=True)
  return dataclasses.replace(
    network,
    options=options,
    conventions=dataclasses.replace(
      network.conventions, **_KERAS[network.name]
    ),
  )


def torch(
  network: registry.Network, source: str, described: pathlib.Path
) -> registry.Network:
  """Returns a network with the conventions of timm or torchvision.

  Args:
    network: the requested network.
    source: 'timm' or 'torchvision'.
    described: path of timm's config.json of the weights, which may not exist.

  Raises:
    InputError: if that is of another network or cannot be understood.
  """
  timm = source == "timm"
  changes = _TORCH | (_TIMM if timm else _TORCHVISION)[network.name]
  changes["interpolation"] = (
    "bicubic" if timm and network.name != "vgg16" else "bilinear"
  )
  return dataclasses.replace(
    network,
    conventions=dataclasses.replace(
      network.conventions, **changes | _described(network.name, described)
    ),
  )


def class_names(described: pathlib.Path) -> tuple[str, ...]:
  """Reads the names of classes in timm's config.json, in the logits' order.

  Args:
    described: path of the file, which may not exist.

  Returns:
    The names; of those that have a description, as ImageNet's numbers have, its
    first part. () if there are none.
  """
  content = _read(described)
  if content is None:
    return ()
  fields = content["pretrained_cfg"] | content
  names, texts = fields.get("label_names"), fields.get("label_descriptions")
  if isinstance(names, dict):  # by number
    names = [names.get(str(i)) for i in range(len(names))]
  if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
    return ()
  texts = texts if isinstance(texts, dict) else {}
  shown = (str(texts.get(name, name)) for name in names)
  return tuple(text.partition(",")[0].strip() or "?" for text in shown)


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  """Reads timm's config.json; None if there is none, or one of others."""
  try:
    content = json.loads(path.read_bytes())
    content["pretrained_cfg"] = dict(content["pretrained_cfg"])
    content["architecture"] = str(content["architecture"])
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    return None
  return content


def _described(model: str, path: pathlib.Path) -> dict[str, object]:
  """Reads the conventions in timm's config.json.

  There are none if there is no such file, or one of another program.

  Raises:
    InputError: if it is of another network or cannot be understood.
  """
  content = _read(path)
  if content is None:
    return {}
  architecture = content["architecture"]
  if model.replace("_", "") not in architecture.replace("_", ""):
    raise InputError(
      f"model.weights: got weights beside {str(path)!r}, which is of "
      f"{architecture!r}; valid: for {model!r}, its own or none"
    )
  try:
    changes = _conventions(model, architecture, content["pretrained_cfg"])
    return changes | _arguments(content.get("model_args") or {})
  except (TypeError, ValueError, LookupError) as error:
    raise InputError(
      f"model.weights: got weights beside {str(path)!r}, which cannot be "
      f"understood ({error}); valid: timm's own, or none"
    ) from None


def _arguments(arguments: Mapping[str, Any]) -> dict[str, object]:
  """Reads the conventions in timm's `model_args`, with which it builds.

  Raises:
    TypeError, ValueError: for what would build another network.
  """
  changes: dict[str, object] = {}
  for name, value in dict(arguments).items():
    if name == "bn_eps" and 0 < float(value) < 1:
      changes["epsilon"] = float(value)
    elif name == "pad_type" and value in ("", "same"):
      changes["padding"] = "same" if value else "symmetric"
    elif (name, value) not in (("in_chans", 3), ("global_pool", "avg")) and (
      name not in _HARMLESS
    ):
      raise ValueError(f"model_args has {name}={value!r}")
  return changes


def _conventions(
  model: str, architecture: str, config: Mapping[str, object]
) -> dict[str, object]:
  """Reads the conventions in timm's `pretrained_cfg`.

  Raises:
    TypeError, ValueError, LookupError: if they cannot be understood.
  """
  changes: dict[str, object] = {}
  for key in ("mean", "std"):
    if key in config:
      red, green, blue = map(float, config[key])
      changes[key] = (red, green, blue)
      if not all(map(math.isfinite, changes[key])):
        raise ValueError(f"{key} is {config[key]}")
  if 0 in changes.get("std", ()):
    raise ValueError(f"std is {config['std']}")
  if "input_size" in config:
    _, height, width = map(int, config["input_size"])
    registry.check_resolution(model, height)
    if height != width or height > _MAX_RESOLUTION:
      raise ValueError(f"input_size is {config['input_size']}")
    changes["resolution"] = height
  if "crop_pct" in config:
    changes["crop"] = float(config["crop_pct"])
    if not 0.1 <= changes["crop"] <= 1:
      raise ValueError(f"crop_pct is {config['crop_pct']}")
  if config.get("interpolation") in ("bilinear", "bicubic"):
    changes["interpolation"] = config["interpolation"]
  if architecture.startswith("tf_"):
    # Google's own weights, as TensorFlow pads and normalises.
    changes |= {"padding": "same", "epsilon": 1e-3}
  return changes
