"""The layers of a network: parameters, mult-adds and outputs, from shapes."""

import dataclasses
import math
from collections.abc import Mapping

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from mn_jax.models import layers

_STATISTICS = ("mean", "var")


@dataclasses.dataclass(frozen=True)
class Layer:
  """One layer of a network, for one image.

  Attributes:
    path: its name, 'backbone/block3/depthwise/conv'.
    kind: 'conv 1x1', 'conv 1x7' (height, width), 'depthwise 3x3', 'dense' or
      'norm'.
    output: shape of its output without the batch.
    shapes: of its tensors by name: 'kernel', 'bias', 'scale', and the running
      statistics 'mean' and 'var'.
  """

  path: str
  kind: str
  output: tuple[int, ...]
  shapes: Mapping[str, tuple[int, ...]]

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
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  kinds: dict[tuple[str, ...], str] = {}

  def is_layer(child: nn.Module, _: str) -> bool:
    kind = _kind(child)
    if kind is not None:
      kinds[child.path] = kind
    return kind is not None

  # One trace gives the parameters and what each layer returns.
  traced = jax.eval_shape(
    lambda x: module.init(
      jax.random.key(0), x, False, capture_intermediates=is_layer, mutable=True
    ),
    image,
  )
  outputs = flax.traverse_util.flatten_dict(traced["intermediates"])
  shapes: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}
  for collection in ("params", "batch_stats"):
    tensors = flax.traverse_util.flatten_dict(traced.get(collection, {}))
    for (*path, name), tensor in tensors.items():
      if collection == "params" or name in _STATISTICS:
        shapes.setdefault(tuple(path), {})[name] = tensor.shape
  return [
    Layer(
      path="/".join(path),
      kind=kind,
      output=outputs[(*path, "__call__")][0].shape[1:],
      shapes=shapes[path],
    )
    for path, kind in kinds.items()
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
  if isinstance(module, layers.Conv | layers.DepthwiseConv):
    height, width = layers.as_pair(module.window)
    name = "conv" if isinstance(module, layers.Conv) else "depthwise"
    return f"{name} {height}x{width}"
  if isinstance(module, layers.Dense):
    return "dense"
  norms = (layers.BatchNorm, layers.FoldedNorm)
  return "norm" if isinstance(module, norms) else None
