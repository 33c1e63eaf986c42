"""Other precisions of LiteRT files, by ai-edge-quantizer.

- float16: kernels are stored in float16. Products are in float32.
- int8_weights: kernels are stored as 8-bit integers with a scale per output
  channel, depthwise ones in float16: they are a hundredth of the weights, and
  most of what is lost in 8 bits (`store_kernels`). Products are in float32. The
  runtime could also quantise activations as they come ("dynamic range"), but
  has no fast depthwise convolution for that: MobileNetV2 took 13 x as long.
- int8_full: activations are 8-bit integers too, with a range each that
  calibration images gave. Pixels go in as they are; resizing before the network
  and the softmax or sigmoid behind it stay in float32, so that probabilities
  are not rounded to 1/256.
"""

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator

import numpy as np

from mn_jax.errors import InputError, RunError, in_one_line
from mn_jax.export.litert import convert, flatbuffer, quiet
from mn_jax.export.options import OUTPUTS

# What is traced in this scope stays in float32. The converter names most
# operations by their scope, and some by what they were.
FLOAT_SCOPE = "resized_in_float"
_FLOAT = f"{FLOAT_SCOPE}|^gather|^round"

_ALL = ".*"

# The range of an activation has this width at least. Of one that calibration
# only sees as 0 the steps would be so fine that runtimes refuse them.
_NARROWEST = np.float32(0.01)

# Of what 32 bits hold an eighth, as steps may become a little finer.
_LARGEST_BIAS = 2**28


def store_kernels(data: bytes, precision: str) -> bytes:
  """Returns a LiteRT file whose kernels are stored in fewer bits.

  With all kernels in 8 bits MobileNetV3-Small changed 7.5 % of its answers to
  334 photographs, with depthwise ones in float16 2.4 %, in a file as large.

  Args:
    data: the file, in float32.
    precision: 'float16' or 'int8_weights'.

  Raises:
    InputError: for weights that float16 cannot hold.
    RunError: if the quantizer fails.
  """
  from ai_edge_quantizer import algorithm_manager, qtyping

  algorithms = algorithm_manager.AlgorithmName
  names = qtyping.TFLOperationName
  bits, algorithm = {
    "float16": (16, algorithms.FLOAT_CASTING),
    "int8_weights": (8, algorithms.MIN_MAX_UNIFORM_QUANT),
  }[precision]
  with _quiet():
    quantizer = _quantizer(data)
    quantizer.add_weight_only_config(
      _ALL, names.ALL_SUPPORTED, bits, algorithm_key=algorithm
    )
    if precision == "int8_weights":
      quantizer.add_weight_only_config(
        _ALL,
        names.DEPTHWISE_CONV_2D,
        16,
        algorithm_key=algorithms.FLOAT_CASTING,
      )
    content = _quantized(quantizer)
  _check_halves(content, precision)
  return content


def _check_halves(data: bytes, precision: str) -> None:
  """Refuses a file with kernels that overflowed in float16."""
  from ai_edge_litert import schema_py_generated as schema

  model = flatbuffer.read(data)
  (graph,) = model.subgraphs
  for tensor in graph.tensors:
    stored = model.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.FLOAT16 or stored is None:
      continue
    if np.isinf(np.asarray(stored).view(np.float16)).any():
      raise InputError(
        f"precision: got {precision}, in which {tensor.name.decode()[-60:]} "
        "overflows, as float16 ends at 65504; valid: float32"
      )


def quantize(data: bytes, batches: Iterable[np.ndarray]) -> bytes:
  """Returns a LiteRT file whose kernels and activations are 8-bit integers.

  Args:
    data: the file, in float32.
    batches: what it is calibrated with, as it takes them.

  Raises:
    RunError: if the quantizer fails.
  """
  with _quiet():
    ranges = _ranges(data, batches)
    quantizer = _integers_of(_with_room_for_biases(data, ranges))
    content = _quantized(quantizer, ranges)
  return _finished(content)


def _integers_of(data: bytes):
  from ai_edge_quantizer import qtyping

  quantizer = _quantizer(data)
  quantizer.add_static_config(
    _ALL,
    qtyping.TFLOperationName.ALL_SUPPORTED,
    activation_num_bits=8,
    weight_num_bits=8,
  )
  for name in ("INPUT", "OUTPUT", "SOFTMAX", "LOGISTIC"):
    _keep_float(quantizer, _ALL, name)
  _keep_float(quantizer, _FLOAT, "ALL_SUPPORTED")
  return quantizer


def _quantizer(data: bytes):
  from ai_edge_quantizer import quantizer

  # Bytes would be a path.
  return quantizer.Quantizer(bytearray(data))


def _keep_float(quantizer, scope: str, name: str) -> None:
  from ai_edge_quantizer import algorithm_manager, qtyping

  quantizer.update_quantization_recipe(
    scope,
    qtyping.TFLOperationName[name],
    algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
  )


def _quantized(quantizer, ranges: dict | None = None) -> bytes:
  try:
    result = quantizer.quantize(
      ranges, enable_progress_bar=False, enable_progress_report=False
    )
  except (RuntimeError, ValueError) as error:
    raise RunError(
      f"ai-edge-quantizer failed: {in_one_line(error)}; please report the "
      "network and the options"
    ) from error
  return bytes(result.quantized_model)


