"""Exported files: made of a network, written beside their description, opened.

Each format has a module with `export` and `open_bytes`; here is what they have
in common.
"""

import dataclasses
import hashlib
import importlib
import json
import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from mn_jax.data import atomic
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError, RunError
from mn_jax.export import description as description_lib
from mn_jax.export import source as source_lib
from mn_jax.export.options import (
  FORMATS,
  INPUTS,
  PRECISIONS,
  PRECISIONS_OF,
  Options,
)
from mn_jax.export.session import Session

# Format -> module that writes and opens it.
_MODULES = {
  "litert": "mn_jax.export.litert.file",
  "onnx": "mn_jax.export.onnx.file",
  "stablehlo": "mn_jax.export.stablehlo",
}
LARGEST = 4096  # batch, and pixels of a side
_NO_PLACE = (
  *(PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError),
)


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Images by which the ranges of 8-bit activations are chosen.

  Attributes:
    images: u8[n, r, r, 3], as `Trained.fit_image` makes them.
    part: what they are of, such as 'train'.
  """

  images: np.ndarray
  part: str


@dataclasses.dataclass(frozen=True)
class File:
  """An exported file that is not written yet.

  Attributes:
    form: a name in FORMATS.
    options: how it was made.
    data: its content.
    description: of `description.describe`, which is also in it where the format
      has room.
  """

  form: str
  options: Options
  data: bytes
  description: Mapping[str, Any]

  @property
  def sha256(self) -> str:
    """Digest of the content."""
    return hashlib.sha256(self.data).hexdigest()

  @property
  def name(self) -> str:
    """Its usual name, such as 'mobilenet_v1_0.75-int8_full.tflite'."""
    network, width = (self.description[name] for name in ("network", "width"))
    factor = "" if width == 1 else f"_{width:g}"
    return f"{network}{factor}-{self.options.precision}{FORMATS[self.form]}"

  def open(self, *, threads: int = 1) -> Session:
    """Opens it by the runtime of its format; see `open_bytes` there."""
    return module(self.form).open_bytes(self.data, threads=threads)


def module(form: str) -> ModuleType:
  """Returns the module of a format.

  It has `export`, `open_bytes` and `check_packages`.
  """
  return importlib.import_module(_MODULES[form])


def form_of(path: pathlib.Path) -> str:
  """Returns the format that the suffix of a file says.

  Raises:
    InputError: for a suffix of none.
  """
  for form, suffix in FORMATS.items():
    if path.suffix.lower() == suffix:
      return form
  raise InputError(
    f"path: got {str(path)!r}; valid: a file called "
    f"{', '.join(f'*{suffix}' for suffix in FORMATS.values())}"
  )


def check(form: str, options: Options) -> None:
  """Refuses what can be a file of no network.

  Args:
    form: a name in FORMATS.
    options: as a user has chosen them.

  Raises:
    InputError: naming the option, or a package that is not installed.
  """
  for name, value, valid in (
    ("format", form, FORMATS),
    ("precision", options.precision, PRECISIONS),
    ("input", options.input, INPUTS),
  ):
    if value not in valid:
      raise InputError(f"{name}: got {value!r}; valid: {', '.join(valid)}")
  if options.precision not in PRECISIONS_OF[form]:
    raise InputError(
      f"precision: got {options.precision!r} for {form}, whose products are in "
      f"float32; valid: {', '.join(PRECISIONS_OF[form])}; or another format"
    )
  numbers = [("batch", options.batch)] if options.batch is not None else []
  numbers += [("size", n) for n in options.size or ()]
  for name, value in numbers:
    if not isinstance(value, int) or not 1 <= value <= LARGEST:
      raise InputError(f"{name}: got {value!r}; valid: 1 to {LARGEST}")
  module(form).check_packages()


def complete(form: str, options: Options, trained: Trained) -> Options:
  """Returns checked options, in which what the format must fix is filled in.

  LiteRT has no images of any size: without one they are those of the network's
  training.

  Args:
    form: a name in FORMATS.
    options: as a user has chosen them.
    trained: the network.

  Raises:
    InputError: naming the option, or a package that is not installed.
  """
  check(form, options)
  size = options.size
  if options.input == "normalised":
    size = (trained.resolution or trained.image_size,) * 2
    if options.size not in (None, size):
      raise InputError(
        f"size: got {options.size} of normalised images, of which nothing is "
        f"resized; valid: {size}, or input='pixels'"
      )
  elif size is None and form == "litert":
    size = (trained.image_size,) * 2
  return dataclasses.replace(options, size=size)


def make(
  trained: Trained,
  form: str,
  options: Options,
  *,
  origin: Mapping[str, Any] | None = None,
  calibration: Calibration | None = None,
) -> File:
  """Makes a file of a network.

  Args:
    trained: the network.
    form: a name in FORMATS.
    options: how it is made.
    origin: what is known of the training, for the description.
    calibration: for the precision int8_full.

  Raises:
    InputError: for options that the format does not have, or a package that is
      not installed.
    RunError: if the runtime of the format does not open what was made.
  """
  options = complete(form, options, trained)
  source = source_lib.of(trained)
  if options.precision != "int8_full":
    calibration = None
  elif calibration is None or not len(calibration.images):
    raise InputError(
      "calibration: got no images for int8_full; valid: some of training"
    )
  described = description_lib.describe(
    source,
    form,
    options,
    origin=origin or {},
    calibration=calibration
    and {"images": len(calibration.images), "part": calibration.part},
  )
  data = module(form).export(
    source,
    options,
    description=json.dumps(described),
    calibration=None if calibration is None else calibration.images,
  )
  file = File(form, options, data, described)
  try:
    file.open()
  except InputError as error:
    raise RunError(
      f"{file.name}: its own runtime refuses it, so it is not written ({error})"
    ) from None
  return file


def write(file: File, path: pathlib.Path) -> pathlib.Path:
  """Writes a file and `PATH.json`, its description, both or neither.

  The JSON also has the name, the size and the digest of the file.

  Raises:
    InputError: for a path where no file can be.
    RunError: if the machine does not write them.
  """
  beside = {
    **file.description,
    "file": {
      "name": path.name,
      "bytes": len(file.data),
      "sha256": file.sha256,
    },
  }
  text = json.dumps(beside, indent=1, allow_nan=False) + "\n"
  try:
    with (
      atomic.writing(path) as content,
      atomic.writing(description_path(path)) as described,
    ):
      content.write(file.data)
      described.write(text.encode(errors="backslashreplace"))
  except _NO_PLACE as error:
    raise InputError(
      f"path: got {str(path)!r}, which cannot be written ({error.strerror}); "
      "valid: a file that you may write"
    ) from None
  except OSError as error:
    raise RunError(
      f"{str(path)!r} cannot be written ({error.strerror or error})"
    ) from None
  return path


def description_path(path: pathlib.Path) -> pathlib.Path:
  """Returns the path of the description beside a file."""
  return path.with_name(f"{path.name}.json")
