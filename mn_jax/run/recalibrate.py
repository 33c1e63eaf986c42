"""Running statistics taken anew: for new images, or in place of the averages.

Pretrained running statistics describe other images; in some files, exported
with BatchNorm folded into the convolutions, they describe none at all. Training
normalises by the batch, so a network that begins with such statistics forgets
at the first step what it knew. Here every BatchNorm gets the mean and variance
that its input has on the new images, and the scale and bias with which it
computes exactly what it did before.

Averages over training, on the other hand, may lag behind the weights that
training ended with. What the network does without that lag is found by taking
the statistics of batches as training does, and leaving all else as it is.
"""

from collections.abc import Iterable, Iterator

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import inputs
from mn_jax.errors import InputError
from mn_jax.models import layers, registry
from mn_jax.models import variables as variables_lib
from mn_jax.models.classifier import Classifier
from mn_jax.parallel import mesh as mesh_lib


def check(network: registry.Network) -> None:
  """Refuses networks without the scale that would take up a new variance.

  Raises:
    InputError: if it is one.
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
  """New variables of the same function, for the images of some batches.

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
    lambda v, images: _moments(module, conventions, v, images, resolution),
    out_shardings=mesh_lib.replicated(mesh),
  )
  sums, count = None, 0
  for images in batches:
    found = jax.device_get(moments(variables, put({"image": images})["image"]))
    found = jax.tree.map(np.float64, found)
    sums = found if sums is None else jax.tree.map(np.add, sums, found)
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
  """Statistics of batches, normalised as in training, instead of averages.

  Every BatchNorm gets the mean and the variance of its input over all images,
  while the layers before it normalise by the batch (Wu and Johnson,
  arXiv:2105.07576, section 3). Nothing is dropped out. One that is frozen,
  and so normalises by its averages in training too, keeps them.

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
    lambda v, images: _batch_moments(module, conventions, v, images, resolution)
  )
  sums, count = {}, 0
  for images in batches:
    found = jax.tree.map(np.float64, jax.device_get(moments(variables, images)))
    sums = jax.tree.map(np.add, sums, found) if count else found
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


def _batch_moments(
  module: Classifier,
  conventions: registry.Conventions,
  variables: dict,
  images: jax.Array,
  resolution: int,
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Mean and mean square of the input of all that normalises by the batch."""
  found = {}

  def look(next_function, args, kwargs, context):
    layer = context.module
    if isinstance(layer, nn.Dropout):
      return args[0]
    if isinstance(layer, layers.BatchNorm):
      x, train = args[:2]
      path = "/".join(layer.path)
      if train and not (layer.frozen and layer.frozen(path)):
        found[path] = _of_channels(x)
    return next_function(*args, **kwargs)

  x = inputs.to_input(
    images, resolution=resolution, mean=conventions.mean, std=conventions.std
  )
  with nn.intercept_methods(look):
    module.apply(variables, x, True, mutable=["batch_stats"])
  return found


def _moments(
  module: Classifier,
  conventions: registry.Conventions,
  variables: dict,
  images: jax.Array,
  resolution: int,
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Mean and mean square of every BatchNorm's input, by its path."""
  found = {}

  def look(next_function, args, kwargs, context):
    path = "/".join(context.module.path)
    norm = isinstance(context.module, layers.BatchNorm)
    if norm and path.startswith("backbone/"):
      found[path] = _of_channels(args[0])
    return next_function(*args, **kwargs)

  x = inputs.to_input(
    images, resolution=resolution, mean=conventions.mean, std=conventions.std
  )
  with nn.intercept_methods(look):
    module.apply(variables, x, method="extract")
  return found


def _of_channels(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and mean square, f32[c], over all axes but the last."""
  x = x.astype(jnp.float32)
  axes = tuple(range(x.ndim - 1))
  return jnp.mean(x, axes), jnp.mean(jnp.square(x), axes)
