"""Bytes that the instructions of a compiled program read and write.

An instruction reads its operands and writes its result where they lie in the
device's main memory, as they lie there: with their tiles filled up.

- An array counts once per instruction, however often its kernel reads it: what
  is read again comes from a cache at best. So these are the fewest bytes for
  this program, not what a profiler counts.
- Of an operand that a fusion slices or gathers from, what it takes counts, at
  most the whole; an operand that it does not use counts nothing.
- Of an array that is updated in place, the update counts. The compiler copies
  the array first, as an instruction of its own, where it is needed unchanged.
- Of copies to or from memory within the chip, the one side counts.
- An asynchronous operation counts where it starts, its end nothing.
- The workspace of a library's call does not count, nor what the library or a
  hand-written kernel reads twice, nor the scratch memory of either.
"""

import collections
import dataclasses
import re
from collections.abc import Mapping

from mn_jax.perf.program import hlo

COLLECTIVES = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "collective-permute",
  "all-to-all",
)
# Opcodes that run other computations, and cost nothing themselves.
CONTROL_FLOW = {"call", "conditional", "while"}

# Opcodes that only name what is there, or end what has started.
_FREE = {
  "add-dependency",
  "after-all",
  "async-update",
  "bitcast",
  "constant",
  "domain",
  "get-tuple-element",
  "opt-barrier",
  "parameter",
  "partition-id",
  "replica-id",
  "tuple",
}
_FREE_CALLS = re.compile(r'custom_call_target="(AllocateBuffer|ConcatBitcast)"')
# Calls of libraries with a last result that is their workspace.
_LIBRARY_CALLS = re.compile(r'custom_call_target="__(cudnn|cublas|cub)\$')
_WORKSPACE = re.compile(r"[su]8\[\d+\]")
_SLICES = {"dynamic-slice", "slice"}
_UPDATE = "dynamic-update-slice"
# Opcodes with results that each need all of an operand, or much of it.
_NEEDS_ALL = {
  "all-reduce",
  "cholesky",
  "convolution",
  "custom-call",
  "dot",
  "fft",
  "reduce",
  "reduce-window",
  "scatter",
  "select-and-scatter",
  "sort",
  "triangular-solve",
}

# Name of an instruction -> shape of its result.
Shapes = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Traffic:
  """Bytes between a kernel and the device's main memory."""

  read: int
  written: int

  @property
  def total(self) -> int:
    """Both."""
    return self.read + self.written


NOTHING = Traffic(0, 0)


def is_free(instruction: hlo.Instruction) -> bool:
  """Whether an instruction runs nothing itself."""
  return (
    instruction.opcode in _FREE
    or instruction.opcode.endswith("-done")
    or bool(_FREE_CALLS.search(instruction.attributes))
  )


def of_instruction(
  program: hlo.Program, instruction: hlo.Instruction, shapes: Shapes
) -> Traffic:
  """Counts the bytes of an instruction.

  Args:
    program: that it is in.
    instruction: not one of CONTROL_FLOW.
    shapes: of its operands, by name.
  """
  opcode, shape = instruction.opcode, instruction.shape
  if is_free(instruction):
    return NOTHING
  if opcode == "copy-start":
    # Target, source, and a state that is no array of the copy.
    target, source = hlo.arrays(shape)[:2]
    return Traffic(_main_memory_bytes(source), _main_memory_bytes(target))
  if opcode.endswith("-start"):
    opcode, shape = opcode.removesuffix("-start"), _result(instruction)
    instruction = dataclasses.replace(instruction, opcode=opcode, shape=shape)
  names = instruction.operand_names()
  operands = [shapes.get(name, "") for name in names]
  if opcode in _SLICES:
    return Traffic(_part(shape, within=operands[0]), _size(shape))
  if opcode == _UPDATE:
    part = _part(operands[1], within=shape)
    return Traffic(_size(operands[1]), part)
  if opcode == "gather":
    part = min(_part(shape, within=operands[0]), _size(operands[0]))
    return Traffic(part + sum(map(_size, operands[1:])), _size(shape))
  if opcode == "scatter":
    return _of_scatter(operands, shape)
  if opcode == "fusion":
    return _of_fusion(
      program, instruction, dict(zip(names, operands, strict=True))
    )
  if _LIBRARY_CALLS.search(instruction.attributes):
    shape = _without_workspace(shape)
  distinct = dict(zip(names, operands, strict=True))
  return Traffic(sum(map(_size, distinct.values())), _size(shape))


def _result(start: hlo.Instruction) -> str:
  """The shape of what an asynchronous operation results in.

  A start has a tuple of its operands, its results and its state, of scalars. An
  all-reduce may have the results alone.
  """
  parts = hlo.split(start.shape)
  if start.opcode == "all-reduce-start" and not parts[0].startswith("("):
    return start.shape
  return parts[1] if len(parts) > 1 else start.shape


def _of_scatter(operands: list[str], shape: str) -> Traffic:
  """A scatter reads and writes in place what its updates say.

  Its operands are the arrays to change, one list of positions, and as many
  updates as arrays.
  """
  count = len(operands) // 2
  updates = operands[count + 1 :]
  changed = sum(
    _part(update, within=array)
    for update, array in zip(updates, operands[:count], strict=True)
  )
  read = changed + sum(map(_size, operands[count:]))
  return Traffic(read, min(changed, _size(shape)))


