"""The collective operations of a compiled program, read from its HLO text.

The text of a compiled program is scheduled: its lines are in the order of
execution. So an operation that is split into a start and a done is overlapped
if there is work between the two. Operations in a loop count once per turn.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

from mn_jax.perf.scaling.planning import hlo

KINDS = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "collective-permute",
  "all-to-all",
)

# What keeps a chip busy between a start and a done.
_WORK = {
  "call",
  "conditional",
  "convolution",
  "custom-call",
  "dot",
  "fusion",
  "reduce",
  "reduce-window",
  "scatter",
  "select-and-scatter",
  "sort",
  "while",
}

_GROUPS = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_MESH_GROUPS = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_AXIS = re.compile(r"'([^']+)'=(\d+)")


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective operation of a program.

  Attributes:
    kind: of KINDS.
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
class Total:
  """The collectives of one kind in a step.

  Attributes:
    kind: of KINDS.
    count: operations.
    bytes: of all of them, as in `Collective`.
    overlapped: whether the device has other work meanwhile.
  """

  kind: str
  count: int
  bytes: int
  overlapped: bool


def read(program: hlo.Program, num_devices: int) -> list[Collective]:
  """The collectives of a program that work on more than one device.

  Args:
    program: compiled.
    num_devices: that run it.
  """
  found = _walk(program, program.entry, 1, False, num_devices)
  return [each for each in found if each.group_size > 1]


def totals(found: list[Collective]) -> tuple[Total, ...]:
  """Added up by kind, and by whether they are overlapped."""
  sums: dict[tuple[str, bool], list[int]] = collections.defaultdict(
    lambda: [0, 0]
  )
  for each in found:
    total = sums[each.kind, each.overlapped]
    total[0] += each.times
    total[1] += each.times * each.bytes
  return tuple(
    Total(kind, count, size, overlapped)
    for (kind, overlapped), (count, size) in sorted(sums.items())
  )


def _walk(
  program: hlo.Program,
  name: str,
  times: int,
  overlapped: bool,
  num_devices: int,
) -> Iterator[Collective]:
  """What a computation and those that it calls contain."""
  instructions = program.computations.get(name, [])
  for position, each in enumerate(instructions):
    kind = each.opcode.removesuffix("-start")
    hidden = overlapped or _is_overlapped(instructions, position)
    if kind in KINDS:
      group = _group_size(each.attributes, num_devices)
      yield Collective(kind, _bytes(each, kind, group), group, hidden, times)
      continue
    for called, turns in program.called(each):
      yield from _walk(program, called, times * turns, hidden, num_devices)


def _is_overlapped(instructions: list[hlo.Instruction], start: int) -> bool:
  """Whether an instruction is a start with work before its done."""
  begun = instructions[start]
  if "-start" not in begun.opcode and "-start" not in begun.name:
    return False
  busy = False
  for each in instructions[start + 1 :]:
    ends = "-done" in each.opcode or "-done" in each.name
    if ends and begun.name in each.operand_names():
      return busy
    asynchronous = ends or "-start" in each.name
    busy = busy or (each.opcode in _WORK and not asynchronous)
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


def _bytes(instruction: hlo.Instruction, kind: str, group: int) -> int:
  """See `Collective.bytes`."""
  sizes = [array.bytes for array in hlo.arrays(instruction.shape)]
  if instruction.opcode in ("all-gather-start", "collective-permute-start"):
    # Operands, results, and of a permutation two scalars of its state.
    scalars = re.findall(r"[su]32\[\]", instruction.shape)
    sizes = sizes[: len(sizes) - len(scalars)]
    sizes = sizes[len(sizes) // 2 :]
  return sum(sizes) * (group if kind == "reduce-scatter" else 1)
