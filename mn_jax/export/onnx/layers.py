"""Layers of a traced network as nodes: convolutions, pooling, shapes.

Maps are NHWC in JAX and NCHW here; nothing is transposed but constants. What is
not known is an error that names the operation.
"""

import dataclasses
import math

import numpy as np

from mn_jax.errors import InputError
from mn_jax.export.onnx import equations
from mn_jax.export.onnx.equations import Constant, Equation
from mn_jax.export.onnx.nodes import Node, Weight

_NHWC = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # as JAX writes NHWC, HWIO
_SPATIAL = (1, 2)
# What ONNX has not: it becomes an average by the division that follows.
SUM_POOL = "SumPool"


def make(e: Equation, op: str, *inputs, **attributes) -> Node:
  """Returns the node of an equation."""
  return Node(op, inputs, attributes, e.output.shape, e.scope)


def flat(node: Node, scope: str) -> Node:
  """Returns a flattened map; its order is that of ONNX, channels outermost."""
  shape = (math.prod(node.shape),)
  return Node("Flatten", (node,), {"axis": 1}, shape, scope)


def is_permuted(node: Node) -> bool:
  """Whether a flattened map has another order than JAX's."""
  if node.op != "Flatten":
    return False
  height, width, channels = node.inputs[0].shape
  return height * width > 1 and channels > 1


def unknown(e: Equation) -> InputError:
  """Returns the error of an equation that is not known."""
  shapes = " and ".join(str(tuple(x.shape)) for x in e.inputs)
  what = f"the operation {e.primitive!r} of {shapes}"
  return equations.unsupported(what, e.scope)


def conv(e: Equation, x: Node, kernel: Node | Constant) -> Node:
  """A convolution, of all channels or in groups."""
  p, strides = e.params, tuple(e.params["window_strides"])
  is_plain = (
    isinstance(kernel, Constant)
    and _is_map(x)
    and tuple(p["dimension_numbers"]) == _NHWC
    and p["lhs_dilation"] == (1, 1)
    and p["batch_group_count"] == 1
    and min(n for pair in p["padding"] for n in pair) >= 0
  )
  if not is_plain:
    raise unknown(e)
  window, pads = kernel.shape[:2], _pads(p["padding"])
  steps = _picked(x)
  if steps and window == (1, 1) and not any(pads):
    # A 1x1 convolution of every other pixel is one with a stride.
    strides = tuple(int(a * b) for a, b in zip(strides, steps, strict=True))
    x = x.inputs[0]
  array = kernel.array.transpose(3, 2, 0, 1)
  name = kernel.name or f"{e.scope}/kernel"
  return make(
    e,
    "Conv",
    x,
    Weight(array, name, is_kernel=True),
    kernel_shape=window,
    strides=strides,
    pads=pads,
    dilations=tuple(p["rhs_dilation"]),
    group=p["feature_group_count"],
  )


def dense(e: Equation, x: Node, kernel: Node | Constant) -> Node:
  """A dense layer, of features or of a flattened map."""
  is_plain = (
    isinstance(kernel, Constant)
    and kernel.array.ndim == 2
    and isinstance(x, Node)
    and len(x.shape) == 1
    and e.params["dimension_numbers"] == (((1,), (0,)), ((), ()))
  )
  if not is_plain:
    raise unknown(e)
  array = kernel.array
  if is_permuted(x):
    # JAX flattens a map with the channels innermost, ONNX outermost.
    height, width, channels = x.inputs[0].shape
    array = array.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
  array = array.reshape(kernel.shape).T
  name = kernel.name or f"{e.scope}/kernel"
  return make(e, "Gemm", x, Weight(array, name, is_kernel=True), transB=1)


def total(e: Equation, x: Node) -> Node:
  """The sum of a map's pixels."""
  if not _is_map(x) or tuple(e.params["axes"]) != _SPATIAL:
    raise unknown(e)
  inputs = (x, Weight(np.array([2, 3])))
  shape = (1, 1, x.shape[-1])
  return flat(
    Node("ReduceSum", inputs, {"keepdims": 1}, shape, e.scope), e.scope
  )


