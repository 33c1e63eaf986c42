"""Writes files in the layout of Keras Applications, with random values."""

import pathlib
from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from mn_jax.weights import keras_layout
from mn_jax.weights.listing import published_layers

NORM = {
  "scale": "gamma",
  "bias": "beta",
  "mean": "moving_mean",
  "var": "moving_variance",
}

Layers = Sequence[tuple[str, Mapping[str, np.ndarray]]]


def tensors(network, seed=0):
  """{'backbone/stem/conv/kernel': f32[...]}, fit for a deep network."""
  draw = np.random.default_rng(seed)
  made = {}
  for layer in published_layers(network):
    for name, shape in layer.shapes.items():
      if name == "kernel":
        fan_in = np.prod(shape[:-1])
        value = draw.normal(size=shape) * np.sqrt(2 / fan_in)
      elif name in ("scale", "var"):
        value = draw.uniform(0.5, 1.5, shape)
      else:
        value = draw.uniform(-0.2, 0.2, shape)
      made[f"{layer.path}/{name}"] = value.astype(np.float32)
  return made


def keras_layers(network, values, *, prefix="layer", skip_head=False):
  """[(name of no release, {'kernel': ...})], in Keras's order of layers."""
  ordered = keras_layout.in_keras_order(network.name, published_layers(network))
  made = []
  for i, layer in enumerate(ordered):
    if skip_head and layer.path.startswith("head/"):
      continue
    weights = {}
    for key in layer.shapes:
      value = values[f"{layer.path}/{key}"]
      if layer.kind == "norm":
        weights[NORM[key]] = value
      elif layer.kind.startswith("depthwise") and key == "kernel":
        weights["depthwise_kernel"] = value.transpose(0, 1, 3, 2)
      else:
        weights[key] = value
    made.append((f"{prefix}_{i}", weights))
  return made


def write_layers(path: pathlib.Path, layers: Layers, *, root="") -> str:
  """Writes layers as Keras does, in a group if `root` is its name.

  The first one, of the input, has no weights; its list of them is empty.
  """
  with h5py.File(path, "w") as file:
    whole = file.require_group(root) if root else file
    for name, weights in [("input", {}), *layers]:
      group = whole.create_group(name)
      for key, value in weights.items():
        group.create_dataset(f"{name}/{key}:0", data=value)
      group.attrs["weight_names"] = [f"{name}/{k}:0".encode() for k in weights]
    whole.attrs["layer_names"] = [b"input", *(n.encode() for n, _ in layers)]
  return str(path)


def write(path, network, values, *, prefix="layer", skip_head=False):
  """Writes a network's values; returns the path as text."""
  layers = keras_layers(network, values, prefix=prefix, skip_head=skip_head)
  return write_layers(path, layers)
