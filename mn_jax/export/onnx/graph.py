"""Graphs as ONNX models: names, initializers and their precision.

Opset 18 is the first whose Resize can antialias. Files were run by onnxruntime
1.17, 1.20 and 1.32.
"""

from typing import Any

import numpy as np

from mn_jax.errors import InputError
from mn_jax.export.onnx.nodes import Node, Nodes, Weight
from mn_jax.models import quantize

OPSET = 18
# The one of ONNX 1.13, which brought that opset.
IR_VERSION = 8
_LARGEST_HALF = float(np.finfo(np.float16).max)
# Of a protocol buffer, with room for what is not an initializer.
LARGEST_BYTES = (2 << 30) - (16 << 20)


class Graph:
  """Nodes and initializers of a model that is being written.

  Equal constants are one initializer, and names are unique.

  Attributes:
    nodes: so far, in the order of their computation.
    initializers: so far.
    shapes: of results that are known: [batch, ...] without the batch.
  """

  def __init__(
    self, precision: str = "float32", *, within: "Graph | None" = None
  ):
    """Starts without any.

    Args:
      precision: of kernels: 'float32', 'float16' or 'int8_weights'.
      within: a graph that this one is to extend, and whose names it leaves
        alone.
    """
    self.nodes: list[Any] = []
    self.initializers: list[Any] = []
    self.shapes: dict[str, tuple[int, ...]] = {}
    self._precision = precision
    self._names: set[str] = set(within._names) if within else set()
    self._constants: dict[tuple, str] = {}
    self._kernels: dict[Weight, str] = {}
    self._bytes = 0

  def add(
    self,
    op: str,
    inputs: list[str],
    name: str,
    *,
    output: str | None = None,
    **attributes,
  ) -> str:
    """Adds a node; returns the name of its result.

    Args:
      op: its name in ONNX.
      inputs: names of what it reads; '' for what is left out.
      name: of the node, to which a number is added if there is one already.
      output: name of the result; None for that of the node.
      **attributes: its other settings.
    """
    from onnx import helper

    name = self._unique(name)
    output = output or name
    while inputs and not inputs[-1]:
      inputs = inputs[:-1]
    node = helper.make_node(op, inputs, [output], name, **attributes)
    self.nodes.append(node)
    return output

  def constant(self, array: np.ndarray, name: str) -> str:
    """Adds an initializer; returns its name, or that of an equal one.

    Raises:
      InputError: for more than a file can have.
    """
    from onnx import numpy_helper

    array = np.ascontiguousarray(array)
    data = array.tobytes()
    key = (array.dtype, array.shape, data)
    if key not in self._constants:
      self._bytes += len(data)
      if self._bytes > LARGEST_BYTES:
        raise InputError(
          "export: got a network of more than 2 GiB, which no ONNX file holds; "
          "valid: a smaller head, or another format"
        )
      unique = self._unique(name)
      self.initializers.append(numpy_helper.from_array(array, unique))
      self._constants[key] = unique
    return self._constants[key]

  def network(self, nodes: Nodes, source: str, output: str) -> None:
    """Adds the nodes of a network.

    Args:
      nodes: from `lowering.lower`.
      source: name of the normalised images, f32[batch, 3, h, w].
      output: name of its result.

    Raises:
      InputError: for weights that the precision cannot hold, or more than a
        file can have.
    """
    names: dict[Node, str] = {nodes.input: source}
    for node in nodes.order:
      op, read = node.op, list(node.inputs)
      if op == "Clip" and read[2] is None and not read[1].array:
        op, read = "Relu", read[:1]
      inputs = [
        names[x] if isinstance(x, Node) else self._weight(x) for x in read
      ]
      scope = f"{node.scope}/" if node.scope else ""
      names[node] = self.add(
        op,
        inputs,
        scope + op,
        output=output if node is nodes.output else None,
        **node.attributes,
      )
      shape = node.shape
      if len(shape) == 3:
        shape = (shape[2], *shape[:2])
      self.shapes[names[node]] = shape

  def extend(self, model: Any) -> None:
    """Adds the nodes and initializers of a model made `within` this graph."""
    names = {x.name for x in (*model.graph.node, *model.graph.initializer)}
    assert not names & self._names
    self._names |= names
    self.nodes.extend(model.graph.node)
    self.initializers.extend(model.graph.initializer)

  def model(self, name: str, images: Any, outputs: list[Any]) -> Any:
    """The finished model.

    Args:
      name: of the graph.
      images: description of its input, as `helper.make_tensor_value_info`
        makes it.
      outputs: of its outputs.

    Returns:
      An `onnx.ModelProto`.
    """
    from onnx import TensorProto, helper

    batch = images.type.tensor_type.shape.dim[0]
    batch = batch.dim_value or batch.dim_param
    shown = {x.name for x in outputs}
    infos = [
      helper.make_tensor_value_info(key, TensorProto.FLOAT, [batch, *shape])
      for key, shape in self.shapes.items()
      if key not in shown
    ]
    graph = helper.make_graph(
      self.nodes,
      name,
      [images],
      outputs,
      initializer=self.initializers,
      value_info=infos,
    )
    return helper.make_model(
      graph,
      ir_version=IR_VERSION,
      opset_imports=[helper.make_opsetid("", OPSET)],
    )

  def _weight(self, weight: Weight | None) -> str:
    if weight is None:
      return ""
    array, name = weight.array, weight.name
    if not name:
      value = "_".join(f"{x:g}" for x in array.reshape(-1)[:4])
      name = f"constant_{value}"
    if not weight.is_kernel or self._precision == "float32":
      return self.constant(array, name)
    if weight not in self._kernels:
      # Depthwise kernels are few, and most of the loss of accuracy is theirs.
      is_depthwise = array.ndim == 4 and array.shape[1] == 1
      half = self._precision == "float16" or is_depthwise
      store = self._half if half else self._int8
      self._kernels[weight] = store(array, name)
    return self._kernels[weight]

  def _half(self, kernel: np.ndarray, name: str) -> str:
    from onnx import TensorProto

    largest = float(np.abs(kernel).max(initial=0))
    if largest > _LARGEST_HALF:
      raise InputError(
        f"precision: got {self._precision} for {name!r}, whose largest weight "
        f"is {largest:g}; valid: float32, as float16 ends at {_LARGEST_HALF:g}"
      )
    stored = self.constant(kernel.astype(np.float16), f"{name}/float16")
    return self.add("Cast", [stored], name, to=TensorProto.FLOAT)

  def _int8(self, kernel: np.ndarray, name: str) -> str:
    from onnx import TensorProto

    last = np.moveaxis(kernel, 0, -1)  # where output channels are in JAX
    quantized = quantize.quantize({"kernel": last})["kernel"]
    values = np.moveaxis(quantized.values, -1, 0)
    ones = (1,) * (kernel.ndim - 1)
    scale = quantized.scale.reshape(-1, *ones)
    # Not DequantizeLinear: onnxruntime keeps those until they are run, at each
    # call, which doubles MobileNetV1's time. This it computes once.
    stored = self.constant(values, f"{name}/int8")
    cast = self.add("Cast", [stored], f"{name}/Cast", to=TensorProto.FLOAT)
    return self.add("Mul", [cast, self.constant(scale, f"{name}/scale")], name)

  def _unique(self, name: str) -> str:
    unique, number = name, 1
    while unique in self._names:
      number += 1
      unique = f"{name}_{number}"
    self._names.add(unique)
    return unique
