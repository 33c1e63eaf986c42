"""Readers of weight files: Keras's legacy HDF5 layout, and safetensors.

Files are untrusted input: nothing outside the file is opened, sizes are checked
before anything is read, and whatever is wrong ends in one InputError.
"""

import dataclasses
import hashlib
import itertools
import pathlib

import h5py
import numpy as np
import safetensors

from mn_jax.errors import InputError
from mn_jax.weights import foreign

# The largest network here, VGG16, has 0.14 G weights of 4 bytes.
MAX_BYTES = 4 << 30
# Its name in a folder of weights, as on the Hugging Face Hub.
FILE = "model.safetensors"
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class KerasLayer:
  """A layer of a Keras file that has weights.

  Attributes:
    name: of the layer.
    weights: arrays by name, without the layer's: 'kernel', 'gamma', ...
  """

  name: str
  weights: dict[str, np.ndarray]


def check_path(path: str) -> pathlib.Path:
  """Checks that a weight file exists and looks like one, and returns its path.

  Args:
    path: of the file, or of a folder with `model.safetensors`.

  Raises:
    InputError: if it does not exist, cannot be opened, or is a file of another
      kind; it says of which, and how to convert it.
  """
  valid = (
    "a .h5 file of Keras Applications or a .safetensors file of timm or "
    "torchvision"
  )
  try:
    file = pathlib.Path(path).expanduser()
    if is_folder := bool(path) and file.is_dir():
      file /= FILE
    if not file.is_file():
      reason = f"is a folder without {FILE}" if is_folder else "is no file"
    elif described := foreign.describe(file):
      reason, valid = described
    else:
      return file
  except (OSError, RuntimeError) as error:
    reason = f"cannot be opened ({_line(error)})"
  raise InputError(
    f"model.weights: got {path!r}, which {reason}; valid: {valid}"
  )


def is_keras(path: pathlib.Path) -> bool:
  """Returns whether a file starts as HDF5 files do; others are safetensors."""
  with path.open("rb") as file:
    return file.read(len(_HDF5)) == _HDF5


def sha256(path: pathlib.Path) -> str:
  """Returns the hex SHA-256 digest of a file's bytes."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def read_keras(path: pathlib.Path) -> list[KerasLayer]:
  """Reads the layers with weights of a legacy Keras file, in their order.

  Args:
    path: a file of weights, or of a whole model saved as .h5.

  Raises:
    InputError: if it cannot be read, or is HDF5 of another kind.
  """
  try:
    with h5py.File(path, "r") as file:
      is_model = file.get("model_weights", getlink=True) is not None
      root = _child(file, "model_weights", h5py.Group) if is_model else file
      names = _strings(root, "layer_names")
      if not names:
        raise ValueError(
          "HDF5 without layer_names, perhaps a .weights.h5 of Keras 3; its "
          "model.save('NAME.h5') writes them"
        )
      if len(set(names)) < len(names):
        raise ValueError("two layers have the same name")
      layers = [x for name in names for x in _data_sets(root, name).items()]
      # Data sets can be packed or left out: a small file may promise a lot.
      _check_size(
        sum(data.size * 4 for _, sets in layers for data in sets.values())
      )
      return [
        KerasLayer(
          name, {kind: _as_float32(data[()]) for kind, data in sets.items()}
        )
        for name, sets in layers
        if sets
      ]
  except Exception as error:  # what damage makes h5py raise is not documented
    raise _unreadable(path, error) from None


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the tensors of a safetensors file by name, floats as float32.

  Raises:
    InputError: if it cannot be read.
  """
  try:
    _check_size(path.stat().st_size)
    with safetensors.safe_open(path, framework="numpy") as file:
      tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
  except Exception as error:  # what the Rust library raises is not documented
    raise _unreadable(path, error) from None
  return {
    name: _as_float32(x)
    if x.dtype.kind == "f" or x.dtype.name == "bfloat16"
    else x
    for name, x in tensors.items()
  }


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
    data = _child(group, path, h5py.Dataset)
    if data.dtype.kind != "f" or data.shape is None:
      raise ValueError(f"{data.name!r} is no array of floats")
    # A data set can name other files for its values.
    if data.is_virtual or data.external:
      raise ValueError(f"{data.name!r} refers to other data")
    data_sets[kind] = data
  return {name: data_sets} if len(layers) == 1 else layers


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


def _as_float32(value: np.ndarray) -> np.ndarray:
  """Converts to float32; too large values become infinite, and are refused."""
  with np.errstate(over="ignore"):
    return value.astype(np.float32)


def _check_size(size: int) -> None:
  if size > MAX_BYTES:
    raise ValueError(f"{size:,} bytes, more than {MAX_BYTES:,}")


def _unreadable(path: pathlib.Path, error: Exception) -> InputError:
  return InputError(
    f"model.weights: got {str(path)!r}, which cannot be read ({_line(error)}); "
    "valid: a whole .h5 file of Keras Applications or a .safetensors file"
  )


def _line(error: Exception) -> str:
  return " ".join(str(error).split())[:200] or type(error).__name__
