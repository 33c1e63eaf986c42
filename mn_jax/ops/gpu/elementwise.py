"""What kernels compute value by value on what they read and write."""

import dataclasses
from collections.abc import Callable

import jax


@dataclasses.dataclass(frozen=True)
class Elementwise:
  """Images computed from others, value by value, never written to memory.

  Attributes:
    images: f[batch, h, w, channels] each, all of one shape.
    vectors: f32[channels] each.
    function: of a value in float32 from each of the images, then from each of
      the vectors; None: the only image as it is.
  """

  images: tuple[jax.Array, ...] = ()
  vectors: tuple[jax.Array, ...] = ()
  function: Callable | None = None
