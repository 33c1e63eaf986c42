"""Parameters, mult-adds and activations, from shapes alone."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from mn_jax.models import layers
from mn_jax.ops import padding as padding_lib


@dataclasses.dataclass(frozen=True)
class Layer:
  """One layer of a network, for one image.

  Attributes:
    path: its name, 'backbone/block3/depthwise/conv'.
    kind: 'conv 1x1', 'conv 1x7' (height, width), 'depthwise 3x3', 'dense' or
      'norm'.
    input, output: their shapes without the batch.
    kernel: weights of its kernel; 0 for a norm.
    params: its trainable parameters.
    stats: its running means and variances.
    macs: mult-adds; those of norms fold into the convolutions before them and
      count as 0, as in the papers.
    window: kernel height and width in pixels; (1, 1) but for convolutions.
    stride: of a convolution, in both directions.
    padding: of a convolution, in pixels; see `ops.padding`.
  """

  path: str
  kind: str
  input: tuple[int, ...]
  output: tuple[int, ...]
  kernel: int = 0
  params: int = 0
  stats: int = 0
  macs: int = 0
  window: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: padding_lib.Padding = ((0, 0), (0, 0))

  @property
  def outputs(self) -> int:
    """Number of values in the output."""
    return math.prod(self.output)


def count_params(variables: dict) -> tuple[int, int]:
  """Trainable parameters, and values of running means and variances.

  Keras and the sources add the two; the weight of the running averages is no
  parameter and not counted.

  Args:
    variables: 'params' and 'batch_stats' of arrays or their shapes.
  """
  params = sum(x.size for x in jax.tree.leaves(variables["params"]))
  stats = flax.traverse_util.flatten_dict(variables["batch_stats"])
  return params, sum(x.size for p, x in stats.items() if p[-1] != "weight")


def list_layers(module: nn.Module, resolution: int) -> list[Layer]:
  """All layers with parameters, in the order of their calls.

  A kernel is applied once per output pixel, so a layer's mult-adds are its
  kernel's size times its output's height and width.

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
      if isinstance(layer, layers.Conv | layers.DepthwiseConv):
        window = layers.as_pair(layer.window)
        fields |= {"window": window, "stride": layer.stride}
        fields["padding"] = padding_lib.resolve(
          layer.padding, shape[1:3], window, layer.stride
        )
      calls[layer.path] = fields
    return output

  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  with nn.intercept_methods(record):
    shapes = jax.eval_shape(
      lambda x: module.init(jax.random.key(0), x, False), image
    )
  params = flax.traverse_util.flatten_dict(shapes["params"])
  stats = flax.traverse_util.flatten_dict(shapes.get("batch_stats", {}))
  listed = []
  for path, fields in calls.items():
    kernel = params.get((*path, "kernel"))
    size = 0 if kernel is None else kernel.size
    listed.append(
      Layer(
        path="/".join(path),
        kernel=size,
        params=sum(x.size for p, x in params.items() if p[:-1] == path),
        stats=sum(
          x.size
          for p, x in stats.items()
          if p[:-1] == path and p[-1] != "weight"
        ),
        macs=size * math.prod(fields["output"][:-1]),
        **fields,
      )
    )
  return listed


def count_macs(module: nn.Module, resolution: int) -> int:
  """Mult-adds of one image's forward pass."""
  return sum(layer.macs for layer in list_layers(module, resolution))


def image_flops(macs: int, *, backward: bool) -> int:
  """FLOPs that a step spends on one image; a mult-add is two.

  Args:
    macs: mult-adds of its forward pass.
    backward: whether a backward pass follows, which costs two forward passes.
      Inference has none, and a frozen backbone neither.
  """
  return 2 * macs * (3 if backward else 1)


def _kind(module: nn.Module) -> str | None:
  """The kind of a layer that has parameters of its own; None for others."""
  if isinstance(module, layers.Conv):
    height, width = layers.as_pair(module.window)
    return f"conv {height}x{width}"
  if isinstance(module, layers.DepthwiseConv):
    return f"depthwise {module.window}x{module.window}"
  if isinstance(module, layers.Dense):
    return "dense"
  norms = (layers.BatchNorm, layers.FoldedNorm)
  return "norm" if isinstance(module, norms) else None
