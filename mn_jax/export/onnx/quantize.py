"""Full 8-bit quantization of an ONNX model by onnxruntime's quantizer.

Weights are symmetric per output channel, activations have a scale and a zero
per tensor: `QuantizeLinear` and `DequantizeLinear` around the layers, which
runtimes fuse.
"""

import contextlib
import io
import logging
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Share of an activation's values, in percent, that its range has. A few values
# are far outside of all others, and cost those their precision.
_PERCENTILE = 99.99
# Layers at the input that stay in float32: they have few products and the
# largest errors, because no channel makes up for another.
_FLOAT_LAYERS = 2
# Images whose activations are in memory at the same time, at most.
_IMAGES = 8
_ERRORS, _WARNINGS = 3, 2  # of onnxruntime's levels of severity
# Activations that do not depend on all of their input, and how many ends that
# has beyond which they do not.
_GATES = {"HardSigmoid": 2, "HardSwish": 1}


class _Reader:
  """Calibration images one by one, as onnxruntime asks for them."""

  def __init__(self, name: str, count: int, read: Callable[[int], np.ndarray]):
    self._name, self._count, self._read = name, count, read
    self.set_range(0, count)

  def __len__(self) -> int:
    return self._count

  def set_range(self, start_index: int, end_index: int) -> None:
    self._next, self._end = start_index, end_index

  def get_next(self) -> dict[str, np.ndarray] | None:
    if self._next == self._end:
      return None
    self._next += 1
    return {self._name: self._read(self._next - 1)}


def quantized(model: Any, count: int, read: Callable[[int], np.ndarray]) -> Any:
  """Quantizes a model's weights and activations to 8 bits.

  Args:
    model: `onnx.ModelProto` of one input, which is changed.
    count: number of calibration images.
    read: maps the number of one to the model's input.

  Returns:
    An `onnx.ModelProto` with the same input and outputs.
  """
  from onnx import helper

  _bound(model)
  # Shapes are known and nothing is left to be folded: no warning that asks
  # for it.
  helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
  with tempfile.TemporaryDirectory(prefix="mn_jax_") as folder, _quiet():
    return _run(model, pathlib.Path(folder), count, read)


def _run(
  model: Any,
  folder: pathlib.Path,
  count: int,
  read: Callable[[int], np.ndarray],
) -> Any:
  import onnx
  from onnxruntime import quantization

  before, after = folder / "float32.onnx", folder / "int8.onnx"
  onnx.save(model, before)
  quantization.quantize_static(
    before,
    after,
    _Reader(model.graph.input[0].name, count, read),
    quant_format=quantization.QuantFormat.QDQ,
    per_channel=True,
    activation_type=quantization.QuantType.QUInt8,
    weight_type=quantization.QuantType.QInt8,
    nodes_to_exclude=_first_layers(model),
    calibrate_method=quantization.CalibrationMethod.Percentile,
    extra_options={
      "CalibPercentile": _PERCENTILE,
      "CalibStridedMinMax": max(
        n for n in range(1, _IMAGES + 1) if count % n == 0
      ),
      # Logits of 8 bits would be equal too often.
      "OpTypesToExcludeOutputQuantization": ["Gemm"],
    },
  )
  return onnx.load(after)


def _bound(model: Any) -> None:
  """Limits the inputs of hard sigmoids and hard swishes.

  Which changes no result, but leaves out of the range of the input what makes
  no difference. The quantizer removes the limits again, as the range implies
  them.
  """
  from onnx import helper, numpy_helper

  graph, nodes = model.graph, []
  for node in graph.node:
    if node.op_type in _GATES:
      found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
      alpha, beta = found.get("alpha", 1 / 6), found.get("beta", 0.5)
      # A swish still grows where its gate is 1 already.
      ends = (-beta / alpha, (1 - beta) / alpha)[: _GATES[node.op_type]]
      bounded = f"{node.name}/bounded"
      names = [f"{bounded}/{i}" for i in range(len(ends))]
      graph.initializer.extend(
        numpy_helper.from_array(np.asarray(end, np.float32), name)
        for end, name in zip(ends, names, strict=True)
      )
      nodes.append(
        helper.make_node("Clip", [node.input[0], *names], [bounded], bounded)
      )
      node.input[0] = bounded
    nodes.append(node)
  copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
  del graph.node[:]
  graph.node.extend(copies)


def _first_layers(model: Any) -> list[str]:
  """Names of the nodes before the layer after the first ones."""
  names, layers = [], 0
  for node in model.graph.node:
    layers += node.op_type in ("Conv", "Gemm")
    if layers > _FLOAT_LAYERS:
      break
    names.append(node.name)
  return names


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps what the quantizer prints and logs to itself."""
  import onnxruntime

  root = logging.getLogger()
  handlers, disabled = list(root.handlers), logging.root.manager.disable
  logging.disable(logging.WARNING)
  onnxruntime.set_default_logger_severity(_ERRORS)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    onnxruntime.set_default_logger_severity(_WARNINGS)
    logging.disable(disabled)
    root.handlers[:] = handlers  # it adds one where there is none
