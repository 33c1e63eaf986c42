"""Parses the text of a compiled program: optimised, scheduled HLO.

`jax.stages.Compiled.as_text()` is HLO after all of the compiler's passes: its
lines are in the order of execution, and each array's shape includes its layout
and the memory where it lies. What cannot be read raises a ValueError: a line
that is passed over would be missing from every sum.
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
_TWO_BRANCHES = re.compile(r"(?:true|false)_computation=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_TILE = re.compile(r"T\(([\d,]+)\)")
_PACKED = re.compile(r"E\((\d+)\)")
_TABLE = re.compile(r"^(FileNames|FunctionNames|FileLocations|StackFrames)$")
_TABLE_ROW = re.compile(r"^(\d+) (.*)$")
_COMMENT = re.compile(r"/\*.*?\*/")
_FIELD = re.compile(r"(\w+)=(\d+)")

# Bits of an element by its type. 8-bit floats have many names, which begin f8.
_ELEMENT_BITS = {
  "pred": 8,
  **dict.fromkeys(("s1", "s2", "s4", "s8", "u1", "u2", "u4", "u8"), 8),
  "f4e2m1fn": 8,
  **dict.fromkeys(("s16", "u16", "f16", "bf16"), 16),
  **dict.fromkeys(("s32", "u32", "f32"), 32),
  **dict.fromkeys(("s64", "u64", "f64", "c64"), 64),
  "c128": 128,
  # No arrays.
  **dict.fromkeys(("token", "opaque"), 0),
}


@dataclasses.dataclass(frozen=True)
class Array:
  """An array of a shape.

  Attributes:
    bytes: of its elements.
    padded_bytes: that it takes, its tiles filled up.
    space: the memory where it lies: 0 is the chip's main memory, others are
      within the chip.
    elements: their number.
  """

  bytes: int
  padded_bytes: int
  space: int
  elements: int


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
    frames: of the stack where an instruction was traced, by the number in
      its metadata, the innermost first: (file, function).
  """

  computations: dict[str, list[Instruction]]
  entry: str
  frames: dict[int, tuple[tuple[str, str], ...]] = dataclasses.field(
    default_factory=dict
  )

  def called(self, instruction: Instruction) -> list[tuple[str, int]]:
    """Computations that an instruction runs, each with its trip count.

    All branches of a conditional are among them.
    """
    attributes = instruction.attributes
    trips = [(name, 1) for name in _CALLED.findall(attributes)]
    trips += [(name, 1) for name in _TWO_BRANCHES.findall(attributes)]
    for name in _BODY.findall(attributes):
      trips.append((name, self.trip_count(instruction) or 1))
    for names in _BRANCHES.findall(attributes):
      trips += [(name, 1) for name in re.findall(r"[\w.\-]+", names)]
    return trips

  def trip_count(self, loop: Instruction) -> int | None:
    """How often a loop runs; None if the program does not say.

    The compiler notes what it knows; else it is the one constant that the
    condition compares with, of a loop that counts up to it from 0.
    """
    known = _TRIPS.search(loop.attributes)
    if known:
      return int(known[1])
    condition = _CONDITION.search(loop.attributes)
    instructions = self.computations.get(condition[1] if condition else "", [])
    limits = [
      int(instruction.operands)
      for instruction in instructions
      if instruction.opcode == "constant" and instruction.operands.isdigit()
    ]
    return limits[0] if len(limits) == 1 else None


def parse(text: str) -> Program:
  """Parses the text of a compiled program.

  Raises:
    ValueError: for a text without an entry computation, or a line of a
      computation that is no instruction.
  """
  computations: dict[str, list[Instruction]] = {}
  entry, current = "", None
  tables: dict[str, dict[int, str]] = {}
  table: dict[int, str] | None = None
  # Kernels in the text hold bytes that Python takes for ends of lines.
  lines = iter(text.split("\n"))
  for line in lines:
    if current is not None:
      # Its thread follows where it is not the main one's.
      if line.lstrip().startswith("}"):
        current = None
      elif line.strip():
        # A constant of several dimensions has several lines.
        while line.count("{") > line.count("}") and " constant(" in line:
          line += next(lines, "}")
        current.append(_instruction(line))
      continue
    header = _HEADER.match(line)
    if header and " = " not in line.partition("(")[0]:
      current = computations.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    elif name := _TABLE.match(line):
      table = tables.setdefault(name[1], {})
    elif table is not None and (row := _TABLE_ROW.match(line)):
      table[int(row[1])] = row[2]
  if not entry:
    raise ValueError("no compiled program: the text has no ENTRY computation")
  return Program(computations, entry, _frames(tables))


