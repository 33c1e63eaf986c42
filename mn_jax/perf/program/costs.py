"""Costs of a compiled program from its HLO text: bytes, cycles, collectives.

XLA's own count of bytes, 'bytes accessed', does not suit TPUs: it includes
arrays that never leave the chip, and counts a whole array for every iteration
of a loop that takes a slice of it. `traffic` counts what moves.

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
from collections.abc import Callable, Collection, Iterator

from mn_jax.perf.program import hlo, traffic
from mn_jax.perf.program.traffic import COLLECTIVES, CONTROL_FLOW

_ESTIMATE = re.compile(r'"estimated_cycles":"(\d+)"')

# What keeps a chip busy between a start and a done.
_BUSY = CONTROL_FLOW | {
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


def cycles(program: hlo.Program) -> int:
  """Cycles that the TPU compiler expects of one run; 0 for other compilers."""
  return _sum(program, program.entry, _estimated_cycles, CONTROL_FLOW)


def memory_traffic(program: hlo.Program) -> int:
  """Bytes that one run moves to and from the chip's main memory."""
  asynchronous = {*CONTROL_FLOW, "async-start"}
  return _sum(program, program.entry, _bytes_moved, asynchronous)


def _sum(
  program: hlo.Program,
  name: str,
  cost_of: Callable[[hlo.Program, hlo.Instruction, traffic.Shapes], int],
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
  program: hlo.Program, instruction: hlo.Instruction, shapes: traffic.Shapes
) -> int:
  del program, shapes
  return estimated_cycles(instruction)


def estimated_cycles(instruction: hlo.Instruction) -> int:
  """Cycles that the TPU compiler expects of an instruction, or 0."""
  estimate = _ESTIMATE.search(instruction.attributes)
  return int(estimate[1]) if estimate else 0


def _bytes_moved(
  program: hlo.Program, instruction: hlo.Instruction, shapes: traffic.Shapes
) -> int:
  return traffic.of_instruction(program, instruction, shapes).total


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective operation of a program.

  Attributes:
    kind: of `traffic.COLLECTIVES`.
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
    kind: of `traffic.COLLECTIVES`, 'all-reduce'.
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
