"""FLOPs of a compiled program's products, from its HLO text.

XLA counts none for GPUs. Here a product is whatever matrix units can compute: a
dot, a convolution, or a call of cuBLAS or cuDNN in their place, also inside of
a fusion. A multiplication and an addition are two FLOPs. Windows count whole,
also where they reach into the padding, as in `models.counting`.

A kernel of Pallas has the FLOPs that it was given: `pallas_call` takes them as
metadata={'flops': '1024'}. Elementwise arithmetic does not count, and so
neither does a convolution that is written as sums of products.
"""

import functools
import math
import re

from mn_jax.perf.program import hlo

_DIMENSIONS = re.compile(r"\(?\w+\[([\d,]*)\]")
_CONTRACTED = re.compile(
  r'"?lhs_contracting_dim(?:ension)?s"?[=:][{\[]([\d,"]*)[}\]]'
)
_LABELS = re.compile(r"dim_labels=\w+_(\w+)->")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_PALLAS = "__gpu$xla.gpu.triton"
# JSON in a string of the text, where a quotation mark is \22.
_GIVEN = re.compile(r"\\22flops\\22: \\22(\d+)\\22")

# How often a window is placed and what it holds, by who computes it: numbers of
# the operands that are the convolution's output and its kernel, None being the
# result of the call.
_CONVOLUTIONS = {
  "convolution": (None, 1),
  "__cudnn$convForward": (None, 1),
  "__cudnn$convForwardGraph": (None, 1),
  "__cudnn$convBiasActivationForward": (None, 1),
  "__cudnn$convBackwardInput": (0, 1),
  "__cudnn$convBackwardFilter": (1, None),
}
_DOTS = ("dot", "__cublas$gemm", "__cublas$lt$matmul", "__cublas$lt$matmul$f8")


def products(program: hlo.Program) -> int:
  """FLOPs of all products of one run; loops count every iteration.

  Of a conditional's branches, the most expensive counts.
  """

  @functools.cache
  def of_computation(name: str) -> int:
    instructions = program.computations.get(name, [])
    shapes = {i.name: i.shape for i in instructions}
    total = 0
    for instruction in instructions:
      flops = _product(instruction, shapes)
      if flops is not None:
        total += flops
        continue
      called = [n * of_computation(c) for c, n in program.called(instruction)]
      branches = instruction.opcode == "conditional"
      total += max(called, default=0) if branches else sum(called)
    return total

  return of_computation(program.entry)


def _product(
  instruction: hlo.Instruction, shapes: dict[str, str]
) -> int | None:
  """FLOPs of an instruction that is a product; None of others."""
  kind = instruction.opcode
  if kind == "custom-call":
    target = _TARGET.search(instruction.attributes)
    kind = target[1] if target else kind
  if kind == _PALLAS:
    given = _GIVEN.search(instruction.attributes)
    return int(given[1]) if given else 0
  if kind not in _DOTS and kind not in _CONVOLUTIONS:
    return None

  def lengths(operand: int | None) -> list[int]:
    shape = instruction.shape
    if operand is not None:
      shape = shapes[instruction.operand_names()[operand]]
    dimensions = _DIMENSIONS.match(shape)
    return [int(length) for length in dimensions[1].split(",") if length]

  if kind in _DOTS:
    left = lengths(0)
    axes = re.findall(r"\d+", _CONTRACTED.search(instruction.attributes)[1])
    return 2 * math.prod(lengths(None) + [left[int(axis)] for axis in axes])
  output, kernel = (lengths(operand) for operand in _CONVOLUTIONS[kind])
  labels = _LABELS.search(instruction.attributes)[1]
  window = [n for n, label in zip(kernel, labels, strict=True) if label != "o"]
  return 2 * math.prod(output + window)
