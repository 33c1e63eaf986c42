"""A trained network as files: `model.safetensors` and `config.json`.

Where timm has the network, the names of the tensors and the fields of
config.json are timm's, so that `timm.create_model('local-dir:FOLDER')` and
`hf-hub:OWNER/NAME` build it. Else the tensors are named as in this package,
'backbone/stem/conv/kernel', with its axes. In both cases the field `mn_jax` of
config.json holds the definition of the network, its classes, and how images are
read.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors.numpy

from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.models import counting, fake_quant, registry
from mn_jax.models import variables as variables_lib
from mn_jax.models.spec import Network, Options
from mn_jax.weights import files, sources, torch_layout, torch_tensors
from mn_jax.weights.listing import published_layers

FIELD = "mn_jax"
_FORMAT = 1
# Network and width -> timm's name of it, in timm 1.0.31. Their layers take the
# arguments `pad_type` and `bn_eps`; those of timm's ResNets do not.
_TIMM = {
  ("mobilenet_v1", 1.0): "mobilenetv1_100",
  ("mobilenet_v2", 0.35): "mobilenetv2_035",
  ("mobilenet_v2", 0.5): "mobilenetv2_050",
  ("mobilenet_v2", 0.75): "mobilenetv2_075",
  ("mobilenet_v2", 1.0): "mobilenetv2_100",
  ("mobilenet_v2", 1.4): "mobilenetv2_140",
  ("mobilenet_v3_large", 1.0): "mobilenetv3_large_100",
  ("mobilenet_v3_small", 1.0): "mobilenetv3_small_100",
  ("mobilenet_v4_conv_small", 1.0): "mobilenetv4_conv_small",
  ("mobilenet_v4_conv_medium", 1.0): "mobilenetv4_conv_medium",
  **{(name, 1.0): name for name in ("resnet18", "resnet34", "resnet50")},
  ("resnet152", 1.0): "resnet152",
}


@dataclasses.dataclass(frozen=True)
class Description:
  """What a trained network must come with to classify images.

  Attributes:
    network: its definition.
    classes: names of the classes, in the order of the logits.
    image_size: height and width that images are made to have, in pixels.
    resolution: the network's input size, resized on the device, in pixels; 0:
      that of the images.
    other_sizes: what becomes of images of other sizes, as `data.other_sizes`.
    bits: that 16-bit grey images use.
    multi_label: whether an image may have several labels.
    dtype: 'float32' or 'bfloat16', what it was trained to compute in.
    crop_share: of the short side that the middle square has where it is
      cropped, as `data.crop_share`.
  """

  network: Network
  classes: tuple[str, ...]
  image_size: int
  resolution: int
  other_sizes: str
  bits: int
  multi_label: bool
  dtype: str
  crop_share: float = 1.0


def timm_name(network: Network) -> str | None:
  """Returns the name under which timm has a network; None if it has it not.

  Padding and BatchNorm's epsilon, which may be those of Keras, are arguments of
  timm's MobileNets.
  """
  conventions = network.conventions
  name = _TIMM.get((network.name, network.width))
  plain = network.head == "own" and network.options == Options()
  if name is None or not plain or not conventions.norm_scale:
    return None
  if conventions.padding not in ("same", "symmetric"):
    return None
  torch = (conventions.padding, conventions.epsilon) == ("symmetric", 1e-5)
  return name if torch or name.startswith("mobilenet") else None


def write(
  folder: pathlib.Path, description: Description, variables: Mapping[str, Any]
) -> str | None:
  """Writes `model.safetensors` and `config.json`.

  Args:
    folder: to write into, which exists.
    description: of the network.
    variables: its 'params' and 'batch_stats', f32 arrays.

  Returns:
    Timm's name of the network; None if the layout is this package's own.
  """
  name = timm_name(description.network)
  tensors = _flatten(variables)
  if name is not None:
    layout = torch_layout.LAYOUTS[description.network.name][0]
    layers = published_layers(description.network)
    tensors = torch_tensors.revert(layout, layers, tensors)
  config = {} if name is None else _timm_config(name, description)
  fields = {**dataclasses.asdict(description), "format": _FORMAT}
  config |= {"num_classes": len(description.classes), FIELD: fields}
  content = safetensors.numpy.save(tensors, metadata={"format": "pt"})
  atomic.write_bytes(folder / files.FILE, content)
  atomic.write_json(folder / sources.CONFIG, config)
  return name


def is_described(file: pathlib.Path) -> bool:
  """Returns whether `write`, of any version, wrote what is beside a file.

  Args:
    file: of the weights.
  """
  return _fields(file.with_name(sources.CONFIG)) is not None


def describe(file: pathlib.Path) -> Description | None:
  """Reads what `write` wrote beside a file of weights.

  Args:
    file: of the weights.

  Returns:
    The description; None if there is no config.json, or one of others.

  Raises:
    InputError: if it is of another version, or damaged.
  """
  path = file.with_name(sources.CONFIG)
  fields = _fields(path)
  if fields is None:
    return None
  try:
    if fields["format"] != _FORMAT:
      raise ValueError(f"format {fields['format']!r}")
    values = {k: v for k, v in fields.items() if k != "format"}
    found = Description(
      **{
        **values,
        "network": registry.from_dict(values["network"]),
        "classes": _names(values["classes"]),
      }
    )
    _check(found)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"model.weights: got weights beside {str(path)!r}, which cannot be "
      f"understood ({' '.join(str(error).split())}); valid: as `mn-jax push` "
      "of this version wrote it"
    ) from None
  return found


def read(file: pathlib.Path) -> tuple[Description, dict[str, Any]] | None:
  """Reads a network that `write` wrote.

  Args:
    file: of the weights.

  Returns:
    Its description, and its 'params' and 'batch_stats', f32 arrays; None for
    weights that describe no network of this package.

  Raises:
    InputError: if one of the files is damaged, or of another version.
  """
  found = describe(file)
  if found is None:
    return None
  content = files.read_safetensors(file)
  # A head on a flattened map is for one size of the input.
  module = registry.build(found.network)
  resolution = found.resolution or found.image_size
  layers = counting.list_layers(module, resolution)
  if is_own(content):
    tensors, problems = convert(layers, content)
  else:
    name = found.network.name
    recognised = torch_tensors.recognise(name, content, str(file))
    tensors, problems = torch_tensors.convert(
      recognised.layout, layers, recognised.content
    )
  problems += [
    f"{key} has values that are not finite"
    for key, value in tensors.items()
    if not np.isfinite(value).all()
  ]
  if problems:
    raise InputError(
      f"model.weights: got {str(file)!r}, which does not fit the config.json "
      f"beside it: {'; '.join(problems[:3])}; valid: as `mn-jax push` wrote it"
    )
  initial = variables_lib.initial_values(module, resolution, seed=0)
  return found, insert(tensors, initial)


def is_own(content: Mapping[str, np.ndarray]) -> bool:
  """Returns whether tensors are named as in this package."""
  return any(name.startswith("backbone/") for name in content)


def convert(
  layers: Sequence[counting.Layer], content: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Checks tensors of this package's names, as `torch_tensors.convert` does."""
  tensors, problems = {}, []
  wanted = {
    f"{layer.path}/{name}": shape
    for layer in layers
    for name, shape in layer.shapes.items()
  }
  for name, shape in wanted.items():
    if name not in content:
      problems.append(f"{name} is missing")
    elif content[name].shape != shape or content[name].dtype != np.float32:
      problems.append(f"{name} is {content[name].shape}, here {shape}")
    else:
      tensors[name] = content[name]
  problems += [f"{x} is one too many" for x in content if x not in wanted]
  return tensors, problems


