"""Convolutions and BatchNorms of a network as one chain of kernels on a GPU.

See `fused` for the chain's links. What a link needs of the layer before it is
noted in `origins`, so that layers need not know.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from mn_jax.ops import sharding
from mn_jax.ops.gpu import origins
from mn_jax.ops.padding import Padding

# Values of one device's images. Kernels compute addresses in 32 bits, a whole
# tile beyond the last image's.
_MAX_SIZE = 2**31 - 2**20
# The least compute capability whose matrix units take bfloat16.
_CAPABILITY = 8.0

# Whether links are interpreted; None: there are none.
_INTERPRET = contextvars.ContextVar("interpret", default=None)


def supports(device: jax.Device) -> bool:
  """Whether a device runs the kernels: NVIDIA's since Ampere."""
  return (
    device.platform == "gpu"
    and device.device_kind.startswith("NVIDIA")
    and float(device.compute_capability) >= _CAPABILITY
  )


@contextlib.contextmanager
def links(*, interpret: bool = False) -> Iterator[None]:
  """What is traced inside is made of links, wherever `applies` says so.

  Links can be differentiated once, in reverse mode.

  Args:
    interpret: run as plain JAX on any platform, slowly, for tests.
  """
  token = _INTERPRET.set(interpret)
  try:
    yield
  finally:
    _INTERPRET.reset(token)


def applies(x: jax.Array, features: int = 1) -> bool:
  """Whether images become links: within `links`, bfloat16, and not too many.

  Args:
    x: f[batch, h, w, channels]; anything else has no links.
    features: channels of the output.
  """
  if _INTERPRET.get() is None or x.dtype != jnp.bfloat16 or x.ndim != 4:
    return False
  batch, height, width, channels = x.shape
  pixels = batch // sharding.num_shards(x) * height * width
  return height * width > 1 and pixels * max(channels, features) <= _MAX_SIZE


def depthwise_conv(
  x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> jax.Array:
  """`ops.depthwise.depthwise_conv` as a link."""
  from mn_jax.ops.gpu import fused

  convolution = fused.Depthwise(stride, padding, _INTERPRET.get())
  return _link(convolution, x, kernel)


def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`ops.pointwise.pointwise_conv` of images as a link."""
  from mn_jax.ops.gpu import fused

  return _link(fused.Pointwise(_INTERPRET.get()), x, kernel)


def _link(convolution, x: jax.Array, kernel: jax.Array) -> jax.Array:
  # Pallas takes 0.3 s to import, which only GPUs should pay.
  from mn_jax.ops.gpu import fused

  origin = origins.find(x, origins.Normalised)
  if origin is None:
    y, total, squares = fused.conv(convolution, x, kernel)
  else:
    y, total, squares = fused.conv(
      convolution, origin.raw, kernel, origin.affine, origin.activation
    )
  origins.note(y, origins.Sums(total, squares))
  return y