def _of_fusion(
  program: hlo.Program, fusion: hlo.Instruction, operands: Mapping[str, str]
) -> Traffic:
  ((name, _), *_) = program.called(fusion)
  body = program.computations[name]
  shares, updated = _read_shares(program, name)
  names = fusion.operand_names()
  read: dict[str, float] = collections.defaultdict(float)
  for number, share in shares.items():
    operand = names[number]
    size = share * _size(operands.get(operand, ""))
    read[operand] = max(read[operand], size)
  read["constants"] = _constants(body)
  written = 0
  results = hlo.arrays(fusion.shape)
  for i, array in enumerate(results):
    update = updated.get(i)
    size = _main_memory_bytes(array)
    if update is not None and size:
      size = min(size, sum(a.padded_bytes for a in hlo.arrays(update)))
    written += size
  return Traffic(round(sum(read.values())), written)


def _read_shares(
  program: hlo.Program, name: str
) -> tuple[dict[int, float], dict[int, str]]:
  """What a fused computation reads, and what it updates in place.

  Goes from the results back to the parameters, with the share of every value
  that is needed.

  Returns:
    The share of each parameter, 0 to 1, by its number; and for the results
    that are parameters updated in place, by their position, the shape of the
    update.
  """
  body = program.computations[name]
  known = {i.name: i for i in body}
  needed: dict[str, float] = collections.defaultdict(float)
  updated, in_place = {}, set()
  (root,) = (i for i in body if i.root)
  results = root.operand_names() if root.opcode == "tuple" else [root.name]
  for position, result in enumerate(results):
    needed[result] = 1.0
    update = _behind_bitcasts(known, result)
    if update.opcode in (_UPDATE, "scatter"):
      target, *_, change = update.operand_names()
      if update.opcode == _UPDATE:
        change = update.operand_names()[1]
      if _behind_bitcasts(known, target).opcode == "parameter":
        updated[position] = known[change].shape
        in_place.add(update.name)
  shares = {}
  for instruction in reversed(body):
    share = min(1.0, needed[instruction.name])
    if instruction.opcode == "parameter":
      shares[int(instruction.operands)] = share
    elif share and (instruction is not root or root.opcode != "tuple"):
      _pass_on(program, known, instruction, share, needed, in_place)
  return shares, updated


def _pass_on(
  program: hlo.Program,
  known: Mapping[str, hlo.Instruction],
  instruction: hlo.Instruction,
  share: float,
  needed: dict[str, float],
  in_place: set[str],
) -> None:
  """Adds what an instruction needs of its operands to `needed`."""
  opcode, names = instruction.opcode, instruction.operand_names()
  if opcode in _SLICES or opcode == "gather":
    needed[names[0]] += share * _ratio(instruction, known[names[0]])
    for name in names[1:]:
      needed[name] += 1.0
  elif opcode == _UPDATE or instruction.name in in_place:
    if opcode == "scatter":
      needed[names[0]] += _ratio(known[names[-1]], known[names[0]])
    elif instruction.name not in in_place:
      needed[names[0]] += share
    for name in names[1:]:
      needed[name] += 1.0
  elif opcode == "fusion":
    ((inner, _), *_) = program.called(instruction)
    for number, part in _read_shares(program, inner)[0].items():
      needed[names[number]] += part
  else:
    for name in names:
      if name not in known:
        continue
      ratio = _ratio(instruction, known[name])
      whole = opcode in _NEEDS_ALL or ratio < 1
      needed[name] += 1.0 if whole else share * ratio


def _ratio(result: hlo.Instruction, operand: hlo.Instruction) -> float:
  """Bytes of a result over those of an operand; 1 for what has none.

  Of different types, elements count.
  """

  def size(instruction: hlo.Instruction, padded: bool) -> int:
    return sum(
      array.padded_bytes if padded else array.elements
      for array in hlo.arrays(instruction.shape)
    )

  same = result.shape.partition("[")[0] == operand.shape.partition("[")[0]
  whole = size(operand, same)
  return size(result, same) / whole if whole else 1.0


def _behind_bitcasts(
  known: Mapping[str, hlo.Instruction], name: str
) -> hlo.Instruction:
  instruction = known[name]
  while instruction.opcode == "bitcast":
    instruction = known[instruction.operand_names()[0]]
  return instruction


def _constants(body: list[hlo.Instruction]) -> int:
  """Bytes of a fusion's own arrays; scalars are part of its code."""
  sizes = [_size(i.shape) for i in body if i.opcode == "constant"]
  return sum(size for size in sizes if size > 8)


def _without_workspace(shape: str) -> str:
  shapes = hlo.split(shape)
  if len(shapes) > 1 and _WORKSPACE.match(shapes[-1]):
    return " ".join(shapes[:-1])
  return shape


def _size(shape: str) -> int:
  """Bytes of a shape's arrays in main memory."""
  return sum(map(_main_memory_bytes, hlo.arrays(shape)))


def _part(shape: str, *, within: str) -> int:
  """Bytes to move a part of an array, wherever the part itself lies."""
  if not _size(within):
    return 0
  return sum(array.padded_bytes for array in hlo.arrays(shape))


def _main_memory_bytes(array: hlo.Array) -> int:
  return array.padded_bytes if array.space == 0 else 0
