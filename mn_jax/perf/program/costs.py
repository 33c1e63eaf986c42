"""Costs of a compiled program from its HLO text: bytes, cycles, collectives.

XLA's own count of bytes, 'bytes accessed', does not suit TPUs: it includes
arrays that never leave the chip, and counts a whole array for every iteration
of a loop that takes a slice of it. Here an instruction reads its operands and
writes its result, padded as they lie in memory, where they lie in the chip's
main memory:

- of what is sliced, the slice; of what is updated in place, the update;
- of copies to or from memory within the chip, the one side.

Cycles are the TPU compiler's estimate for each operation, by which it
schedules: what the matrix and vector units and the memory need, whichever is
the longest. The estimate is not documented, but no other one includes vector
units and padding.

The text is scheduled: its lines are in the order of execution. So a collective
that is split into a start and a done is overlapped if there is work between the
two.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping

from mn_jax.perf.program import hlo

COLLECTIVES = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "collective-permute",
  "all-to-all",
)

# Opcodes that only name what is there, or end what has started.
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
_UPDATE = "dynamic-update-slice"
# Opcodes that run other computations, and cost nothing themselves. Fusions have
# an estimate.
_CONTROL_FLOW = {"call", "conditional", "while"}
_ESTIMATE = re.compile(r'"estimated_cycles":"(\d+)"')

# What keeps a chip busy between a start and a done.
_BUSY = _CONTROL_FLOW | {
  "convolution",
  "custom-call",
  "dot",
  "fusion",
  "reduce",
  "reduce-window",
  "scatter",
  "select-and-scatter",
  "sort",
}
_GROUPS = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_MESH_GROUPS = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_AXIS = re.compile(r"'([^']+)'=(\d+)")

# Name of an instruction -> shape of its result.
_Shapes = Mapping[str, str]


def cycles(program: hlo.Program) -> int:
  """Cycles that the TPU compiler expects of one run; 0 for other compilers."""
  return _sum(program, program.entry, _estimated_cycles, _CONTROL_FLOW)


def memory_traffic(program: hlo.Program) -> int:
  """Bytes that one run moves to and from the chip's main memory."""
  asynchronous = {*_CONTROL_FLOW, "async-start"}
  return _sum(program, program.entry, _bytes_moved, asynchronous)


def _sum(
  program: hlo.Program,
  name: str,
  cost_of: Callable[[hlo.Program, hlo.Instruction, _Shapes], int],
  control_flow: Collection[str],
) -> int:
  """Sums a cost over a computation; loops count every iteration.

  Of a conditional's branches, the most expensive counts.
  """
  instructions = program.computations.get(name, [])
  shapes = {i.name: i.shape for i in instructions}
  total = 0
  for instruction in instructions:
    if instruction.opcode in control_flow:
      called = program.called(instruction)
      sums = [n * _sum(program, c, cost_of, control_flow) for c, n in called]
      total += max(sums, default=0)
    else:
      total += cost_of(program, instruction, shapes)
  return total


def _estimated_cycles(
  program: hlo.Program, instruction: hlo.Instruction, shapes: _Shapes
) -> int:
  del program, shapes
  estimate = _ESTIMATE.search(instruction.attributes)
  return int(estimate[1]) if estimate else 0


def _bytes_moved(
  program: hlo.Program, instruction: hlo.Instruction, shapes: _Shapes
) -> int:
  """Bytes that an instruction moves, `shapes` being those of its operands."""
  opcode, shape = instruction.opcode, instruction.shape
  if (
    opcode in _FREE
    or opcode.endswith("-done")
    or _FREE_CALLS.search(instruction.attributes)
  ):
    return 0
  if opcode == "copy-start":
    # Target, source, and a state that is no array of the copy.
    return sum(map(_main_memory_bytes, hlo.arrays(shape)[:2]))
  if opcode == "slice-start":
    # Source, target, and a state: only the slice is read of the source.
    result = hlo.arrays(shape)[1]
    return result.padded_bytes * (2 if result.space == 0 else 1)
  operands = [shapes.get(name, "") for name in instruction.operand_names()]
  if opcode in _SLICES:
    return _size(shape) + _part(shape, within=operands[0])
  if opcode == _UPDATE:
    return _size(operands[1]) + _part(operands[1], within=shape)
  if opcode == "fusion":
    return _bytes_of_fusion(program, instruction, operands)
  return _size(shape) + sum(map(_size, operands))


def _bytes_of_fusion(
  program: hlo.Program, fusion: hlo.Instruction, operands: list[str]
) -> int:
  """A fusion reads no more of an operand than the slices it takes of it."""
  ((name, _), *_) = program.called(fusion)
  body = program.computations.get(name, [])
  shapes = {i.name: i.shape for i in body}
  users: dict[str, list[hlo.Instruction]] = collections.defaultdict(list)
  for instruction in body:
    for operand in instruction.operand_names():
      users[operand].append(instruction)
  moved = 0
  for parameter in body:
    if parameter.opcode != "parameter":
      continue
    number = int(parameter.operands)
    if number >= len(operands) or not _size(operands[number]):
      continue
    readers = users[parameter.name]
    if _all_first_operand(_SLICES, parameter, readers):
      moved += sum(_part(r.shape, within=operands[number]) for r in readers)
    elif not _all_first_operand({_UPDATE}, parameter, readers):
      moved += _size(operands[number])
  root = next((i for i in body if i.root), None)
  if root is not None and root.opcode == _UPDATE:
    update = shapes.get(root.operand_names()[1], "")
    return moved + _part(update, within=fusion.shape)
  return moved + _size(fusion.shape)


