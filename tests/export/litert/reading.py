"""What is in a LiteRT file: its operations, and the types of their tensors."""

import collections
from typing import NamedTuple

import numpy as np

from mn_jax.export.litert import flatbuffer

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


class Operation(NamedTuple):
  """An operation with the types of its inputs and outputs, by LiteRT's names.

  Attributes:
    name: of the operation, such as 'CONV_2D'.
    inputs: types, such as 'INT8'; of a layer those of the image, the kernel
      and the bias.
    outputs: types.
    made_of: type that the second input is dequantised from, '' for none.
  """

  name: str
  inputs: tuple[str, ...]
  outputs: tuple[str, ...]
  made_of: str


def operations(content: bytes) -> list[Operation]:
  """Lists a file's operations in their order."""
  from ai_edge_litert import schema_py_generated as schema

  names = _names(schema.BuiltinOperator)
  model = flatbuffer.read(content)
  (graph,) = model.subgraphs
  types = [_names(schema.TensorType)[x.type] for x in graph.tensors]
  kinds = [names[flatbuffer.operation(model, op)] for op in graph.operators]
  stored = {
    op.outputs[0]: types[op.inputs[0]]
    for op, kind in zip(graph.operators, kinds, strict=True)
    if kind == "DEQUANTIZE"
  }
  return [
    Operation(
      kind,
      tuple(types[i] for i in op.inputs),
      tuple(types[i] for i in op.outputs),
      stored.get(op.inputs[1], "") if len(op.inputs) > 1 else "",
    )
    for op, kind in zip(graph.operators, kinds, strict=True)
  ]


def operators(content: bytes) -> collections.Counter:
  """Returns how often a file has each operation."""
  return collections.Counter(op.name for op in operations(content))


def types(content: bytes, name: str) -> list[Operation]:
  """Lists a file's operations of a name."""
  return [op for op in operations(content) if op.name == name]


def layers(content: bytes) -> list[Operation]:
  """Lists the operations that have a kernel."""
  return [op for op in operations(content) if op.name in _LAYERS]


def kernel_types(content: bytes) -> dict[str, set[str]]:
  """Returns the types in which the kernels of each operation are stored."""
  found = collections.defaultdict(set)
  for op in layers(content):
    found[op.name].add(op.made_of or op.inputs[1])
  return dict(found)


def _names(values: type) -> dict[int, str]:
  return {v: k for k, v in vars(values).items() if isinstance(v, int)}


def biases(content: bytes) -> list[np.ndarray]:
  """Returns the bias of each layer of an 8-bit file, as real numbers."""
  model = flatbuffer.read(content)
  (graph,) = model.subgraphs
  found = []
  for op, described in zip(graph.operators, operations(content), strict=True):
    if described.name in _LAYERS:
      tensor = graph.tensors[op.inputs[2]]
      steps = np.asarray(model.buffers[tensor.buffer].data).view(np.int32)
      found.append(steps * np.asarray(tensor.quantization.scale))
  return found
