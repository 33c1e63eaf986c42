"""Parses the text of a compiled program: optimised, scheduled HLO.

`jax.stages.Compiled.as_text()` is HLO after all of the compiler's passes: its
lines are in the order of execution, and each array's shape includes its layout
and the memory where it lies.
"""

import dataclasses
import math
import re

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{\s*$")
_NAME = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_WORD = re.compile(r"%([\w.\-]+)|(?:^|[\s,(])([A-Za-z_][\w.\-]*)(?=[,)]|$)")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_BODY = re.compile(r"body=%?([\w.\-]+)")
_BRANCHES = re.compile(r"(?:branch|called)_computations=\{([^}]*)\}")
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_TILE = re.compile(r"T\(([\d,]+)\)")

# Bytes of an element by its type. 8-bit floats have many names, which begin f8.
_ELEMENT_BYTES = {
  "pred": 1,
  **dict.fromkeys(("s2", "s4", "s8", "u2", "u4", "u8"), 1),
  **dict.fromkeys(("s16", "u16", "f16", "bf16"), 2),
  **dict.fromkeys(("s32", "u32", "f32"), 4),
  **dict.fromkeys(("s64", "u64", "f64", "c64"), 8),
  "c128": 16,
}


@dataclasses.dataclass(frozen=True)
class Array:
  """An array of a shape.

  Attributes:
    bytes: of its elements.
    padded_bytes: that it takes, its tiles filled up.
    space: the memory where it lies: 0 is the chip's main memory, others are
      within the chip.
  """

  bytes: int
  padded_bytes: int
  space: int


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: of its result.
    shape: of its result, as text.
    opcode: 'fusion', 'all-reduce-start'.
    operands: the text in its parentheses.
    attributes: the text behind them.
    root: whether its result is the computation's.
  """

  name: str
  shape: str
  opcode: str
  operands: str
  attributes: str
  root: bool

  def operand_names(self) -> list[str]:
    """Names of the instructions whose results it takes."""
    return [one or other for one, other in _WORD.findall(self.operands)]


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program.

  Attributes:
    computations: instructions in their order, by the computation's name.
    entry: the computation that runs first.
  """

  computations: dict[str, list[Instruction]]
  entry: str

  def called(self, instruction: Instruction) -> list[tuple[str, int]]:
    """Computations that an instruction runs, each with its trip count.

    All branches of a conditional are among them.
    """
    attributes = instruction.attributes
    trips = [(name, 1) for name in _CALLED.findall(attributes)]
    for name in _BODY.findall(attributes):
      trips.append((name, self._trip_count(attributes)))
    for names in _BRANCHES.findall(attributes):
      trips += [(name, 1) for name in re.findall(r"[\w.\-]+", names)]
    return trips

  def _trip_count(self, attributes: str) -> int:
    """Of a loop that counts up to a constant from 0; 1 for others."""
    condition = _CONDITION.search(attributes)
    instructions = self.computations.get(condition[1] if condition else "", [])
    limits = [
      int(instruction.operands)
      for instruction in instructions
      if instruction.opcode == "constant" and instruction.operands.isdigit()
    ]
    return limits[0] if len(limits) == 1 else 1


def parse(text: str) -> Program:
  """Parses the text of a compiled program."""
  computations: dict[str, list[Instruction]] = {}
  entry, current = "", None
  for line in text.splitlines():
    header = _HEADER.match(line)
    if header and " = " not in line.partition("(")[0]:
      current = computations.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    elif current is not None and (instruction := _instruction(line)):
      current.append(instruction)
  return Program(computations, entry)


def arrays(shape: str) -> list[Array]:
  """The arrays of a shape, those of a tuple in their order, without tokens."""
  return [
    _array(dtype, dimensions, layout)
    for dtype, dimensions, layout in _ARRAY.findall(shape)
    if _element_bytes(dtype)
  ]


def _instruction(line: str) -> Instruction | None:
  name = _NAME.match(line)
  if name is None:
    return None
  rest = line[name.end() :]
  # A tuple's shape has blanks, and its layouts have parentheses.
  end = _closing(rest, 0) if rest.startswith("(") else rest.find(" ")
  opcode = _OPCODE.match(rest, end)
  if opcode is None:
    return None
  closing = _closing(rest, opcode.end() - 1)
  return Instruction(
    name=name[2],
    shape=rest[:end],
    opcode=opcode[1],
    operands=rest[opcode.end() : closing - 1],
    attributes=rest[closing:],
    root=bool(name[1]),
  )


def _closing(text: str, start: int) -> int:
  """The position behind the parenthesis that closes the one at `start`."""
  depth = 0
  for position in range(start, len(text)):
    depth += {"(": 1, ")": -1}.get(text[position], 0)
    if depth == 0:
      return position + 1
  return len(text)


def _array(dtype: str, dimensions: str, layout: str) -> Array:
  """An array from the parts of its shape: 'bf16', '8,32', '1,0:T(8,128)'."""
  lengths = _numbers(dimensions)
  size = _element_bytes(dtype)
  padded = list(lengths)
  tile, space = _TILE.search(layout), _SPACE.search(layout)
  if tile:
    # From the innermost axis outward, in tile and layout alike.
    axes = _numbers(layout.partition(":")[0])
    for axis, length in zip(axes, reversed(_numbers(tile[1])), strict=False):
      padded[axis] = -(-padded[axis] // length) * length
  return Array(
    bytes=math.prod(lengths) * size,
    padded_bytes=math.prod(padded) * size,
    space=int(space[1]) if space else 0,
  )


def _numbers(text: str) -> list[int]:
  return [int(part) for part in text.split(",") if part]


def _element_bytes(dtype: str) -> int:
  """Bytes of an element; 0 for what is no array, such as a token."""
  return 1 if dtype.startswith("f8") else _ELEMENT_BYTES.get(dtype, 0)
