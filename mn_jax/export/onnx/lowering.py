"""The equations of a traced network as nodes of an ONNX graph.

Affine operations after a convolution are folded into it, and means and
activations that JAX spells out get their names. What is not known is an error
that names the operation, never another graph.
"""

import dataclasses
import math

import numpy as np

from mn_jax.export.onnx import equations, layers
from mn_jax.export.onnx.equations import Constant, Equation, Trace, Value
from mn_jax.export.onnx.layers import flat, is_permuted, make, unknown
from mn_jax.export.onnx.nodes import Node, Nodes, Weight, reachable

_LAYERS = {
  "broadcast_in_dim": layers.reshape,
  "concatenate": layers.concatenate,
  "conv_general_dilated": layers.conv,
  "dot_general": layers.dense,
  "expand_dims": layers.reshape,
  "reduce_sum": layers.total,
  "reduce_window_max": layers.pool,
  "reduce_window_sum": layers.pool,
  "reshape": layers.reshape,
  "slice": layers.sliced,
  "squeeze": layers.reshape,
}
# Elementwise operations of JAX, and those of ONNX that do just the same.
_ELEMENTWISE = {
  "abs": "Abs",
  "add": "Add",
  "div": "Div",
  "erf": "Erf",
  "exp": "Exp",
  "log": "Log",
  "logistic": "Sigmoid",
  "max": "Max",
  "min": "Min",
  "mul": "Mul",
  "neg": "Neg",
  "sqrt": "Sqrt",
  "sub": "Sub",
  "tanh": "Tanh",
}
_SIX = 6.0  # of the hard sigmoid relu6(x + 3) / 6


def lower(trace: Trace) -> Nodes:
  """Makes a graph of a traced network.

  Raises:
    InputError: for an operation that is not known; it is named.
  """
  start = Node("Input", (), {}, trace.input.shape, "")
  lowering = _Lowering({trace.input: start}, trace.uses())
  for equation in trace.equations:
    lowering.nodes[equation.output] = lowering.node(equation)
  output = lowering.nodes[trace.output]
  order = reachable(output)
  for node in order:
    if node.op == layers.SUM_POOL:
      raise equations.unsupported("sums over windows", node.scope)
  return Nodes(start, output, order)


@dataclasses.dataclass(frozen=True)
class _Lowering:
  """Nodes of the values so far, and how often each value is read."""

  nodes: dict[Value, Node]
  uses: dict[Value, int]

  def node(self, e: Equation) -> Node:
    """Makes the node of an equation, whose inputs have theirs."""
    inputs = [x if isinstance(x, Constant) else self.nodes[x] for x in e.inputs]
    if e.primitive in _LAYERS:
      return _LAYERS[e.primitive](e, *inputs)
    fused = None
    if e.primitive in ("add", "mul"):
      fused = self._into_layer(e)
    if fused is None and e.primitive in _FUSIONS:
      fused = _FUSIONS[e.primitive](e, *inputs)
    return fused or _elementwise(e, *inputs)

  def _into_layer(self, e: Equation) -> Node | None:
    """Folds a bias or factor of each channel into the layer before.

    None where there is no such layer, or where its result is read by others.
    """
    for x, constant in (e.inputs, e.inputs[::-1]):
      if isinstance(x, Value) and isinstance(constant, Constant):
        break
    else:
      return None
    layer = self.nodes[x]
    if layer.op not in ("Conv", "Gemm") or self.uses[x] > 1:
      return None
    values = _of_channels(constant, layer)
    # A scalar is not a bias, but the start of a hard sigmoid, say.
    is_scalar = constant.array.ndim == 0
    if values is None or (is_scalar and e.primitive == "add"):
      return None
    source, kernel, *biases = layer.inputs
    if e.primitive == "add":
      bias = Weight(values, constant.name or f"{layer.scope}/bias")
      if biases:
        bias = dataclasses.replace(biases[0], array=biases[0].array + values)
      return dataclasses.replace(layer, inputs=(source, kernel, bias))
    ones = (1,) * (kernel.array.ndim - 1)
    scaled = [
      dataclasses.replace(w, array=w.array * factor)
      for w, factor in zip(
        (kernel, *biases), (values.reshape(-1, *ones), values), strict=False
      )
    ]
    return dataclasses.replace(layer, inputs=(source, *scaled))