def num_logits(content: Mapping[str, np.ndarray]) -> int:
  """Counts the logits of the file's classifier; 0 if it has none."""
  bias = content.get("head/logits/bias", np.zeros(0))
  return bias.shape[0] if bias.ndim else 0


def separate_head(
  backbone: Sequence[counting.Layer], content: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], bool]:
  """Separates a backbone from its head, as `torch_tensors.separate_head`."""
  del backbone
  rest = {k: v for k, v in content.items() if not k.startswith("head/")}
  return rest, len(rest) < len(content)


def insert(
  tensors: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> dict[str, Any]:
  """Replaces all values of a network's variables by tensors of its own names.

  Args:
    tensors: f32 by path.
    variables: of the network, of the same shapes.
  """
  flat = flax.traverse_util.flatten_dict(variables, sep="/")
  for path in flat:
    name = path.partition("/")[2]
    is_weight = path.startswith("batch_stats/") and name.endswith("/weight")
    flat[path] = np.ones((), np.float32) if is_weight else tensors[name]
  changed = flax.traverse_util.unflatten_dict(flat, sep="/")
  return {"batch_stats": {}, **changed}


def _fields(path: pathlib.Path) -> Any:
  """What `write` says of the network in a config.json; None without it."""
  try:
    return json.loads(path.read_bytes())[FIELD]
  except (OSError, ValueError, LookupError, TypeError, RecursionError):
    return None


def _names(classes: Any) -> tuple[str, ...]:
  if type(classes) is not list or not all(type(x) is str for x in classes):
    raise TypeError("classes that are no list of names")
  return tuple(classes)


def _check(found: Description) -> None:
  """Checks what a hostile file could have.

  Raises:
    ValueError: for values that nothing here could have written.
  """
  sizes = (found.image_size, found.network.conventions.resolution)
  # A resolution of 0 is that of the images.
  if not all(type(x) is int for x in (*sizes, found.resolution)) or not (
    min(sizes) > 0 and max(*sizes, found.resolution) <= 4096
  ):
    raise ValueError(f"sizes of {(*sizes, found.resolution)} pixels")
  registry.check_resolution(
    found.network.name, found.resolution or found.image_size
  )
  if len(found.classes) != found.network.num_classes:
    raise ValueError(f"{len(found.classes)} classes")
  if type(found.bits) is not int or not 8 <= found.bits <= 16:
    raise ValueError(f"bits {found.bits!r}")
  if type(found.multi_label) is not bool:
    raise ValueError(f"multi_label {found.multi_label!r}")
  if found.other_sizes not in ("resize", "crop", "drop"):
    raise ValueError(f"other_sizes {found.other_sizes!r}")
  share = found.crop_share
  if type(share) not in (int, float) or not 0.1 <= share <= 1:
    raise ValueError(f"crop_share {share!r}")
  if found.dtype not in ("float32", "bfloat16"):
    raise ValueError(f"dtype {found.dtype!r}")


def _flatten(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns f32 tensors by path, without the weight of running averages.

  Ranges of fake quantisation are no part of the network.
  """
  flat, variables = {}, fake_quant.without_ranges(variables)
  for collection in ("params", "batch_stats"):
    tree = flax.traverse_util.flatten_dict(variables[collection], sep="/")
    for name, value in tree.items():
      if collection == "params" or not name.endswith("/weight"):
        flat[name] = np.ascontiguousarray(value, np.float32)
  return flat


def _timm_config(name: str, description: Description) -> dict[str, Any]:
  """Returns config.json as timm 1.0 writes it."""
  conventions = description.network.conventions
  size = description.resolution or description.image_size
  arguments = {}
  if name.startswith("mobilenet"):
    arguments = {
      "bn_eps": conventions.epsilon,
      "pad_type": "same" if conventions.padding == "same" else "",
    }
  squash = description.other_sizes != "crop"
  return {
    "architecture": name,
    "label_names": list(description.classes),
    "model_args": arguments,
    "pretrained_cfg": {
      "input_size": [3, size, size],
      "fixed_input_size": False,
      "interpolation": "bilinear",
      "crop_pct": description.crop_share,
      "crop_mode": "squash" if squash else "center",
      "mean": list(conventions.mean),
      "std": list(conventions.std),
      "num_classes": len(description.classes),
    },
  }
