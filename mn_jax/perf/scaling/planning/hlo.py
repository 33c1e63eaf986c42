"""The text of a compiled program, as far as its costs can be read from it.

`jax.stages.Compiled.as_text()` is HLO after all of the compiler's passes: its
lines are in the order of execution, and each array's shape says how it lies in
which memory.
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

# Bytes of an element by its type. 8-bit floats have many names.
_SIZES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8}
_SIZES |= {
  "c128": 16,
  **{f"{sign}{bits}": 1 for sign in "su" for bits in (2, 4)},
}
_SIZES |= {
  f"{sign}{bits}": bits // 8 for sign in "su" for bits in (8, 16, 32, 64)
}


@dataclasses.dataclass(frozen=True)
class Array:
  """An array of a shape.

  Attributes:
    bytes: of its elements.
    padded_bytes: that it takes, its tiles filled up.
    space: the memory where it lies: 0 is the chip's, others are within the
      chip.
  """

  bytes: int
  padded_bytes: int
  space: int


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: what others call its result by.
    shape: of its result, as text.
    opcode: 'fusion', 'all-reduce-start'.
    operands: what stands in its parentheses.
    attributes: what follows them.
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
    """Computations that one runs, and how often; all of several branches."""
    attributes = instruction.attributes
    found = [(name, 1) for name in _CALLED.findall(attributes)]
    for name in _BODY.findall(attributes):
      found.append((name, self._turns(attributes)))
    for names in _BRANCHES.findall(attributes):
      found += [(name, 1) for name in re.findall(r"[\w.\-]+", names)]
    return found

  def _turns(self, attributes: str) -> int:
    """Turns of a loop that counts up to a constant from 0; 1 for others."""
    condition = _CONDITION.search(attributes)
    instructions = self.computations.get(condition[1] if condition else "", [])
    limits = [
      int(each.operands)
      for each in instructions
      if each.opcode == "constant" and each.operands.isdigit()
    ]
    return limits[0] if len(limits) == 1 else 1


def parse(text: str) -> Program:
  """Reads the text of a compiled program."""
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
  """The arrays of a shape, those of a tuple in their order."""
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
  """0 for what is no array, as a token."""
  return 1 if dtype.startswith("f8") else _SIZES.get(dtype, 0)
