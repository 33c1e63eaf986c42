"""Files of weights: which there are, and the reader of safetensors.

`keras_files` reads those of Keras.

Files are untrusted input: nothing outside the file is opened, sizes are checked
before anything is read, and whatever is wrong ends in one InputError.
"""

import hashlib
import pathlib

import numpy as np
import safetensors

from mn_jax.errors import InputError, in_one_line
from mn_jax.weights import foreign

# The largest network here, VGG16, has 0.14 G weights of 4 bytes.
MAX_BYTES = 4 << 30
# Its name in a folder of weights, as on the Hugging Face Hub.
FILE = "model.safetensors"
_HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"


def check_path(path: str) -> pathlib.Path:
  """Checks that a weight file exists and looks like one, and returns its path.

  Args:
    path: of the file, or of a folder with `model.safetensors`.

  Raises:
    InputError: if it does not exist, cannot be opened, or is a file of another
      kind; it says of which, and how to convert it.
  """
  valid = (
    "a .h5 or .keras file of Keras Applications, or a .safetensors file of "
    "timm or torchvision"
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
    reason = f"cannot be opened ({in_one_line(error)})"
  raise InputError(
    f"model.weights: got {path!r}, which {reason}; valid: {valid}"
  )


def is_keras(path: pathlib.Path) -> bool:
  """Returns whether a file starts as those of Keras do, HDF5 and zip.

  Others are safetensors.
  """
  with path.open("rb") as file:
    return file.read(len(_HDF5)).startswith((_HDF5, ZIP))


def sha256(path: pathlib.Path) -> str:
  """Returns the hex SHA-256 digest of a file's bytes."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the tensors of a safetensors file by name, floats as float32.

  Raises:
    InputError: if it cannot be read.
  """
  try:
    check_size(path.stat().st_size)
    with safetensors.safe_open(path, framework="numpy") as file:
      tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
  except Exception as error:  # what the Rust library raises is not documented
    raise unreadable(path, error) from None
  return {
    name: as_float32(x)
    if x.dtype.kind == "f" or x.dtype.name == "bfloat16"
    else x
    for name, x in tensors.items()
  }


def has_narrow_floats(path: pathlib.Path) -> bool:
  """Returns whether a safetensors file has float16 or bfloat16 values."""
  with safetensors.safe_open(path, framework="numpy") as file:
    types = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118, it is no dict
  return not types.isdisjoint(("F16", "BF16"))


def as_float32(value: np.ndarray) -> np.ndarray:
  """Converts to float32; too large values become infinite, and are refused."""
  with np.errstate(over="ignore"):
    return value.astype(np.float32)


def check_size(size: int) -> None:
  """Refuses what is larger than any network here.

  Raises:
    ValueError: with both sizes in bytes.
  """
  if size > MAX_BYTES:
    raise ValueError(f"{size:,} bytes, more than {MAX_BYTES:,}")


def unreadable(path: pathlib.Path, error: Exception) -> InputError:
  """Returns the error that says in one line why a file cannot be read."""
  return InputError(
    f"model.weights: got {str(path)!r}, which cannot be read "
    f"({in_one_line(error)}); valid: a whole .h5 or .keras file of Keras "
    "Applications or a .safetensors file"
  )
