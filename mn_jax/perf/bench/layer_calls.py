"""Lists the calls of a network's layers, with their shapes."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mn_jax.models import layers
from mn_jax.ops import padding as padding_lib

_KINDS = {
  layers.Conv: "conv",
  layers.DepthwiseConv: "depthwise",
  layers.Dense: "dense",
  layers.BatchNorm: "norm",
}


@dataclasses.dataclass(frozen=True)
class Call:
  """One call of a layer, for one image.

  Attributes:
    path: the layer's name, 'backbone/block3/depthwise/conv'.
    kind: 'conv', 'depthwise', 'dense' or 'norm'.
    input, output: shapes without the batch.
    window: kernel height and width in pixels; (1, 1) without a kernel.
    stride: in both directions.
    padding: in pixels, see `ops.padding`.
  """

  path: str
  kind: str
  input: tuple[int, ...]
  output: tuple[int, ...]
  window: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: padding_lib.Padding = ((0, 0), (0, 0))

  @property
  def pointwise(self) -> bool:
    """Whether it is a 1x1 convolution."""
    return self.kind == "conv" and self.window == (1, 1)


def list_calls(module: nn.Module, resolution: int) -> list[Call]:
  """Lists all calls of layers with parameters, in their order.

  Args:
    module: a network of this package, BatchNorm not folded.
    resolution: input height and width in pixels.
  """
  calls = []

  def record(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
    out = call(*args, **kwargs)
    kind = _KINDS.get(type(context.module))
    if kind is not None and context.method_name == "__call__":
      calls.append(_call(context.module, kind, args[0].shape, out.shape))
    return out

  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  with nn.intercept_methods(record):
    jax.eval_shape(lambda x: module.init(jax.random.key(0), x, False), image)
  return calls


def _call(
  layer: nn.Module,
  kind: str,
  input_shape: tuple[int, ...],
  output_shape: tuple[int, ...],
) -> Call:
  call = Call(
    path="/".join(layer.path),
    kind=kind,
    input=input_shape[1:],
    output=output_shape[1:],
  )
  if kind not in ("conv", "depthwise"):
    return call
  window = layers.as_pair(layer.window)
  return dataclasses.replace(
    call,
    window=window,
    stride=layer.stride,
    padding=padding_lib.resolve(
      layer.padding, input_shape[1:3], window, layer.stride
    ),
  )