def pool(e: Equation, x: Node) -> Node:
  """The largest value or the sum of every window of a map."""
  p = e.params
  is_plain = (
    _is_map(x)
    and {*p["base_dilation"], *p["window_dilation"]} == {1}
    and {p[k][i] for k in _WINDOW for i in (0, 3)} == {1}
    and {p["padding"][i] for i in (0, 3)} == {(0, 0)}
  )
  if not is_plain:
    raise unknown(e)
  window, strides = (tuple(p[k][1:3]) for k in _WINDOW)
  return make(
    e,
    "MaxPool" if e.primitive == "reduce_window_max" else SUM_POOL,
    x,
    kernel_shape=window,
    strides=strides,
    pads=_pads(p["padding"][1:3]),
  )


_WINDOW = ("window_dimensions", "window_strides")


def mean_of_windows(e: Equation, pool: Node, divisor: np.ndarray) -> Node:
  """Sums over windows, divided by all their pixels or by those of the map."""
  a = pool.attributes
  if (divisor == math.prod(a["kernel_shape"])).all():
    counted = 1
  else:
    inside = []
    for i, size in enumerate(pool.inputs[0].shape[:2]):
      start = np.arange(pool.shape[i]) * a["strides"][i] - a["pads"][i]
      end = np.minimum(start + a["kernel_shape"][i], size)
      inside.append(end - np.maximum(start, 0))
    expected = np.outer(*inside)[None, :, :, None]
    if divisor.shape != expected.shape or (divisor != expected).any():
      raise unknown(e)
    counted = 0
  attributes = {**a, "count_include_pad": counted}
  return dataclasses.replace(pool, op="AveragePool", attributes=attributes)


def concatenate(e: Equation, *inputs: Node | Constant) -> Node:
  """Maps side by side along their channels, or features."""
  known = all(isinstance(x, Node) and not is_permuted(x) for x in inputs)
  if not known or e.params["dimension"] != len(e.output.shape):
    raise unknown(e)
  return make(e, "Concat", *inputs, axis=1)


def reshape(e: Equation, x: Node) -> Node:
  """A reshape that flattens a map, or makes a map of features."""
  before, after = x.shape, e.output.shape
  if before == after:
    return x
  if _is_map(x) and after == (math.prod(before),):
    return flat(x, e.scope)
  if len(before) == 1 and after == (1, 1, *before):
    if x.op == "Flatten" and x.inputs[0].shape == after:
      return x.inputs[0]
    if not is_permuted(x):
      return make(e, "Reshape", x, Weight(np.array([0, 0, 1, 1])))
  raise unknown(e)


def sliced(e: Equation, x: Node) -> Node:
  """A part of a map, or every other pixel of it."""
  if not _is_map(x):
    raise unknown(e)
  p = e.params
  starts, ends = p["start_indices"][1:], p["limit_indices"][1:]
  arrays = (starts, ends, (2, 3, 1), (p["strides"] or (1,) * 4)[1:])
  return make(e, "Slice", x, *(Weight(np.array(a, np.int64)) for a in arrays))


def _is_map(x: Node | Constant) -> bool:
  return isinstance(x, Node) and len(x.shape) == 3


def _pads(padding: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
  """ONNX has the starts of all axes, then the ends."""
  (top, bottom), (left, right) = padding
  return top, left, bottom, right


def _picked(node: Node) -> tuple[int, int] | None:
  """Steps of a slice that only leaves pixels out, beginning with the first."""
  if node.op != "Slice":
    return None
  x, starts, ends, _, steps = node.inputs
  whole = not starts.array.any() and tuple(ends.array) == x.shape
  return tuple(steps.array[:2]) if whole and steps.array[2] == 1 else None
