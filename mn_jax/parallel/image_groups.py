"""A batch of large images computed group by group, for CPUs.

The feature maps of a batch of 224-pixel images do not fit a CPU's caches: an
operation reads from memory what the one before has written. Those of a few
images do. And operations on few images are too small to be shared by all cores
without waiting, so a group is computed in halves that do not depend on each
other.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_GROUP = 4  # images
_HALVES = 2
# Smaller images are one batch: at 50 pixels its maps fit. Between, unmeasured.
_LARGE = 224 * 224  # pixels


def apply(network: Callable[[jax.Array], Any], images: jax.Array) -> Any:
  """Applies a network to images, on CPUs in groups where that is faster.

  Args:
    network: [n, h, w, channels] -> a pytree of arrays [n, ...], which treats
      every image alone.
    images: [batch, h, w, channels].

  Returns:
    The pytree of the whole batch.
  """
  batch, height, width = images.shape[:3]
  whole_groups = batch > _GROUP and batch % _GROUP == 0
  if height * width < _LARGE or not whole_groups:
    return network(images)

  def of_group(group: jax.Array) -> Any:
    halves = [network(half) for half in jnp.split(group, _HALVES)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *halves)

  def by_group(images: jax.Array) -> Any:
    groups = images.reshape(batch // _GROUP, _GROUP, *images.shape[1:])
    outputs = lax.map(of_group, groups)
    return jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), outputs)

  return lax.platform_dependent(images, cpu=by_group, default=network)
