"""The layers of a network with its weights' conventions, listed once."""

import functools

from mn_jax.models import counting, registry


@functools.cache
def published_layers(network: registry.Network) -> tuple[counting.Layer, ...]:
  """Lists the layers of a network at the resolution of its conventions."""
  resolution = network.conventions.resolution
  return tuple(counting.list_layers(registry.build(network), resolution))
