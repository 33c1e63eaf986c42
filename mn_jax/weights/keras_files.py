"""Readers of Keras's files: legacy HDF5, and `.weights.h5` and `.keras` of 3.

Keras 3 numbers layers by class ('conv2d', 'conv2d_1') instead of writing their
order; `keras_layout.arrange` finds it. A `.keras` file is a zip whose
config.json describes every layer: nothing of it is built or executed, but what
would change a network's function is refused.

Files are untrusted input: nothing outside the file is opened, sizes are checked
before anything is read, and whatever is wrong ends in one InputError.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import pathlib
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
import jax.numpy as jnp
import numpy as np

from mn_jax.weights import files

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
# 'conv2d_12': class and number.
_NUMBERED = re.compile(r"(.+?)(?:_(\d+))?")
# Where Keras 3 has the layers; of its first release the second.
_ROOTS = ("layers", "_layer_checkpoint_dependencies")
_RANDOM = ("Brightness", "Contrast", "Flip", "Rotation", "Translation", "Zoom")
# Layers that Keras Applications is made of, and those that do nothing outside
# of training. The operators of MobileNetV3's hard sigmoid are among them.
_LAYERS = {
  "Activation",
  "Add",
  "AveragePooling2D",
  "BatchNormalization",
  "Concatenate",
  "Conv2D",
  "CustomScaleLayer",
  "Dense",
  "DepthwiseConv2D",
  "Dropout",
  "Flatten",
  "Functional",
  "GlobalAveragePooling2D",
  "InputLayer",
  "MaxPooling2D",
  "Multiply",
  "ReLU",
  "Rescaling",
  "Reshape",
  "SeparableConv2D",
  "Sequential",
  "ZeroPadding2D",
  *(f"Random{what}" for what in _RANDOM),
}
# MobileNetV3's own first layer, as `weights.sources` has it.
_RESCALING = (1 / 127.5, -1.0)


@dataclasses.dataclass(frozen=True)
class KerasLayer:
  """A layer of a Keras file that has weights.

  Attributes:
    name: of the layer.
    weights: arrays by name, without the layer's: 'kernel', 'gamma', ...; by
      their numbers, '0', '1', in files of Keras 3.
    kind: in files of Keras 3 the class, 'depthwise_conv2d', of which the layers
      are in the order of their calls; '' in legacy files, where all are.
    narrow: whether its values have fewer than 32 bits in the file.
  """

  name: str
  weights: dict[str, np.ndarray]
  kind: str = ""
  narrow: bool = False


def read(path: pathlib.Path) -> list[KerasLayer]:
  """Reads the layers with weights of a file of Keras, as float32.

  Args:
    path: a file of weights, or of a whole model: `.h5`, `.weights.h5` or
      `.keras`.

  Returns:
    The layers in their order; see `KerasLayer.kind` for files of Keras 3.

  Raises:
    InputError: if it cannot be read, is a file of another kind, or describes
      layers that the networks here do not have.
  """
  try:
    with _opened(path) as file, h5py.File(file, "r") as content:
      for root in _ROOTS:
        if "layer_names" not in content.attrs and root in content:
          return _read_numbered(_child(content, root, h5py.Group))
      return _read_legacy(content)
  except Exception as error:  # what damage makes h5py raise is not documented
    raise files.unreadable(path, error) from None


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
  """Gives the HDF5 file, or that in a `.keras` archive."""
  with path.open("rb") as file:
    start = file.read(len(files.ZIP))
  if start != files.ZIP:
    yield path
    return
  with zipfile.ZipFile(path) as archive:
    for member in (_CONFIG, _WEIGHTS):
      files.check_size(archive.getinfo(member).file_size)
    _check_config(json.loads(archive.read(_CONFIG)))
    yield io.BytesIO(archive.read(_WEIGHTS))


def _check_config(config: dict[str, Any]) -> None:
  """Refuses what is not of Keras Applications, and would change its logits.

  Raises:
    ValueError: naming the layer.
  """
  for layer in config["config"].get("layers", ()):
    kind, fields = layer["class_name"], layer["config"]
    name = f"its layer {fields.get('name')!r}, a {kind},"
    if kind not in _LAYERS:
      raise ValueError(f"{name} is not of Keras Applications")
    if kind == "Rescaling":
      values = (fields["scale"], fields["offset"])
      if not np.allclose(values, _RESCALING, rtol=1e-6, atol=0):
        raise ValueError(
          f"{name} maps x to {values[0]} x + {values[1]}, while the networks "
          "here normalise images as Keras Applications does"
        )
    _check_config(layer)


def _read_numbered(root: h5py.Group) -> list[KerasLayer]:
  """Reads the layers of Keras 3, those of networks within others first."""
  found: list[tuple[tuple[int, str, int], str, list[h5py.Dataset]]] = []

  def collect(group: h5py.Group, depth: int) -> None:
    for name in group:
      layer = _child(group, name, h5py.Group)
      if "layers" in layer:
        collect(_child(layer, "layers", h5py.Group), depth + 1)
      if "vars" not in layer:
        continue
      values = _child(layer, "vars", h5py.Group)
      if len(values):
        kind, number = _NUMBERED.fullmatch(name).groups()
        data = [_floats(values, str(i)) for i in range(len(values))]
        found.append(((-depth, kind, int(number or 0)), layer.name, data))

  collect(root, 0)
  if not found:
    raise ValueError("a file of Keras 3 without weights")
  files.check_size(sum(x.size * 4 for *_, data in found for x in data))
  return [
    KerasLayer(
      name.removeprefix("/"),
      {str(i): _values(x) for i, x in enumerate(data)},
      kind=key[1],
      narrow=any(map(_is_narrow, data)),
    )
    for key, name, data in sorted(found, key=lambda entry: entry[0])
  ]


def _read_legacy(file: h5py.File) -> list[KerasLayer]:
  """Reads a file with the names of its layers, in their order."""
  is_model = file.get("model_weights", getlink=True) is not None
  root = _child(file, "model_weights", h5py.Group) if is_model else file
  names = _strings(root, "layer_names")
  if not names:
    raise ValueError("HDF5 without layer_names or layers, not of Keras")
  if len(set(names)) < len(names):
    raise ValueError("two layers have the same name")
  layers = [x for name in names for x in _data_sets(root, name).items()]
  # Data sets can be packed or left out: a small file may promise a lot.
  files.check_size(
    sum(data.size * 4 for _, sets in layers for data in sets.values())
  )
  return [
    KerasLayer(
      name,
      {kind: _values(data) for kind, data in sets.items()},
      narrow=any(map(_is_narrow, sets.values())),
    )
    for name, sets in layers
    if sets
  ]


def _data_sets(
  root: h5py.Group, name: str
) -> dict[str, dict[str, h5py.Dataset]]:
  """Returns data sets by layer and by the names of `KerasLayer.weights`.

  A network that is one layer of another, as in fine-tuning, has several.
  """
  group = _child(root, name, h5py.Group)
  layers: dict[str, dict[str, h5py.Dataset]] = {}
  for path in _strings(group, "weight_names"):
    parent, slash, kind = path.removesuffix(":0").rpartition("/")
    inner = f"{name}/{parent}" if slash else name
    data_sets = layers.setdefault(inner, {})
    if kind in data_sets:
      raise ValueError(f"layer {name!r} has two weights named {kind!r}")
    data_sets[kind] = _floats(group, path)
  return {name: data_sets} if len(layers) == 1 else layers


def _floats(group: h5py.Group, path: str) -> h5py.Dataset:
  """Returns a data set of floats that has its values in the file.

  Raises:
    ValueError: if it is another one.
  """
  data = _child(group, path, h5py.Dataset)
  is_float = data.dtype.kind == "f" or _is_bfloat16(data)
  if not is_float or data.shape is None:
    raise ValueError(f"{data.name!r} is no array of floats")
  # A data set can name other files for its values.
  if data.is_virtual or data.external:
    raise ValueError(f"{data.name!r} refers to other data")
  return data


def _is_bfloat16(data: h5py.Dataset) -> bool:
  """Returns whether values are the bytes of bfloat16, as Keras writes them."""
  return data.dtype.str == "|V2" and data.attrs.get("dtype") == "bfloat16"


def _is_narrow(data: h5py.Dataset) -> bool:
  return data.dtype.itemsize < 4


def _values(data: h5py.Dataset) -> np.ndarray:
  values = data[()]
  if _is_bfloat16(data):
    values = values.view(jnp.bfloat16)
  return files.as_float32(values)


def _child[T: (h5py.Group, h5py.Dataset)](
  group: h5py.Group, path: str, kind: type[T]
) -> T:
  """Returns `group[path]`, following no link that could leave the file."""
  child = group
  for part in path.split("/"):
    if not isinstance(child, h5py.Group):
      raise ValueError(f"{child.name!r} is no group")
    link = child.get(part, getlink=True)
    if not isinstance(link, h5py.HardLink):
      problem = "there is no" if link is None else "a link is refused:"
      raise ValueError(f"{problem} {part!r} in {child.name!r}")
    child = child[part]
  if not isinstance(child, kind):
    raise ValueError(f"{child.name!r} is no {kind.__name__.lower()}")
  return child


def _strings(group: h5py.Group, name: str) -> list[str]:
  """Reads an attribute of strings; Keras splits long ones into several."""
  numbered = (f"{name}{i}" for i in itertools.count())
  pieces = itertools.takewhile(group.attrs.__contains__, numbered)
  values = []
  for piece in [name] if name in group.attrs else pieces:
    attribute = group.attrs.get_id(piece)
    if not attribute.shape or 0 in attribute.shape:
      continue  # an empty list is saved as one of floats
    # Checked first: the library crashes on some damaged types.
    if h5py.check_string_dtype(attribute.dtype) is None:
      raise ValueError(f"{piece} of {group.name!r} has no strings")
    values += group.attrs[piece].ravel().tolist()
  return [x.decode() if isinstance(x, bytes) else str(x) for x in values]