def _all_first_operand(
  opcodes: set[str], parameter: hlo.Instruction, users: list[hlo.Instruction]
) -> bool:
  """Whether a parameter is only sliced, or only updated in place."""
  return bool(users) and all(
    user.opcode in opcodes and user.operand_names()[0] == parameter.name
    for user in users
  )


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


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective operation of a program.

  Attributes:
    kind: of COLLECTIVES.
    bytes: of the whole array on one device: what an all-reduce sums, an
      all-gather makes, a reduce-scatter starts from.
    group_size: devices that take part.
    overlapped: whether the device has other work meanwhile.
    times: how often a step runs it.
  """

  kind: str
  bytes: int
  group_size: int
  overlapped: bool
  times: int


@dataclasses.dataclass(frozen=True)
class CollectiveTotal:
  """The collective operations of one kind in a step.

  Attributes:
    kind: of COLLECTIVES, 'all-reduce'.
    count: operations.
    bytes: of all of them, as in `Collective`.
    overlapped: whether the device has other work meanwhile.
  """

  kind: str
  count: int
  bytes: int
  overlapped: bool


def collective_operations(
  program: hlo.Program, num_devices: int
) -> list[Collective]:
  """Lists the collectives of several devices, in a run on `num_devices`."""
  operations = _walk(program, program.entry, 1, False, num_devices)
  return [operation for operation in operations if operation.group_size > 1]


def totals(operations: list[Collective]) -> tuple[CollectiveTotal, ...]:
  """Adds collectives up by kind, and by whether they are overlapped."""
  counts: dict[tuple[str, bool], int] = collections.Counter()
  sizes: dict[tuple[str, bool], int] = collections.Counter()
  for operation in operations:
    key = operation.kind, operation.overlapped
    counts[key] += operation.times
    sizes[key] += operation.times * operation.bytes
  return tuple(
    CollectiveTotal(kind, counts[kind, overlapped], size, overlapped)
    for (kind, overlapped), size in sorted(sizes.items())
  )


def _walk(
  program: hlo.Program,
  name: str,
  times: int,
  overlapped: bool,
  num_devices: int,
) -> Iterator[Collective]:
  """The collectives of a computation and of those that it calls."""
  instructions = program.computations.get(name, [])
  for position, instruction in enumerate(instructions):
    kind = instruction.opcode.removesuffix("-start")
    hidden = overlapped or _is_overlapped(instructions, position)
    if kind in COLLECTIVES:
      group = _group_size(instruction.attributes, num_devices)
      size = _collective_bytes(instruction, kind, group)
      yield Collective(kind, size, group, hidden, times)
    else:
      for called, trips in program.called(instruction):
        yield from _walk(program, called, times * trips, hidden, num_devices)


def _is_overlapped(instructions: list[hlo.Instruction], start: int) -> bool:
  """Whether an instruction is a start with work before its done."""
  first = instructions[start]
  if "-start" not in first.opcode and "-start" not in first.name:
    return False
  busy = False
  for later in instructions[start + 1 :]:
    done = "-done" in later.opcode or "-done" in later.name
    if done and first.name in later.operand_names():
      return busy
    asynchronous = done or "-start" in later.name
    busy = busy or (later.opcode in _BUSY and not asynchronous)
  return False


def _group_size(attributes: str, num_devices: int) -> int:
  listed = _GROUPS.search(attributes)
  if listed:
    return listed[1].count(",") + 1
  axes = _MESH_GROUPS.search(attributes)
  if axes:
    lengths = dict(_AXIS.findall(axes[1]))
    names = re.findall(r"'([^']+)'", axes[2])
    return math.prod(int(lengths[name]) for name in names)
  iota = _IOTA_GROUPS.search(attributes)
  return int(iota[1]) if iota else num_devices


def _collective_bytes(
  instruction: hlo.Instruction, kind: str, group: int
) -> int:
  """See `Collective.bytes`."""
  sizes = [array.bytes for array in hlo.arrays(instruction.shape)]
  starts = ("all-gather-start", "collective-permute-start")
  # GPUs write an all-reduce that starts as ((operands), results), too.
  if instruction.opcode in starts or instruction.shape.startswith("(("):
    # Operands, results, and of a permutation two scalars of its state.
    scalars = re.findall(r"[su]32\[\]", instruction.shape)
    sizes = sizes[: len(sizes) - len(scalars)]
    sizes = sizes[len(sizes) // 2 :]
  return sum(sizes) * (group if kind == "reduce-scatter" else 1)
