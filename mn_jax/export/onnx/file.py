"""A network as an ONNX file, written without another exporter.

The graph is made from the traced network: maps are NCHW, BatchNorm is folded,
and pixels are resized, cropped and normalised inside. onnxruntime runs it.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import mn_jax
from mn_jax.errors import InputError, in_one_line
from mn_jax.export import packages, session
from mn_jax.export.onnx import equations, inputs, lowering, quantize
from mn_jax.export.onnx.graph import Graph
from mn_jax.export.onnx.nodes import Nodes
from mn_jax.export.options import OUTPUTS, Options
from mn_jax.export.source import Source

INPUT = "images"
_METADATA = "mn_jax"
_ERRORS = 3  # of onnxruntime's levels of severity: no warnings


def export(
  source: Source,
  options: Options,
  *,
  description: str,
  calibration: np.ndarray | None = None,
) -> bytes:
  """Writes a network as an ONNX model.

  Args:
    source: the folded network.
    options: precision, batch, input and size.
    description: JSON text, for the model's metadata.
    calibration: u8[n, image_size, image_size, 3], training images; for
      int8_full only.

  Returns:
    The bytes of the file.

  Raises:
    InputError: without the packages onnx and onnxruntime, for options that do
      not go together, or a network that cannot be written.
  """
  check_packages()
  from onnx import TensorProto, helper

  resolution = source.resolution
  nodes = lowering.lower(
    equations.trace(
      lambda variables, x: source.module.apply(variables, x, False)[0],
      source.variables,
      (resolution, resolution, 3),
    )
  )
  batch = options.batch or "batch"
  graph = Graph(options.precision)
  if options.input == "pixels":
    x = inputs.pixels(graph, INPUT, source, options.size)
    dtype, size = TensorProto.UINT8, options.size or ("height", "width")
  else:
    x = inputs.normalised(graph, INPUT)
    dtype, size = TensorProto.FLOAT, (resolution, resolution)
  probabilities, logits = OUTPUTS
  if options.precision == "int8_full":
    graph.extend(_quantized(source, nodes, x, calibration, within=graph))
  else:
    graph.network(nodes, x, logits)
  if source.trained.multi_label:
    graph.add("Sigmoid", [logits], "Sigmoid", output=probabilities)
  else:
    graph.add("Softmax", [logits], "Softmax", output=probabilities, axis=1)
  model = graph.model(
    source.trained.network.name,
    helper.make_tensor_value_info(INPUT, dtype, [batch, *size, 3]),
    [
      helper.make_tensor_value_info(
        name, TensorProto.FLOAT, [batch, nodes.output.shape[0]]
      )
      for name in OUTPUTS
    ],
  )
  model.producer_name = "mn_jax"
  model.producer_version = mn_jax.__version__
  network = source.trained.network
  model.doc_string = (
    f"{network.name}, width {network.width:g}, of {network.num_classes} classes"
  )
  helper.set_model_props(model, {_METADATA: description})
  return model.SerializeToString()


def _quantized(
  source: Source,
  nodes: Nodes,
  name: str,
  calibration: np.ndarray,
  *,
  within: Graph,
) -> Any:
  """The network alone, in 8 bits.

  Args:
    source: of the normalisation.
    nodes: of the network.
    name: of its input, f32[batch, 3, r, r].
    calibration: u8[n, image_size, image_size, 3].
    within: the graph that it is for.

  Returns:
    An `onnx.ModelProto` from the input to the logits.
  """
  from onnx import TensorProto, helper

  _, logits = OUTPUTS
  graph = Graph(within=within)
  graph.network(nodes, name, logits)
  shape = ["batch", 3, source.resolution, source.resolution]
  info = helper.make_tensor_value_info
  model = graph.model(
    "network",
    info(name, TensorProto.FLOAT, shape),
    [info(logits, TensorProto.FLOAT, ["batch", nodes.output.shape[0]])],
  )
  normalise = jax.jit(source.normalise)

  def read(i: int) -> np.ndarray:
    return np.asarray(normalise(calibration[i : i + 1])).transpose(0, 3, 1, 2)

  return quantize.quantized(model, len(calibration), read)


def open_bytes(data: bytes, *, threads: int = 1) -> session.Session:
  """Opens an ONNX model with onnxruntime, on the CPU.

  Args:
    data: of a file that `export` wrote.
    threads: that a call may use, at least 1.

  Raises:
    InputError: without the packages onnx and onnxruntime, or for data that are
      not such a file.
  """
  check_packages()
  import onnxruntime

  model = _parsed(data)
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads
  options.inter_op_num_threads = 1
  options.log_severity_level = _ERRORS
  try:
    opened = onnxruntime.InferenceSession(
      data, options, providers=["CPUExecutionProvider"]
    )
  except Exception as error:  # of its own, which share no other base
    raise _foreign(in_one_line(error)) from None
  batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value

  def run(images: np.ndarray) -> session.Outputs:
    return session.Outputs(*opened.run(list(OUTPUTS), {INPUT: images}))

  found = {entry.key: entry.value for entry in model.metadata_props}
  return session.Session(run, batch or None, found.get(_METADATA, ""))


def check_packages() -> None:
  """Refuses an environment without what `export` needs.

  Raises:
    InputError: naming the package.
  """
  packages.require("onnx", "onnxruntime")


def _foreign(what: str) -> InputError:
  return InputError(
    f"file: got {what}; valid: an ONNX file that mn-jax export wrote"
  )


def _parsed(data: bytes) -> Any:
  """Parses a model and checks that it is one of ours; returns a `ModelProto`.

  onnxruntime would look for external data wherever the model says.
  """
  import onnx

  try:
    model = onnx.ModelProto.FromString(data)
  except Exception:  # of the protocol buffers, whose errors are not public
    raise _foreign("data that are not of ONNX, or truncated") from None
  if any(_is_external(tensor) for tensor in _messages(model, onnx.TensorProto)):
    raise _foreign("a model with data in other files")
  takes = tuple(x.name for x in model.graph.input)
  gives = tuple(x.name for x in model.graph.output)
  if (takes, gives) != ((INPUT,), OUTPUTS):
    raise _foreign(
      f"a model from {list(takes)[:3]} to {list(gives)[:3]}"
      if takes or gives
      else "data that are not of ONNX"
    )
  axes = len(model.graph.input[0].type.tensor_type.shape.dim)
  if axes != 4:
    raise _foreign(f"a model whose input has {axes} axes")
  return model


def _is_external(tensor: Any) -> bool:
  return bool(tensor.data_location or tensor.external_data)


def _messages(message: Any, kind: type) -> Iterator[Any]:
  """Yields all messages of a type that are in another, at any depth."""
  waiting = [message]
  while waiting:
    message = waiting.pop()
    if isinstance(message, kind):
      yield message
    for field, value in message.ListFields():
      if field.message_type is None:
        continue
      waiting.extend(value if field.is_repeated else [value])
