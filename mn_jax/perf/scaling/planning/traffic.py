"""Bytes that a compiled program moves to and from the chip's memory.

XLA's own count, 'bytes accessed', is of no use for TPUs: it has arrays that
never leave the chip, and whole arrays for every turn of a loop that takes a
slice of them. Here an instruction reads its operands and writes its result, as
padded as they lie in memory, where they do lie in the chip's memory:

- of what is sliced, the slice; of what is updated in place, the update;
- of copies to or from memory within the chip, the one side;
- loops count every turn.
"""

import re

from mn_jax.perf.scaling.planning import hlo

# Names for what is there, or the end of what has begun.
_FREE = {
  "after-all",
  "bitcast",
  "constant",
  "get-tuple-element",
  "parameter",
  "partition-id",
  "replica-id",
  "tuple",
}
_FREE_CALLS = re.compile(r'custom_call_target="(AllocateBuffer|ConcatBitcast)"')
_SLICES = {"dynamic-slice", "slice"}
_UPDATES = {"dynamic-update-slice"}
# What runs other computations, and does nothing of its own.
_RUNS = {"async-start", "call", "conditional", "while"}


def count(program: hlo.Program) -> int:
  """Bytes moved in one run of a program."""
  return _computation(program, program.entry)


def _computation(program: hlo.Program, name: str) -> int:
  instructions = program.computations.get(name, [])
  shapes = {each.name: each.shape for each in instructions}
  return sum(_moved(program, each, shapes) for each in instructions)


def _moved(
  program: hlo.Program, each: hlo.Instruction, shapes: dict[str, str]
) -> int:
  """What one instruction moves.

  Args:
    program: of which it is.
    each: the instruction.
    shapes: of all results of its computation.
  """
  if (
    each.opcode in _FREE
    or each.opcode.endswith("-done")
    or _FREE_CALLS.search(each.attributes)
  ):
    return 0
  if each.opcode in _RUNS:
    turns = [
      times * _computation(program, name)
      for name, times in program.called(each)
    ]
    # Of branches, the one that costs most.
    return max(turns, default=0)
  if each.opcode == "copy-start":
    # To, from, and a state that is no array of the copy.
    return sum(map(_size, hlo.arrays(each.shape)[:2]))
  if each.opcode == "slice-start":
    # From, to, and a state: what is sliced is read no further than that.
    result = hlo.arrays(each.shape)[1]
    return result.padded_bytes * (2 if result.space == 0 else 1)
  operands = [shapes.get(name, "") for name in each.operand_names()]
  if each.opcode in _SLICES:
    return _sizes(each.shape) + _part(each.shape, within=operands[0])
  if each.opcode in _UPDATES:
    return _sizes(operands[1]) + _part(operands[1], within=each.shape)
  if each.opcode == "fusion":
    return _fused(program, each, operands)
  return _sizes(each.shape) + sum(map(_sizes, operands))


def _fused(
  program: hlo.Program, each: hlo.Instruction, operands: list[str]
) -> int:
  """A fusion reads no more of an operand than the slices it takes of it."""
  ((name, _), *_) = program.called(each)
  inner = program.computations.get(name, [])
  shapes = {one.name: one.shape for one in inner}
  users: dict[str, list[hlo.Instruction]] = {}
  for one in inner:
    for operand in one.operand_names():
      users.setdefault(operand, []).append(one)
  moved = 0
  for one in inner:
    if one.opcode != "parameter":
      continue
    number = int(one.operands)
    if number >= len(operands) or not _sizes(operands[number]):
      continue
    of_it = users.get(one.name, [])
    if _is_only(_SLICES, one, of_it):
      moved += sum(_part(user.shape, within=operands[number]) for user in of_it)
    elif not _is_only(_UPDATES, one, of_it):
      moved += _sizes(operands[number])
  root = next((one for one in inner if one.root), None)
  if root is not None and root.opcode in _UPDATES:
    update = shapes.get(root.operand_names()[1], "")
    return moved + _part(update, within=each.shape)
  return moved + _sizes(each.shape)


def _is_only(
  opcodes: set[str], parameter: hlo.Instruction, users: list[hlo.Instruction]
) -> bool:
  """Whether an operand is only sliced, or only updated in place."""
  return bool(users) and all(
    user.opcode in opcodes and user.operand_names()[0] == parameter.name
    for user in users
  )


def _sizes(shape: str) -> int:
  return sum(map(_size, hlo.arrays(shape)))


def _part(shape: str, *, within: str) -> int:
  """What moving a part of an array costs, wherever the part itself lies."""
  if not _sizes(within):
    return 0
  return sum(array.padded_bytes for array in hlo.arrays(shape))


def _size(array: hlo.Array) -> int:
  """What moving an array costs: nothing within the chip."""
  return array.padded_bytes if array.space == 0 else 0
