"""The layers of a network: parameters, mult-adds and outputs, from shapes."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from mn_jax.models import layers
from mn_jax.ops import padding as padding_lib

_STATISTICS = ("mean", "var")


@dataclasses.dataclass(frozen=True)
class Layer:
  """One layer of a network, for one image.

  Attributes:
    path: its name, 'backbone/block3/depthwise/conv'.
    kind: 'conv 1x1', 'conv 1x7' (height, width), 'depthwise 3x3', 'dense' or
      'norm'.
    input, output: their shapes without the batch.
    shapes: of its tensors by name: 'kernel', 'bias', 'scale', and the running
      statistics 'mean' and 'var'.
    window: kernel height and width in pixels; (1, 1) but for convolutions.
    stride: of a convolution, in both directions.
    padding: of a convolution, in pixels; see `ops.padding`.
  """

  path: str
  kind: str
  input: tuple[int, ...]
  output: tuple[int, ...]
  shapes: Mapping[str, tuple[int, ...]]
  window: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: padding_lib.Padding = ((0, 0), (0, 0))

  @property
  def kernel(self) -> int:
    """Number of weights of the kernel; 0 for a norm."""
    return math.prod(self.shapes["kernel"]) if "kernel" in self.shapes else 0

  @property
  def params(self) -> int:
    """Number of trainable parameters."""
    return sum(
      math.prod(shape)
      for name, shape in self.shapes.items()
      if name not in _STATISTICS
    )

  @property
  def stats(self) -> int:
    """Number of running means and variances."""
    return sum(
      math.prod(self.shapes[name]) for name in _STATISTICS & self.shapes.keys()
    )

  @property
  def macs(self) -> int:
    """Mult-adds: the kernel is applied once per output pixel.

    Those of norms count as 0, as in the papers: they fold into the convolutions
    before them.
    """
    return self.kernel * math.prod(self.output[:-1])

  @property
  def outputs(self) -> int:
    """Number of values in the output."""
    return math.prod(self.output)


def count_params(variables: dict) -> tuple[int, int]:
  """Counts trainable parameters, and running means and variances.

  Keras and the papers' authors add the two. The weight of the running averages
  is not counted: it is this package's own.

  Args:
    variables: 'params' and 'batch_stats' of arrays or their shapes.
  """
  params = sum(x.size for x in jax.tree.leaves(variables["params"]))
  stats = flax.traverse_util.flatten_dict(variables["batch_stats"])
  return params, sum(x.size for p, x in stats.items() if p[-1] in _STATISTICS)


def list_layers(module: nn.Module, resolution: int) -> list[Layer]:
  """Lists all layers with parameters, in the order of their calls.

  Args:
    module: a network of this package.
    resolution: input height and width in pixels.
  """
  calls: dict[tuple[str, ...], dict[str, Any]] = {}

  def record(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
    output = call(*args, **kwargs)
    layer = context.module
    kind = _kind(layer)
    if kind is not None and context.method_name == "__call__":
      shape = args[0].shape
      fields = {"kind": kind, "input": shape[1:], "output": output.shape[1:]}
      if isinstance(layer, layers.Conv):
        window = layers.as_pair(layer.window)
        fields |= {"window": window, "stride": layer.stride}
        fields["padding"] = padding_lib.resolve(
          layer.padding, shape[1:3], window, layer.stride
        )
      calls[layer.path] = fields
    return output

  # One trace gives the parameters and how each layer is called.
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  with nn.intercept_methods(record):
    variables = jax.eval_shape(
      lambda x: module.init(jax.random.key(0), x, False), image
    )
  shapes: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}
  for collection in ("params", "batch_stats"):
    tensors = flax.traverse_util.flatten_dict(variables.get(collection, {}))
    for (*path, name), tensor in tensors.items():
      if collection == "params" or name in _STATISTICS:
        shapes.setdefault(tuple(path), {})[name] = tensor.shape
  return [
    Layer(path="/".join(path), shapes=shapes[path], **fields)
    for path, fields in calls.items()
  ]


def count_macs(module: nn.Module, resolution: int) -> int:
  """Counts the mult-adds of one image's forward pass."""
  return sum(layer.macs for layer in list_layers(module, resolution))


def image_flops(macs: int, *, backward: bool) -> int:
  """Returns the FLOPs that a step spends on one image; a mult-add is two.

  Args:
    macs: mult-adds of its forward pass.
    backward: whether a backward pass follows, which costs two forward passes.
      Inference has none, and a frozen backbone neither.
  """
  return 2 * macs * (3 if backward else 1)


def _kind(module: nn.Module) -> str | None:
  """Returns the kind of a layer with parameters of its own; None for others."""
  if isinstance(module, layers.Conv):
    height, width = layers.as_pair(module.window)
    name = "depthwise" if module.features is None else "conv"
    return f"{name} {height}x{width}"
  if isinstance(module, layers.Dense):
    return "dense"
  norms = (layers.BatchNorm, layers.FoldedNorm)
  return "norm" if isinstance(module, norms) else None
