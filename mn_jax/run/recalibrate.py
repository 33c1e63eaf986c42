"""Recalibration of BatchNorm: running statistics computed from given images.

`match_statistics` fits pretrained weights to new images before training. Their
running statistics describe other images, or none at all where BatchNorm was
folded into the convolutions of a file. Training normalises by the batch, so a
network that starts with such statistics loses at the first step what it has
learned. Here every BatchNorm gets the mean and variance that its input has on
the new images, and the scale and bias with which it computes exactly what it
did before.

`batch_statistics` is for evaluation after training. Running statistics may lag
behind the weights that training ended with; statistics of batches, taken as
training takes them, show the network without that lag.
"""

from collections.abc import Iterable, Iterator

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import inputs
from mn_jax.errors import InputError
from mn_jax.models import blocks, layers, registry
from mn_jax.models import variables as variables_lib
from mn_jax.models.classifier import Classifier
from mn_jax.parallel import mesh as mesh_lib


def check(network: registry.Network) -> None:
  """Refuses networks in which no BatchNorm has a scale, for `match_statistics`.

  Raises:
    InputError: if the network is one of these.
  """
  backbone = variables_lib.shapes(
    registry.build(network), network.conventions.resolution
  )["params"]["backbone"]
  paths = flax.traverse_util.flatten_dict(backbone)
  if not any(path[-1] == "scale" for path in paths):
    raise InputError(
      f"model.match_statistics: got a number above 0 for {network.name!r}, "
      "which has no BatchNorm with a scale; valid: 0"
    )


def match_statistics(
  module: Classifier,
  conventions: registry.Conventions,
  variables: dict,
  batches: Iterator[np.ndarray],
  *,
  resolution: int,
) -> dict:
  """Fits running statistics to new images without changing the function.

  Args:
    module: the network; every BatchNorm of its backbone needs a scale.
    conventions: its normalisation and epsilon.
    variables: its parameters and statistics.
    batches: u8[batch, h, w, 3], all of one shape.
    resolution: the network's input in pixels; 0: as stored.

  Returns:
    'params' and 'batch_stats'; those of the head are left as they are.
  """
  mesh = mesh_lib.make_mesh(jax.local_devices())
  put = mesh_lib.HostImages(mesh).put
  moments = jax.jit(
    lambda v, images: _moments(
      module, conventions, v, images, resolution, train=False
    ),
    out_shardings=mesh_lib.replicated(mesh),
  )
  sums, count = {}, 0
  for images in batches:
    new = jax.device_get(moments(variables, put({"image": images})["image"]))
    new = jax.tree.map(np.float64, new)
    sums = jax.tree.map(np.add, sums, new) if count else new
    count += 1
  params = flax.traverse_util.flatten_dict(variables["params"], sep="/")
  stats = flax.traverse_util.flatten_dict(variables["batch_stats"], sep="/")
  for path, (total, squares) in sums.items():
    mean = total / count
    var = np.maximum(squares / count - mean**2, 0)
    old = np.sqrt(np.float64(stats[f"{path}/var"]) + conventions.epsilon)
    factor = params[f"{path}/scale"] / old
    shift = params[f"{path}/bias"] + factor * (mean - stats[f"{path}/mean"])
    values = {
      "scale": factor * np.sqrt(var + conventions.epsilon),
      "bias": shift,
    }
    params |= {f"{path}/{k}": np.float32(v) for k, v in values.items()}
    stats[f"{path}/mean"], stats[f"{path}/var"] = (
      np.float32(mean),
      np.float32(var),
    )
  return {
    "params": flax.traverse_util.unflatten_dict(params, sep="/"),
    "batch_stats": flax.traverse_util.unflatten_dict(stats, sep="/"),
  }


def batch_statistics(
  module: Classifier,
  conventions: registry.Conventions,
  variables: dict,
  batches: Iterable[np.ndarray],
  *,
  resolution: int,
) -> dict:
  """Replaces running statistics by those of batches normalised as in training.

  Every BatchNorm gets the mean and the variance of its input over all images,
  while the layers before it normalise by the batch (Wu and Johnson,
  arXiv:2105.07576, section 3). There is no dropout, and no drop path. A frozen
  BatchNorm, which uses its running statistics in training too, keeps them.

  Args:
    module: the network.
    conventions: its normalisation.
    variables: its parameters and statistics.
    batches: u8[batch, h, w, 3], all of one shape.
    resolution: the network's input in pixels; 0: as stored.

  Returns:
    'params', the same, and 'batch_stats'.

  Raises:
    InputError: if no BatchNorm normalises by the batch in training.
  """
  moments = jax.jit(
    lambda v, images: _moments(
      module, conventions, v, images, resolution, train=True
    )
  )
  sums, count = {}, 0
  for images in batches:
    new = jax.tree.map(np.float64, jax.device_get(moments(variables, images)))
    sums = jax.tree.map(np.add, sums, new) if count else new
    count += 1
  if not sums:
    raise InputError(
      "--recalibrate: got a network without BatchNorm that normalises by the "
      "batch in training; valid: one that has some"
    )
  stats = flax.traverse_util.flatten_dict(variables["batch_stats"], sep="/")
  for path, (total, squares) in sums.items():
    mean = total / count
    stats[f"{path}/mean"] = np.float32(mean)
    stats[f"{path}/var"] = np.float32(np.maximum(squares / count - mean**2, 0))
  return {
    "params": variables["params"],
    "batch_stats": flax.traverse_util.unflatten_dict(stats, sep="/"),
  }


def _moments(
  module: Classifier,
  conventions: registry.Conventions,
  variables: dict,
  images: jax.Array,
  resolution: int,
  *,
  train: bool,
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Mean and mean square, f32[c], of the inputs of BatchNorms, by their path.

  In training these are of all that normalise by the batch, without dropout;
  otherwise of those of the backbone.
  """
  moments = {}

  def record(next_function, args, kwargs, context):
    layer, path = context.module, "/".join(context.module.path)
    if train and isinstance(layer, nn.Dropout | blocks.DropPath):
      return args[0]
    if (
      isinstance(layer, layers.BatchNorm) and context.method_name == "__call__"
    ):
      if train:
        wanted = args[1] and not (layer.frozen and layer.frozen(path))
      else:
        wanted = path.startswith("backbone/")
      if wanted:
        moments[path] = _of_channels(args[0])
    return next_function(*args, **kwargs)

  x = inputs.to_input(
    images, resolution=resolution, mean=conventions.mean, std=conventions.std
  )
  with nn.intercept_methods(record):
    if train:
      module.apply(variables, x, True, mutable=["batch_stats"])
    else:
      module.apply(variables, x, method="extract")
  return moments


def _of_channels(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and mean square, f32[c], over all axes but the last."""
  x = x.astype(jnp.float32)
  axes = tuple(range(x.ndim - 1))
  return jnp.mean(x, axes), jnp.mean(jnp.square(x), axes)
