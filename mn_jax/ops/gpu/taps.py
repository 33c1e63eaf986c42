"""Which pixels and taps a convolution or its input's gradient is a sum of."""

import dataclasses

from mn_jax.ops import padding as padding_lib
from mn_jax.ops.padding import Padding


@dataclasses.dataclass(frozen=True)
class Term:
  """One tap along one axis.

  Output pixel `write * q + phase` takes input pixel `read * q + shift` times
  tap `tap`, for every q.
  """

  phase: int
  shift: int
  tap: int


@dataclasses.dataclass(frozen=True)
class Plan:
  """A sum over taps, see `Term`; rows first in each pair.

  Attributes:
    size: height and width of the input.
    out: height and width of the output.
    terms: of both axes.
    read, write: strides of the input's and the output's pixels.
  """

  size: tuple[int, int]
  out: tuple[int, int]
  terms: tuple[tuple[Term, ...], tuple[Term, ...]]
  read: int
  write: int

  def rows(self, count: int) -> dict[int, list[tuple[int, Term]]]:
    """Where the input's rows go: row -> (q, term), for q below `count`."""
    found: dict[int, list[tuple[int, Term]]] = {}
    for q in range(count):
      for term in self.terms[0]:
        found.setdefault(self.read * q + term.shift, []).append((q, term))
    return found

  def cols(self) -> dict[int, list[Term]]:
    """The terms of the columns by their shift."""
    found: dict[int, list[Term]] = {}
    for term in self.terms[1]:
      found.setdefault(term.shift, []).append(term)
    return found


def forward(
  size: tuple[int, int], window: tuple[int, int], stride: int, padding: Padding
) -> Plan:
  """The convolution of images of a size."""
  rows, cols = (
    tuple(Term(phase=0, shift=i - before, tap=i) for i in range(k))
    for k, (before, _) in zip(window, padding, strict=True)
  )
  out = padding_lib.out_size(size, window, stride, padding)
  return Plan(size=size, out=out, terms=(rows, cols), read=stride, write=1)


def input_gradient(
  size: tuple[int, int], window: tuple[int, int], stride: int, padding: Padding
) -> Plan:
  """Its gradient: each pixel gathers from the output pixels that read it.

  Pixel stride * q + phase is read by output pixel q + shift through tap
  phase + before - stride * shift.
  """

  def of_axis(k: int, before: int) -> tuple[Term, ...]:
    return tuple(
      Term(phase=phase, shift=(phase + before - tap) // stride, tap=tap)
      for phase in range(stride)
      for tap in range((phase + before) % stride, k, stride)
    )

  rows, cols = (
    of_axis(k, before) for k, (before, _) in zip(window, padding, strict=True)
  )
  out = padding_lib.out_size(size, window, stride, padding)
  return Plan(size=out, out=size, terms=(rows, cols), read=1, write=stride)
