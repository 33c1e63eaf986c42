"""Tiny networks that are exported in tests, and images for them."""

import dataclasses

import flax.traverse_util
import numpy as np

from mn_jax.deploy import trained as trained_lib
from mn_jax.deploy.trained import Trained
from mn_jax.models import registry
from mn_jax.models.spec import Conventions

SIZE = 32  # pixels


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
  """u8[h, w, 3] with edges and gradients, as photographs have them."""
  y, x = np.mgrid[:height, :width]
  waves = [np.sin(x / 3 + c) + np.cos(y / (4 + c)) for c in range(3)]
  draw = np.random.default_rng(seed)
  noise = draw.normal(0, 0.3, (height, width, 3))
  return ((np.stack(waves, -1) + noise) * 60 + 128).clip(0, 255).astype("u1")


def images(count: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
  """u8[count, h, w, 3], each another one."""
  return np.stack([smooth(height, width, seed) for seed in range(count)])


def trained(*, multi_label: bool = False, **changes) -> Trained:
  """A tiny network of three classes whose BatchNorm and biases do something.

  Args:
    multi_label: whether an image may have several of the labels.
    **changes: other fields of `Trained`.
  """
  network = registry.describe(
    "mobilenet_v1",  # of as few layers as there are
    num_classes=3,
    width=0.125,
    options=registry.Options(shallow=True, separable=False),
    conventions=Conventions(
      mean=(0.5,) * 3, std=(0.5,) * 3, resolution=SIZE, interpolation="bicubic"
    ),
  )
  made = trained_lib.initial(network, ("a", "b", "c"), seed=0)
  draw = np.random.default_rng(1)
  # What training would have changed: of the initial values BatchNorm does
  # nothing, and logits are zeros.
  flat = flax.traverse_util.flatten_dict(made.variables)
  for path, value in flat.items():
    if path[-1] in ("bias", "mean"):
      value[...] = draw.normal(0, 0.2, value.shape)
    elif path[-1] == "var":
      value[...] = draw.uniform(0.1, 0.5, value.shape)
    elif path[-2:] == ("logits", "kernel"):
      value[...] = draw.normal(size=value.shape)
  return dataclasses.replace(
    made, multi_label=multi_label, random="", **changes
  )