def _elementwise(e: Equation, *inputs: Node | Constant) -> Node:
  """An operation that ONNX has too."""
  if e.primitive not in _ELEMENTWISE:
    raise unknown(e)
  operands = (_operand(e, x) for x in inputs)
  return make(e, _ELEMENTWISE[e.primitive], *operands)


def _operand(e: Equation, x: Node | Constant) -> Node | Weight:
  """An operand of an elementwise operation: a map, features or a scalar."""
  if isinstance(x, Node):
    if len(x.shape) not in (1, 3) or is_permuted(x):
      raise unknown(e)
    return x
  array = x.array
  if array.ndim == 4:
    array = array.transpose(0, 3, 1, 2)
  elif array.ndim not in (0, 2):
    raise unknown(e)
  return Weight(np.asarray(array, np.float32), x.name)


def _gate(e: Equation, one: Node | Constant, other: Node | Constant):
  """A product; of a value and its hard sigmoid it is a hard swish."""
  for x, gate in ((one, other), (other, one)):
    if (
      isinstance(gate, Node)
      and gate.op == "HardSigmoid"
      and gate.inputs[0] is x
      and gate.attributes == {"alpha": 1 / _SIX, "beta": 0.5}
    ):
      return make(e, "HardSwish", x)
  return None


def _quotient(e: Equation, x: Node | Constant, divisor: Node | Constant):
  """A quotient; of sums by their count it is a mean."""
  if not (isinstance(x, Node) and isinstance(divisor, Constant)):
    return None
  if x.op == layers.SUM_POOL:
    return layers.mean_of_windows(e, x, divisor.array)
  if divisor.array.ndim:
    return None
  value = float(divisor.array)
  total = x.inputs[0] if x.op == "Flatten" else x
  if total.op == "ReduceSum":
    source = total.inputs[0]
    if value == math.prod(source.shape[:2]):
      mean = Node("GlobalAveragePool", (source,), {}, total.shape, e.scope)
      return mean if total is x else flat(mean, e.scope)
  if x.op == "Clip" and [_number(limit) for limit in x.inputs[1:]] == [
    0,
    value,
  ]:
    shifted = x.inputs[0]
    offset = _number(shifted.inputs[1]) if shifted.op == "Add" else None
    if offset is not None:
      alpha, beta = 1 / value, offset / value
      return make(e, "HardSigmoid", shifted.inputs[0], alpha=alpha, beta=beta)
  return None


def _limited(e: Equation, one: Node | Constant, other: Node | Constant):
  """The larger or smaller of a value and a scalar."""
  x, limit = (one, other) if isinstance(one, Node) else (other, one)
  if isinstance(limit, Node) or limit.array.ndim:
    return None
  x, limit = _operand(e, x), Weight(limit.array)
  if e.primitive == "max":
    return make(e, "Clip", x, limit, None)
  if x.op == "Clip" and x.inputs[2] is None:
    return make(e, "Clip", x.inputs[0], x.inputs[1], limit)
  return make(e, "Clip", x, None, limit)


def _power(e: Equation, x: Node) -> Node:
  exponent = np.float32(e.params.get("y", 2))  # 'square' has none
  return make(e, "Pow", _operand(e, x), Weight(np.asarray(exponent)))


_FUSIONS = {
  "div": _quotient,
  "integer_pow": _power,
  "max": _limited,
  "min": _limited,
  "mul": _gate,
  "square": _power,
}


def _number(x: Node | Weight | None) -> float | None:
  """The value of a scalar constant; None for anything else."""
  is_scalar = isinstance(x, Weight) and x.array.ndim == 0
  return float(x.array) if is_scalar else None


def _of_channels(constant: Constant, layer: Node) -> np.ndarray | None:
  """A constant as f32[channels] of a layer's output; None if it is not one."""
  channels, array = layer.shape[-1], constant.array
  if array.size == 1:
    return np.full(channels, array.reshape(()), np.float32)
  if array.size == channels == array.shape[-1]:
    return array.reshape(-1)
  return None
