"""What a network needs of a file of weights, layer by layer."""

import dataclasses
import math

import flax.traverse_util

from mn_jax.models import counting, variables
from mn_jax.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Unit:
  """A layer with weights.

  Attributes:
    path: of the layer, 'backbone/block3/expand/conv'.
    kind: 'conv', 'depthwise', 'dense' or 'norm'.
    shapes: of its tensors by name: kernel, bias, scale, mean, var.
    flattens: height and width of the map that a dense layer gets flattened;
      1 for all others.
  """

  path: str
  kind: str
  shapes: dict[str, tuple[int, ...]]
  flattens: int = 1


def list_units(module: Classifier, resolution: int) -> list[Unit]:
  """The layers with weights, in the order of their calls.

  Args:
    module: the network.
    resolution: input height and width in pixels, for heads that flatten.
  """
  tree = flax.traverse_util.flatten_dict(variables.shapes(module, resolution))
  shapes: dict[str, dict[str, tuple[int, ...]]] = {}
  for (_, *path, name), leaf in tree.items():
    shapes.setdefault("/".join(path), {})[name] = leaf.shape
  units = [
    Unit(
      path=layer.path,
      kind=layer.kind.split()[0],
      # The weight of a running average is this project's own.
      shapes={k: v for k, v in shapes[layer.path].items() if k != "weight"},
    )
    for layer in counting.list_layers(module, resolution)
  ]
  if not module.head.spec.pool:
    first = next(i for i, u in enumerate(units) if u.path.startswith("head/"))
    channels = units[first - 1].shapes["kernel"][-1]
    pixels = units[first].shapes["kernel"][0] // channels
    units[first] = dataclasses.replace(
      units[first], flattens=math.isqrt(pixels)
    )
  return units
