"""What is in a LiteRT file: its operations and its tensors."""

import collections


def model(content: bytes):
  """Returns a file's flatbuffer as an object."""
  from ai_edge_litert.tools import flatbuffer_utils

  return flatbuffer_utils.read_model_from_bytearray(content)


def operators(content: bytes) -> collections.Counter:
  """Returns how often a file has each operation, by LiteRT's names."""
  read = model(content)
  (graph,) = read.subgraphs
  return collections.Counter(_name(read, op) for op in graph.operators)


def _name(read, op) -> str:
  from ai_edge_litert import schema_py_generated as schema
  from ai_edge_litert.tools import flatbuffer_utils

  code = flatbuffer_utils.get_builtin_code_from_operator_code(
    read.operatorCodes[op.opcodeIndex]
  )
  names = {v: k for k, v in vars(schema.BuiltinOperator).items()}
  return names[code]
