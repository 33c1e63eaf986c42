"""Parameters, mult-adds and activations, from shapes alone."""

import dataclasses

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.models import layers


@dataclasses.dataclass(frozen=True)
class Layer:
  """One layer of a network, for one image.

  Attributes:
    path: its name, 'backbone/block3/depthwise/conv'.
    kind: 'conv 1x1', 'conv 1x7' (height, width), 'depthwise 3x3', 'dense' or
      'norm'.
    output: shape of its output without the batch.
    kernel: weights of its kernel; 0 for a norm.
    params: its trainable parameters.
    stats: its running means and variances.
    macs: mult-adds; those of norms fold into the convolutions before them and
      count as 0, as in the papers.
  """

  path: str
  kind: str
  output: tuple[int, ...]
  kernel: int
  params: int
  stats: int
  macs: int

  @property
  def outputs(self) -> int:
    """Number of values in the output."""
    return int(np.prod(self.output))


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
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  kinds: dict[tuple[str, ...], str] = {}

  def keep(child: nn.Module, _: str) -> bool:
    kind = _kind(child)
    if kind is not None:
      kinds[child.path] = kind
    return kind is not None

  # One trace gives the parameters and what each layer returns.
  shapes = jax.eval_shape(
    lambda x: module.init(
      jax.random.key(0), x, False, capture_intermediates=keep, mutable=True
    ),
    image,
  )
  outputs = flax.traverse_util.flatten_dict(shapes["intermediates"])
  params = flax.traverse_util.flatten_dict(shapes["params"])
  stats = flax.traverse_util.flatten_dict(shapes.get("batch_stats", {}))
  found = []
  for path, kind in kinds.items():
    (output,) = outputs[(*path, "__call__")]
    kernel = params.get((*path, "kernel"))
    size = 0 if kernel is None else kernel.size
    found.append(
      Layer(
        path="/".join(path),
        kind=kind,
        output=output.shape[1:],
        kernel=size,
        params=sum(x.size for p, x in params.items() if p[:-1] == path),
        stats=sum(
          x.size
          for p, x in stats.items()
          if p[:-1] == path and p[-1] != "weight"
        ),
        macs=size * int(np.prod(output.shape[1:-1])),
      )
    )
  return found


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
