"""Small networks with statistics as after training, ready to be exported."""

import dataclasses
import json
import re

import flax.traverse_util
import numpy as np
import pytest

from mn_jax.deploy import folded, trained
from mn_jax.export import source
from mn_jax.models import registry

# Of a file: JSON with a letter that ASCII has not.
DESCRIPTION = json.dumps({"classes": ["a", "ü", "c"]}, ensure_ascii=False)

# Large networks, whose tests are in the second tier.
_LARGE = (
  "mobilenet_v3_large",
  "mobilenet_v4_conv_medium",
  "inception_v3",
  "inception_resnet_v2",
  "xception",
  "resnet34",
  "resnet152",
  "vgg16",
)
NETWORKS = [
  pytest.param(name, marks=pytest.mark.extended if name in _LARGE else ())
  for name in registry.MODELS
]

# Layers at the end of a residual branch.
_LAST = re.compile("project|conv[12]/|separable[23]/pointwise")


def make(
  name: str,
  *,
  size: int = 32,
  width: float = 0.25,
  classes: int = 3,
  options: registry.Options | None = None,
  head: str = "own",
  **fields,
) -> source.Source:
  """Makes a network with random weights and statistics.

  Args:
    name: of the network in the registry.
    size: height and width of its images, in pixels; raised to what the network
      can take.
    width: width multiplier.
    classes: number of logits.
    options: variants.
    head: name of the head.
    **fields: of `trained.Trained`.
  """
  size = max(size, registry.get(name).min_resolution)
  network = registry.describe(
    name, num_classes=classes, width=width, options=options, head=head
  )
  conventions = dataclasses.replace(network.conventions, resolution=size)
  network = dataclasses.replace(network, conventions=conventions)
  names = tuple(f"class {i}" for i in range(classes))
  made = trained.initial(network, names, seed=0)
  fields = {"crop": 1.0, "random": "", **fields}
  growing = name.startswith(
    ("resnet", "xception", "mobilenet_v2", "mobilenet_v4")
  )
  growing |= network.options.minimalistic
  values = _after_training(made.variables, growing=growing)
  return source.of(dataclasses.replace(made, variables=values, **fields))


def _after_training(values: dict, *, growing: bool) -> dict:
  """Values by which logits depend on the images, as after training.

  Initial kernels and other statistics than an input's own let all that an image
  says fade within a few layers, and then a wrong backbone is not noticed.

  Args:
    values: initial ones.
    growing: whether residual branches would add up to large maps, because
      nothing limits them.
  """
  random = np.random.default_rng(0)
  flat = flax.traverse_util.flatten_dict(values, keep_empty_nodes=True)
  for path, x in flat.items():
    if path[-1] in ("scale", "var"):
      flat[path] = random.uniform(0.5, 1.5, x.shape).astype(np.float32)
    elif path[-1] in ("bias", "mean"):
      flat[path] = random.uniform(-0.1, 0.1, x.shape).astype(np.float32)
    elif path[-1] == "weight":
      flat[path] = np.float32(1)
    elif path[-1] == "kernel":
      # He et al. 2015, arXiv:1502.01852, equation 10.
      deviation = np.sqrt(2 / np.prod(x.shape[:-1]))
      if growing and _LAST.search("/".join(path)):
        deviation *= 0.4
      flat[path] = random.normal(0, deviation, x.shape).astype(np.float32)
  return flax.traverse_util.unflatten_dict(flat)


def images(
  made: source.Source, count: int, size: tuple[int, int] | None = None
) -> np.ndarray:
  """Returns u8[count, h, w, 3] with gradients, edges and noise, ever darker.

  Args:
    made: the network that they are for.
    count: number of images.
    size: height and width in pixels; None for those of the network's images.
  """
  height, width = size or (made.trained.image_size,) * 2
  random = np.random.default_rng(1)
  y, x = np.mgrid[:height, :width]
  batch = []
  for i in range(count):
    waves = [np.sin(x / (3 + i) + c) + np.cos(y / (4 + c)) for c in range(3)]
    noise = random.normal(0, 0.3, (height, width, 3))
    image = ((np.stack(waves, -1) + noise) * 60 + 128) / (1 + i)
    batch.append(image.clip(0, 255).astype(np.uint8))
  return np.stack(batch)


def logits(made: source.Source, batch: np.ndarray) -> np.ndarray:
  """Returns what our own folded network computes of images of its size."""
  network = folded.Folded(
    made.trained.network,
    made.trained.variables,
    resolution=made.trained.resolution,
    precision="float32",
  )
  return np.stack(list(network.logits(batch, batch_size=len(batch))))
