"""Ranges of activations, from training images, for fake quantisation."""

from collections.abc import Iterable

import jax
import numpy as np

from mn_jax.augment import inputs
from mn_jax.models import fake_quant
from mn_jax.models.classifier import Classifier
from mn_jax.models.spec import Conventions
from mn_jax.parallel import mesh as mesh_lib

# Training images that the first ranges are of.
IMAGES = 512


def calibrate(
  module: Classifier,
  conventions: Conventions,
  variables: dict,
  batches: Iterable[np.ndarray],
  *,
  resolution: int,
) -> dict:
  """Makes a network fake-quantised, by ranges of the network in float32.

  A range is from the smallest to the largest value of an activation in all
  images.

  Args:
    module: the network.
    conventions: its normalisation.
    variables: its parameters and statistics.
    batches: u8[batch, h, w, 3], all of one shape; at least one.
    resolution: the network's input in pixels; 0: as stored.

  Returns:
    The variables, f32 NumPy arrays, with ranges in 'batch_stats'.
  """

  def observed(variables: dict, images: jax.Array) -> dict:
    x = inputs.to_input(
      images, resolution=resolution, mean=conventions.mean, std=conventions.std
    )
    _, ranges = module.apply(variables, x, False, mutable=[fake_quant.OBSERVED])
    return ranges[fake_quant.OBSERVED]

  mesh = mesh_lib.make_mesh(jax.local_devices())
  put = mesh_lib.HostImages(mesh).put
  program = jax.jit(observed, out_shardings=mesh_lib.replicated(mesh))
  seen = [
    jax.device_get(program(variables, put({"image": images})["image"]))
    for images in batches
  ]
  ranges = jax.tree.map(_of_all, *seen)
  return fake_quant.with_ranges(variables, ranges)


def _of_all(*ranges: np.ndarray) -> np.ndarray:
  """The smallest and the largest value, f32[2], of several ranges."""
  low, high = zip(*ranges, strict=True)
  return np.array([min(low), max(high)], np.float32)
