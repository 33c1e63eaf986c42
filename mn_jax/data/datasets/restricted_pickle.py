"""Reads the pickled dictionary of a CIFAR file without running its code.

A pickle can name any function and have it called. Here four names are known,
those of NumPy's arrays of bytes, and each yields a stand-in that keeps data.
"""

import io
import pickle  # noqa: TID251 - `find_class` refuses whatever could do harm
from typing import Any

import numpy as np


class PickleError(ValueError):
  """A pickle that is broken or holds more than plain values."""


class _Dtype:
  """Stands in for `numpy.dtype`."""

  def __init__(self, name: str, *_):
    self.name = name

  def __setstate__(self, _):
    pass


class _Array:
  """Stands in for what rebuilds a NumPy array."""

  def __init__(self, *_):
    self.values = None

  def __setstate__(self, state: tuple):
    _, shape, dtype, is_fortran, content = state
    if dtype.name not in ("u1", "|u1") or is_fortran:
      raise PickleError("holds an array that is not one of bytes, row by row")
    if isinstance(content, str):  # written by Python 2
      content = content.encode("latin-1")
    self.values = np.frombuffer(content, np.uint8).reshape(shape)


class _Unpickler(pickle.Unpickler):
  """Looks up stand-ins alone."""

  def find_class(self, module: str, name: str) -> Any:
    match f"{module}.{name}":
      case "numpy.ndarray":
        return None  # an argument of the next
      case (
        "numpy.core.multiarray._reconstruct"
        | "numpy._core.multiarray._reconstruct"
      ):
        return _Array
      case "numpy.dtype":
        return _Dtype
      case "_codecs.encode":  # bytes, as Python 3 writes them
        return lambda text, _: text.encode("latin-1")
    raise PickleError(f"names {module}.{name}")


def load_dict(data: bytes) -> dict[str, Any]:
  """Reads a pickled dictionary of lists, strings, numbers and u8 arrays.

  Args:
    data: the file; strings of Python 2 are read as Latin-1.

  Raises:
    PickleError: for anything else.
  """
  stream = io.BytesIO(data)
  try:
    content = _Unpickler(stream, encoding="latin1").load()
  except PickleError:
    raise
  except Exception as error:  # a broken pickle raises whatever it leads to
    raise PickleError(f"broken: {error}") from None
  if stream.read(1):
    raise PickleError("broken: more data after its end")
  if not isinstance(content, dict):
    raise PickleError("no dictionary")
  return {
    # Copies written again by Python 3 have bytes for keys.
    str(key, "latin-1") if isinstance(key, bytes) else key: (
      value.values if isinstance(value, _Array) else value
    )
    for key, value in content.items()
  }
