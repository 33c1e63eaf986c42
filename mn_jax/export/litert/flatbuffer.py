"""LiteRT flatbuffers: their description, their digest, and a free batch.

The description and a SHA-256 digest of the file are entries of its metadata.
The runtime verifies offsets only: of single flipped bits in a file's tables,
half went unnoticed, and one in two thousand asked for all memory.
"""

import hashlib

import numpy as np

from mn_jax.errors import InputError, in_one_line

# Names of the entries.
_DESCRIPTION, _DIGEST = "mn_jax", "mn_jax_sha256"

# Bytes 4 to 8 of every LiteRT file.
_IDENTIFIER = b"TFL3"

# The digest is of the file with zeros in its place.
_BLANK = bytes(hashlib.sha256().digest_size)


def read(data: bytes):
  """Returns a LiteRT file as an object, whose parts may be changed."""
  from ai_edge_litert.tools import flatbuffer_utils

  model = flatbuffer_utils.read_model_from_bytearray(data)
  for buffer in model.buffers:
    # What lies behind the tables comes as bytes, which would be written one by
    # one: 10 s for MobileNetV1.
    if isinstance(buffer.data, bytes | bytearray | memoryview):
      buffer.data = np.frombuffer(buffer.data, np.uint8)
  return model


def write(model) -> bytes:
  """Returns the LiteRT file of an object from `read`."""
  from ai_edge_litert.tools import flatbuffer_utils

  return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operation(model, op) -> int:
  """Returns which of `schema.BuiltinOperator` an operator of a file is."""
  from ai_edge_litert.tools import flatbuffer_utils

  return flatbuffer_utils.get_builtin_code_from_operator_code(
    model.operatorCodes[op.opcodeIndex]
  )


def finish(data: bytes, description: str, *, any_batch: bool) -> bytes:
  """Puts a description and a digest into a LiteRT file.

  Args:
    data: the file.
    description: JSON.
    any_batch: whether the first axis of its tensors is freed: of inputs,
      activations, outputs, and of what they are reshaped to.
  """
  from ai_edge_litert import schema_py_generated as schema

  model = read(data)
  if any_batch:
    _free_batch(model)
  # Found again by its value, which nothing else in the file has.
  mark = hashlib.sha256(data).digest()
  entries = {_DESCRIPTION: description.encode(), _DIGEST: mark}
  model.metadata = list(model.metadata or [])
  for name, value in entries.items():
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(value, np.uint8)
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)
  finished = bytearray(write(model))
  place = finished.index(mark)
  finished[place : place + len(mark)] = _digest(finished, place)
  return bytes(finished)


def description(data: bytes) -> str:
  """Returns the description of a LiteRT file, once its digest is verified.

  Raises:
    InputError: for something else than a LiteRT file, one that is not from
      here, or one that is damaged.
  """
  if len(data) < 8 or data[4:8] != _IDENTIFIER:
    raise InputError(
      "LiteRT file: got something else, without the identifier TFL3; valid: a "
      ".tflite file"
    )
  try:
    found = _metadata(data)
    place = data.rindex(found[_DIGEST]) if _DIGEST in found else None
    text = found.get(_DESCRIPTION, b"").decode()
  except Exception as error:  # offsets may point anywhere
    raise InputError(
      f"LiteRT file: got a damaged one ({in_one_line(error)}); valid: a file "
      "that mn-jax export wrote"
    ) from None
  if place is None:
    raise InputError(
      "LiteRT file: got one without a description of this package; valid: a "
      "file that mn-jax export wrote"
    )
  if _digest(data, place) != found[_DIGEST]:
    raise InputError(
      "LiteRT file: got one that is damaged or was changed, as its digest "
      "says; valid: a file as mn-jax export wrote it"
    )
  return text


def _digest(data: bytes | bytearray, place: int) -> bytes:
  view = memoryview(data)
  digest = hashlib.sha256(view[:place])
  digest.update(_BLANK)
  digest.update(view[place + len(_BLANK) :])
  return digest.digest()


def _metadata(data: bytes) -> dict[str, bytes]:
  from ai_edge_litert import schema_py_generated as schema

  model = schema.Model.GetRootAs(data, 0)
  entries = (model.Metadata(i) for i in range(model.MetadataLength()))
  return {
    entry.Name().decode(): model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    for entry in entries
  }


def _free_batch(model) -> None:
  """Makes the first axis of all that is computed a free one, 1 by default."""
  from ai_edge_litert import schema_py_generated as schema

  (graph,) = model.subgraphs
  computed = {*graph.inputs}
  for op in graph.operators:  # each behind those that it needs
    # A kernel may be computed too, from a stored one.
    if computed.intersection(op.inputs):
      computed.update(op.outputs)
  for index in computed:
    tensor = graph.tensors[index]
    tensor.shapeSignature = [-1, *tensor.shape[1:]]
    tensor.shape = [1, *tensor.shape[1:]]
  # Which input has the sizes of the output; -1 is all that there is.
  operators = schema.BuiltinOperator
  sizes_of = {operators.RESHAPE: 1, operators.SLICE: 2}
  for op in graph.operators:
    code = operation(model, op)
    if code in sizes_of:
      shape = model.buffers[graph.tensors[op.inputs[sizes_of[code]]].buffer]
      sizes = shape.data.view(np.int32).copy()
      sizes[0] = -1
      shape.data = sizes.view(np.uint8)
    if code == operators.RESHAPE:
      op.builtinOptions = None  # that has the shape again
    elif code == operators.STRIDED_SLICE:
      # All of the first axis, whatever the bounds are.
      op.builtinOptions.beginMask |= 1
      op.builtinOptions.endMask |= 1
