"""Networks by name, for tests: built and traced in one way.

A network is traced in a tenth of a second to two seconds and compiled in many.
So shapes are kept for as long as the process lives: they are shared, and must
not be changed.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.models import counting, registry, variables
from mn_jax.models.classifier import Classifier
from mn_jax.ops import padding

_OPTIONS = {field.name for field in dataclasses.fields(registry.Options)}
_CONVENTIONS = {
  field.name for field in dataclasses.fields(registry.Conventions)
}


@functools.cache
def build(
  name: str, classes: int = 3, width: float = 1.0, head: str = "own", **fields
) -> Classifier:
  """Builds a network.

  Args:
    name: of the network in the registry.
    classes: number of logits.
    width: width multiplier.
    head: name of the head.
    **fields: of `registry.Options` and `registry.Conventions`, and arguments
      of `registry.build`.
  """
  options, conventions, arguments = {}, {}, {}
  for key, value in fields.items():
    if key in _OPTIONS:
      options[key] = value
    elif key in _CONVENTIONS:
      conventions[key] = value
    else:
      arguments[key] = value
  network = registry.describe(
    name,
    num_classes=classes,
    width=width,
    head=head,
    options=registry.Options(**options),
    conventions=dataclasses.replace(
      registry.get(name).conventions, **conventions
    ),
  )
  return registry.build(network, **arguments)


def size(name: str, pixels: int) -> int:
  """Returns `pixels`, or the network's smallest input where that is larger."""
  return max(pixels, registry.get(name).min_resolution)


@functools.cache
def layers(module: Classifier, resolution: int) -> Sequence[counting.Layer]:
  """Returns `counting.list_layers` of a network."""
  return tuple(counting.list_layers(module, resolution))


def count(rows: Sequence[counting.Layer], part: str = "") -> tuple[int, int]:
  """Returns parameters and statistics of the layers below a path."""
  rows = [row for row in rows if row.path.startswith(part)]
  return sum(row.params for row in rows), sum(row.stats for row in rows)


def macs(rows: Sequence[counting.Layer]) -> int:
  """Returns the mult-adds of all layers."""
  return sum(row.macs for row in rows)


@functools.cache
def maps(module: Classifier, resolution: int) -> Mapping[str, tuple[int, ...]]:
  """Returns the shapes of one image's named feature maps, in their order."""
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  names = []

  def run(x):
    (_, features), _ = module.init_with_output(jax.random.key(0), x, False)
    names.extend(features)
    # A dictionary would come back in alphabetical order.
    return tuple(features.values())

  shapes = jax.eval_shape(run, image)
  return {
    name: shape.shape[1:] for name, shape in zip(names, shapes, strict=True)
  }


@functools.cache
def parameters(module: Classifier, resolution: int) -> Mapping[str, dict]:
  """Returns the shapes of the backbone's parameters, nested by name."""
  return variables.shapes(module, resolution)["params"]["backbone"]


def images(*shape: int) -> np.ndarray:
  """Returns f32[*shape], normally distributed and always the same."""
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def record_padding(monkeypatch) -> list[tuple[str, tuple[int, int], int]]:
  """Returns the list of (rule, window, stride) that further calls pad by."""
  resolve, calls = padding.resolve, []

  def record(rule, size, window, stride):
    calls.append((rule, window, stride))
    return resolve(rule, size, window, stride)

  monkeypatch.setattr(padding, "resolve", record)
  return calls