def _frames(
  tables: dict[str, dict[int, str]],
) -> dict[int, tuple[tuple[str, str], ...]]:
  """See `Program.frames`."""
  frames: dict[int, tuple[tuple[str, str], ...]] = {}
  # A frame's parent comes before it, and is counted from one: 1 is none.
  for number, text in sorted(tables.get("StackFrames", {}).items()):
    fields = {name: int(value) for name, value in _FIELD.findall(text)}
    location = tables["FileLocations"][fields["file_location_id"]]
    ids = {name: int(value) for name, value in _FIELD.findall(location)}
    file = tables["FileNames"][ids["file_name_id"]].strip('"')
    function = tables["FunctionNames"][ids["function_name_id"]].strip('"')
    parent = frames.get(fields["parent_frame_id"] - 1, ())
    frames[number] = ((file, function), *parent)
  return frames


def arrays(shape: str) -> list[Array]:
  """The arrays of a shape, those of a tuple in their order, without tokens."""
  return [
    _array(dtype, dimensions, layout)
    for dtype, dimensions, layout in _ARRAY.findall(shape)
    if _element_bits(dtype)
  ]


def split(shape: str) -> list[str]:
  """The parts of a tuple's shape, which may be tuples; else the shape alone."""
  if not shape.startswith("("):
    return [shape]
  parts, depth, start = [], 0, 1
  for position, character in enumerate(shape):
    depth += {"(": 1, "{": 1, "[": 1}.get(character, 0)
    depth -= {")": 1, "}": 1, "]": 1}.get(character, 0)
    if (character == "," and depth == 1) or depth == 0:
      parts.append(_COMMENT.sub("", shape[start:position]).strip())
      start = position + 1
  return parts


def _instruction(line: str) -> Instruction:
  name = _NAME.match(line)
  if name is None:
    raise ValueError(f"no instruction of HLO: {line.strip()[:80]!r}")
  rest = line[name.end() :]
  # A tuple's shape has blanks, and its layouts have parentheses.
  end = _closing(rest, 0) if rest.startswith("(") else rest.find(" ")
  opcode = _OPCODE.match(rest, end)
  if opcode is None:
    raise ValueError(f"no instruction of HLO: {line.strip()[:80]!r}")
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
  # A dimension of '<=8' has up to 8 elements.
  lengths = _numbers(dimensions.replace("<=", ""))
  packed = _PACKED.search(layout)
  bits = int(packed[1]) if packed else _element_bits(dtype)
  padded = list(lengths)
  tile, space = _TILE.search(layout), _SPACE.search(layout)
  if tile:
    # From the innermost axis outward, in tile and layout alike.
    axes = _numbers(layout.partition(":")[0])
    for axis, length in zip(axes, reversed(_numbers(tile[1])), strict=False):
      padded[axis] = -(-padded[axis] // length) * length
  return Array(
    bytes=-(-math.prod(lengths) * bits // 8),
    padded_bytes=-(-math.prod(padded) * bits // 8),
    space=int(space[1]) if space else 0,
    elements=math.prod(lengths),
  )


def _numbers(text: str) -> list[int]:
  return [int(part) for part in text.split(",") if part]


def _element_bits(dtype: str) -> int:
  """Bits of an element; 0 for what is no array, such as a token."""
  if dtype.startswith("f8"):
    return 8
  if dtype not in _ELEMENT_BITS:
    raise ValueError(f"an array of unknown type: {dtype!r}")
  return _ELEMENT_BITS[dtype]
