"""Writes files in the layout of Keras Applications, with random values."""

import h5py
import numpy as np

from mn_jax.models import registry
from mn_jax.weights import keras_order, units

NORM = {
  "scale": "gamma",
  "bias": "beta",
  "mean": "moving_mean",
  "var": "moving_variance",
}


def tensors(network, seed=0):
  """{'backbone/stem/conv/kernel': f32[...]}, fit for a deep network."""
  draw = np.random.default_rng(seed)
  made = {}
  listed = units.list_units(
    registry.build(network), network.conventions.resolution
  )
  for unit in listed:
    for name, shape in unit.shapes.items():
      if name == "kernel":
        fan_in = np.prod(shape[:-1])
        value = draw.normal(size=shape) * np.sqrt(2 / fan_in)
      elif name in ("scale", "var"):
        value = draw.uniform(0.5, 1.5, shape)
      else:
        value = draw.uniform(-0.2, 0.2, shape)
      made[f"{unit.path}/{name}"] = value.astype(np.float32)
  return made


def write(path, network, values, *, prefix="layer", skip_head=False):
  """Writes values in Keras's order of layers, under names of no release."""
  listed = units.list_units(
    registry.build(network), network.conventions.resolution
  )
  ordered = keras_order.in_keras_order(network.name, listed)
  names = []
  with h5py.File(path, "w") as file:
    for i, unit in enumerate(ordered):
      if skip_head and unit.path.startswith("head/"):
        continue
      name = f"{prefix}_{i}"
      names.append(name.encode())
      group = file.create_group(name)
      weights = []
      for key in unit.shapes:
        value = values[f"{unit.path}/{key}"]
        if unit.kind == "norm":
          theirs = NORM[key]
        elif unit.kind == "depthwise":
          theirs, value = "depthwise_kernel", value.transpose(0, 1, 3, 2)
        else:
          theirs = key
        group.create_dataset(f"{name}/{theirs}:0", data=value)
        weights.append(f"{name}/{theirs}:0".encode())
      group.attrs["weight_names"] = weights
    file.attrs["layer_names"] = names
  return str(path)
