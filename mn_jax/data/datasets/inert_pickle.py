"""Plain values out of a pickle, without running anything.

A pickle is a program whose instructions can call any function. Here they are
decoded (`pickletools` only reads them) and followed as far as they make
dictionaries, lists, tuples, texts, bytes, numbers and NumPy arrays of bytes; a
function that is named is never looked up. Everything else is refused.
"""

import dataclasses
import math
import pickletools
from typing import Any

import numpy as np

# What NumPy arrays, and bytes written by Python 3, are pickled with.
_BYTES = "_codecs encode"
_NAMES = {
  _BYTES,
  "numpy ndarray",
  "numpy dtype",
  "numpy.core.multiarray _reconstruct",
  "numpy._core.multiarray _reconstruct",
}
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_ARGUMENTS = (
  "BININT",
  "BININT1",
  "BININT2",
  "LONG1",
  "BINFLOAT",
  "BINUNICODE",
  "SHORT_BINUNICODE",
  "BINBYTES",
  "SHORT_BINBYTES",
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MAX_INSTRUCTIONS = 5_000_000


class PickleError(ValueError):
  """A pickle that is broken or holds more than plain values."""


@dataclasses.dataclass(frozen=True)
class _Name:
  """A function or class that the pickle names."""

  value: str


@dataclasses.dataclass
class _Made:
  """What a call would have made; its state comes later."""

  name: str
  arguments: tuple
  state: tuple = ()


_MARK = object()


def read(data: bytes) -> Any:
  """The value of a pickle of protocol 2 or 3, as Python 2 or 3 wrote it.

  Texts of Python 2 are read as Latin-1.

  Args:
    data: the file.

  Returns:
    Dictionaries, lists, tuples, str, bytes, int, float, bool, None and u8
    arrays.

  Raises:
    PickleError: for anything else.
  """
  try:
    value, size = _run(data)
  except PickleError:
    raise
  except Exception as error:  # pickletools raises whatever it meets
    raise PickleError(f"broken ({error})") from None
  if size != len(data):
    raise PickleError(f"{len(data) - size} bytes follow its end")
  return _plain(value, depth=0)


def _run(data: bytes) -> tuple[Any, int]:
  """Follows the instructions; returns the value and where they ended."""
  stack: list[Any] = []
  memo: dict[int, Any] = {}
  for count, (opcode, argument, position) in enumerate(
    pickletools.genops(data)
  ):
    name = opcode.name
    if count > _MAX_INSTRUCTIONS:
      raise PickleError(f"more than {_MAX_INSTRUCTIONS} instructions")
    if name == "PROTO":
      pass
    elif name == "STOP":
      (value,) = stack
      return value, position + 1
    elif name == "MARK":
      stack.append(_MARK)
    elif name in _VALUES:
      stack.append(_VALUES[name])
    elif name in _ARGUMENTS or name in ("BINSTRING", "SHORT_BINSTRING"):
      stack.append(argument)
    elif name in _TUPLES:
      size = _TUPLES[name]
      stack[len(stack) - size :] = [tuple(stack[len(stack) - size :])]
    elif name == "TUPLE":
      stack.append(tuple(_since_mark(stack)))
    elif name == "EMPTY_LIST":
      stack.append([])
    elif name == "EMPTY_DICT":
      stack.append({})
    elif name in ("APPEND", "APPENDS"):
      items = _since_mark(stack) if name == "APPENDS" else [stack.pop()]
      _expect(stack[-1], list).extend(items)
    elif name in ("SETITEM", "SETITEMS"):
      if name == "SETITEMS":
        items = _since_mark(stack)
      else:
        items = [stack.pop(-2), stack.pop()]
      keys, values = items[::2], items[1::2]
      pairs = zip(map(_key, keys), values, strict=True)
      _expect(stack[-1], dict).update(pairs)
    elif name in ("BINPUT", "LONG_BINPUT"):
      memo[argument] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    elif name == "GLOBAL":
      if argument not in _NAMES:
        raise PickleError(f"names {argument.replace(' ', '.')!r}")
      stack.append(_Name(argument))
    elif name == "REDUCE":
      arguments = _expect(stack.pop(), tuple)
      stack.append(_Made(_expect(stack.pop(), _Name).value, arguments))
    elif name == "BUILD":
      state = _expect(stack.pop(), tuple)
      _expect(stack[-1], _Made).state = state
    else:
      raise PickleError(f"has the instruction {name}")
  raise PickleError("has no end")


def _since_mark(stack: list) -> list:
  """Takes what lies above the last mark, and the mark."""
  at = len(stack) - 1
  while stack[at] is not _MARK:
    at -= 1
    if at < 0:
      raise PickleError("broken (no mark)")
  items = stack[at + 1 :]
  del stack[at:]
  return items


def _expect(value: Any, kind: type) -> Any:
  if type(value) is not kind:
    raise PickleError(f"broken ({type(value).__name__}, not {kind.__name__})")
  return value


def _key(value: Any) -> str | int:
  """A key of a dictionary; bytes, as Python 3 may read them, become text."""
  value = _plain(value, depth=0)
  if isinstance(value, bytes):
    return value.decode("latin-1")
  if type(value) not in (str, int):
    raise PickleError(f"has a key of type {type(value).__name__}")
  return value


def _plain(value: Any, depth: int) -> Any:
  """The value without what calls stand for."""
  if depth > 20:
    raise PickleError("is nested too deeply")
  if isinstance(value, _Made):
    return _call(value)
  if isinstance(value, _Name):
    raise PickleError(f"holds {value.value.replace(' ', '.')!r} itself")
  if isinstance(value, list):
    return [_plain(item, depth + 1) for item in value]
  if isinstance(value, tuple):
    return tuple(_plain(item, depth + 1) for item in value)
  if isinstance(value, dict):
    return {key: _plain(item, depth + 1) for key, item in value.items()}
  return value


def _call(made: _Made) -> bytes | np.ndarray:
  """What the few known calls stand for."""
  if made.name == _BYTES:
    text, encoding = made.arguments
    if encoding != "latin1":
      raise PickleError(f"encodes by {encoding!r}")
    return _expect(text, str).encode("latin-1")
  if not made.name.endswith("_reconstruct"):
    raise PickleError(f"calls {made.name.replace(' ', '.')!r}")
  _, shape, kind, by_column, content = made.state
  kind = _expect(kind, _Made)
  if kind.name != "numpy dtype" or kind.arguments[0] not in ("u1", "|u1"):
    raise PickleError(f"holds an array of {kind.arguments[:1]}")
  if by_column:
    raise PickleError("holds an array that is stored by column")
  if isinstance(content, _Made):
    content = _call(content)
  if isinstance(content, str):  # of Python 2
    content = content.encode("latin-1")
  shape = tuple(_expect(size, int) for size in _expect(shape, tuple))
  if min(shape, default=0) < 0 or math.prod(shape) != len(content):
    raise PickleError(f"holds an array {shape} of {len(content)} bytes")
  return np.frombuffer(content, np.uint8).reshape(shape)