def _ranges(data: bytes, batches: Iterable[np.ndarray]) -> dict:
  """Returns the range of each activation: the extremes of all batches.

  Means of the extremes of single images cut off the logits that decide:
  MobileNetV1 lost 3.3 points of accuracy on 334 photographs, and 1.5 with
  these.
  """
  from ai_edge_quantizer import calibrator, recipe_manager
  from ai_edge_quantizer.utils import qsv_utils

  manager = recipe_manager.RecipeManager()
  manager.load_quantization_recipe(_integers_of(data).get_quantization_recipe())
  inputs = [{convert.INPUT: batch} for batch in batches]
  with quiet.quiet():  # the calibrator opens the file when it is made
    calibration = calibrator.Calibrator(
      data, qsv_update_func=qsv_utils.min_max_update
    )
    calibration.calibrate({convert.SIGNATURE: inputs}, manager)
  ranges = calibration.get_model_qsvs()
  pixels = _pixels(data)
  for name, extremes in ranges.items():
    if not extremes:
      continue
    low, high = extremes["min"], extremes["max"]
    if name in pixels:  # they have all values, whatever the images
      low, high = np.zeros_like(low), np.full_like(high, 255)
    ranges[name] = {"min": low, "max": np.maximum(high, low + _NARROWEST)}
  return ranges


def _with_room_for_biases(data: bytes, ranges: dict) -> bytes:
  """Returns a file whose biases have room in 32 bits.

  A bias is an integer in steps of the input's times the kernel's. The kernel of
  a dead channel, as most trained networks have some, is almost 0, its steps so
  fine that the bias does not fit, and is cut off without a word: MobileNetV3's
  gates of squeeze and excitation were all wrong. Such a kernel gets one weight
  that is large enough for its bias, and changes the output by less than a
  thousandth of it.
  """
  from ai_edge_litert import schema_py_generated as schema

  model = flatbuffer.read(data)
  (graph,) = model.subgraphs
  operators = schema.BuiltinOperator
  channel_axis = {
    operators.CONV_2D: 0,
    operators.DEPTHWISE_CONV_2D: 3,
    operators.FULLY_CONNECTED: 0,
  }
  for op in graph.operators:
    axis = channel_axis.get(flatbuffer.operation(model, op))
    if axis is None:
      continue
    image, kernel, bias = (graph.tensors[i] for i in op.inputs)
    extremes = ranges[image.name.decode()]
    step = (float(extremes["max"].max()) - float(extremes["min"].min())) / 255
    biases = _values(model, bias)
    weights = _values(model, kernel).reshape(kernel.shape).copy()
    rows = np.moveaxis(weights, axis, 0)  # a view
    needed = 127 * np.abs(biases) / (step * _LARGEST_BIAS)
    largest = np.abs(rows).reshape(len(rows), -1).max(axis=1)
    first = (slice(None), *(0,) * (rows.ndim - 1))
    rows[first] = np.where(largest < needed, needed, rows[first])
    model.buffers[kernel.buffer].data = weights.reshape(-1).view(np.uint8)
  return flatbuffer.write(model)


def _values(model, tensor) -> np.ndarray:
  return np.asarray(model.buffers[tensor.buffer].data).view(np.float32)


def _pixels(data: bytes) -> list[str]:
  """Returns the names of the tensors that are pixels as float32."""
  model = flatbuffer.read(data)
  (graph,) = model.subgraphs
  return [
    graph.tensors[op.outputs[0]].name.decode()
    for op in graph.operators
    if _is_of_pixels(model, op)
  ]


def _is_of_pixels(model, op) -> bool:
  """Whether an operation makes float32 of pixels."""
  from ai_edge_litert import schema_py_generated as schema

  (graph,) = model.subgraphs
  source = graph.tensors[op.inputs[0]].type
  is_cast = flatbuffer.operation(model, op) == schema.BuiltinOperator.CAST
  return is_cast and source == schema.TensorType.UINT8


def _finished(data: bytes) -> bytes:
  """Quantises pixels directly, and names the outputs that there now are."""
  from ai_edge_litert import schema_py_generated as schema

  model = flatbuffer.read(data)
  (graph,), (signature,) = model.subgraphs, model.signatureDefs
  limits = np.iinfo(np.int32)
  for tensor in graph.tensors:
    steps_of = tensor.quantization and tensor.quantization.scale
    if tensor.type == schema.TensorType.INT32 and steps_of is not None:
      steps = np.asarray(model.buffers[tensor.buffer].data).view(np.int32)
      if np.isin(steps, (limits.min, limits.max)).any():
        raise RunError(
          f"ai-edge-quantizer cut off a bias ({tensor.name.decode()[-60:]}); "
          "please report the network and the options"
        )
  # The quantizer leaves the name 'logits' with the integers of which the
  # output is made, where they have another consumer.
  by_name = {output.name: output for output in signature.outputs}
  for name, index in zip(OUTPUTS, graph.outputs, strict=True):
    by_name[name.encode()].tensorIndex = index
  # It has no integers of another type as the input of QUANTIZE, and so makes
  # them of pixels as float32.
  for cast in [op for op in graph.operators if _is_of_pixels(model, op)]:
    users = [op for op in graph.operators if cast.outputs[0] in op.inputs]
    codes = {flatbuffer.operation(model, op) for op in users}
    if codes != {schema.BuiltinOperator.QUANTIZE}:
      continue
    pixels = graph.tensors[cast.inputs[0]]
    pixels.quantization = schema.QuantizationParametersT()
    pixels.quantization.scale, pixels.quantization.zeroPoint = [1.0], [0]
    for op in users:
      op.inputs = [cast.inputs[0]]
    graph.operators.remove(cast)
  return flatbuffer.write(model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps progress bars from the console, and a warning about debugging."""
  with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
    warnings.simplefilter("ignore")
    yield
