"""Nodes of an ONNX graph that are still to be named and written."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
  """A constant of the graph.

  Attributes:
    array: f32, as ONNX has it: kernels [out, in, h, w] or [out, in], maps NCHW.
    name: path of the parameter that it comes from, or ''.
    is_kernel: whether it is one, and may be stored in fewer bits.
  """

  array: np.ndarray
  name: str = ""
  is_kernel: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
  """An operation of the graph.

  Attributes:
    op: its name in ONNX.
    inputs: what it reads, as ONNX orders it; None for what is left out.
    attributes: its other settings.
    shape: of its result for each image as JAX has it: (h, w, c) or (c,).
    scope: path of the module that it is of.
  """

  op: str
  inputs: tuple["Node | Weight | None", ...]
  attributes: dict[str, Any]
  shape: tuple[int, ...]
  scope: str


@dataclasses.dataclass(frozen=True)
class Nodes:
  """The graph of a network.

  Attributes:
    input: stands for the normalised images, f32[batch, 3, h, w].
    output: computes f32[batch, classes].
    order: nodes that the output needs, in the order of their computation.
  """

  input: Node
  output: Node
  order: tuple[Node, ...]


def reachable(output: Node) -> tuple[Node, ...]:
  """All nodes that a node needs, each after those that it reads itself."""
  order: dict[Node, None] = {}
  waiting = [output]
  while waiting:
    node = waiting[-1]
    missing = [x for x in node.inputs if isinstance(x, Node) and x not in order]
    if missing:
      waiting.extend(reversed(missing))
      continue
    waiting.pop()
    order[node] = None
  return tuple(node for node in order if node.op != "Input")
