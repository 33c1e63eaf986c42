"""The kernels of a compiled program: what each is, moves and belongs to.

A kernel is an instruction that the device runs on its own: a launch on a GPU,
an operation of the schedule on a TPU, a task on a CPU. Those of a loop count
once per iteration; of a conditional's branches, the one that moves most counts.
The condition of a loop does not count.
"""

import dataclasses
import re
from collections.abc import Iterator

from mn_jax.perf.program import costs, hlo, places, traffic

_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_FUSION_KIND = re.compile(r"\bkind=k(\w+)")
_BACKEND_KIND = re.compile(
  r'"fusion(?:_backend)?_config":\{"kind":"(\w+\$?\w*)"'
)
_REDUCTIONS = {"reduce", "reduce-window"}
# What only moves elements, or changes their type.
_MOVES = {
  "bitcast",
  "bitcast-convert",
  "broadcast",
  "concatenate",
  "constant",
  "convert",
  "copy",
  "dynamic-slice",
  "dynamic-update-slice",
  "get-tuple-element",
  "pad",
  "parameter",
  "reshape",
  "reverse",
  "slice",
  "transpose",
  "tuple",
}
_IRREGULAR = {"gather", "scatter", "select-and-scatter", "sort"}

COPY = "copy, cast or transpose"
LOOP, REDUCE, PRODUCT = "loop fusion", "reduce fusion", "matrix product"
CONVOLUTION, OTHER = "convolution", "single operation"
# Custom calls by the beginning of their target, and fusions that a library or
# another code generator than that of loops runs.
_CALLS = {
  "__cudnn$convForward": "cuDNN forward",
  "__cudnn$convBackwardInput": "cuDNN input gradient",
  "__cudnn$convBackwardFilter": "cuDNN filter gradient",
  "__cudnn$convBiasActivationForward": "cuDNN forward",
  "__cudnn": "cuDNN, other",
  "__cublas": "cuBLAS product",
  "__onednn$matmul": "oneDNN product",
  "__onednn$convolution": "oneDNN convolution",
  "__gpu$xla.gpu.triton": "Pallas kernel",
  "triton_kernel_call": "Pallas kernel",
  "mosaic_gpu": "Pallas kernel",
  "tpu_custom_call": "Pallas kernel",
}
_GENERATED = {
  "__triton_nested_gemm_fusion": "Triton product",
  "__triton_gemm": "Triton product",
  "__triton": "Triton fusion",
  "__cudnn": "cuDNN fusion",
}


@dataclasses.dataclass(frozen=True)
class Kernel:
  """An instruction that the device runs.

  Attributes:
    name: of the instruction.
    kind: what it is: 'loop fusion', 'cuDNN forward'.
    shape: of its result.
    times: how often one run of the program runs it.
    traffic: bytes of one time.
    cycles: of one time, by the TPU compiler; 0 of others.
    place: what it belongs to.
    others: how many more layers its fused instructions come from.
  """

  name: str
  kind: str
  shape: str
  times: int
  traffic: traffic.Traffic
  cycles: int
  place: places.Place
  others: int

  @property
  def bytes(self) -> int:
    """Bytes of all times, read and written."""
    return self.times * self.traffic.total


@dataclasses.dataclass(frozen=True)
class Loop:
  """A loop of a program.

  Attributes:
    name: of the instruction.
    trips: iterations; None if the program does not say, and one is counted.
    times: how often it is entered.
  """

  name: str
  trips: int | None
  times: int


def list_kernels(program: hlo.Program) -> list[Kernel]:
  """Lists the kernels in the order of the program."""
  return list(_walk(program, places.Finder(program), program.entry, 1))


def list_loops(program: hlo.Program) -> list[Loop]:
  """Lists the loops, outer ones first."""

  def walk(name: str, times: int) -> Iterator[Loop]:
    for instruction in program.computations[name]:
      if instruction.opcode == "while":
        yield Loop(instruction.name, program.trip_count(instruction), times)
      if _runs_others(instruction):
        for called, trips in program.called(instruction):
          yield from walk(called, times * trips)

  return list(walk(program.entry, 1))


def _walk(
  program: hlo.Program, finder: places.Finder, name: str, times: int
) -> Iterator[Kernel]:
  instructions = program.computations[name]
  shapes = {i.name: i.shape for i in instructions}
  for instruction in instructions:
    if _runs_others(instruction):
      called = program.called(instruction)
      if not called:
        raise ValueError(f"{instruction.name} runs no known computation")
      branches = [
        list(_walk(program, finder, inner, times * trips))
        for inner, trips in called
      ]
      yield from max(branches, key=lambda ks: sum(k.bytes for k in ks))
    elif not traffic.is_free(instruction):
      place, others = finder.place(name, instruction)
      yield Kernel(
        name=instruction.name,
        kind=kind(program, instruction),
        shape=instruction.shape,
        times=times,
        traffic=traffic.of_instruction(program, instruction, shapes),
        cycles=costs.estimated_cycles(instruction),
        place=place,
        others=others,
      )


def _runs_others(instruction: hlo.Instruction) -> bool:
  opcode = instruction.opcode
  return opcode in traffic.CONTROL_FLOW or opcode == "async-start"


def kind(program: hlo.Program, instruction: hlo.Instruction) -> str:
  """What an instruction is, as a kind of kernel."""
  opcode = instruction.opcode.removesuffix("-start")
  if opcode in traffic.COLLECTIVES:
    return "collective"
  if opcode == "custom-call":
    target = _TARGET.search(instruction.attributes)
    name = target[1] if target else ""
    matches = [kind for start, kind in _CALLS.items() if name.startswith(start)]
    return matches[0] if matches else f"call of {name}"
  if opcode == "fusion":
    return _kind_of_fusion(program, instruction)
  return _kind_of_opcodes({opcode}) or OTHER


def _kind_of_fusion(program: hlo.Program, fusion: hlo.Instruction) -> str:
  ((name, _), *_) = program.called(fusion)
  backend = _BACKEND_KIND.search(fusion.attributes)
  generator = backend[1].partition("$")[0] if backend else ""
  if generator in _GENERATED:
    return _GENERATED[generator]
  opcodes = _opcodes(program, name)
  gpu = '"operation_queue_id"' in fusion.attributes
  emitter = _FUSION_KIND.search(fusion.attributes)
  if gpu and emitter and emitter[1] == "Loop":
    # Small reductions within a loop are no kernel of their own kind.
    opcodes -= _REDUCTIONS
  return _kind_of_opcodes(opcodes) or LOOP


def _kind_of_opcodes(opcodes: set[str]) -> str | None:
  """The kind by the most demanding of some opcodes; None if all are plain."""
  if "convolution" in opcodes:
    return CONVOLUTION
  if "dot" in opcodes:
    return PRODUCT
  if opcodes & _REDUCTIONS:
    return REDUCE
  if opcodes & _IRREGULAR:
    return "gather, scatter or sort"
  return COPY if opcodes <= _MOVES else None


def _opcodes(program: hlo.Program, name: str) -> set[str]:
  """Opcodes of a fused computation and of the fusions within it."""
  opcodes = set()
  for instruction in program.computations[name]:
    if instruction.opcode == "fusion":
      for inner, _ in program.called(instruction):
        opcodes |= _opcodes(program, inner)
    else:
      opcodes.add(instruction.opcode)
  return opcodes
