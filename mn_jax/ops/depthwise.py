"""Depthwise convolution with its gradients, a fast formulation per backend.

XLA's CPU backend has no fast grouped convolution: `lax.conv` with
`feature_group_count` equal to the channels is 10-100 x slower there than the
memory traffic allows, in its gradients most of all. On CPUs the same sums are
shifted, fused elementwise products (`cpu.depthwise`). On TPUs few channels are
dense blocks of columns (`tpu.depthwise`). All else is left to XLA's convolution
("grouped"), which is also the oracle of the tests. `python -m
mn_jax.tools.bench` measures one against the other.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops import padding as padding_lib
from mn_jax.ops import sharding
from mn_jax.ops.cpu.depthwise import shifted
from mn_jax.ops.padding import Padding
from mn_jax.ops.tpu import depthwise as tpu


def depthwise_conv(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int = 1,
  padding: str | int | Sequence[Sequence[int]],
) -> jax.Array:
  """Convolves every channel of images with its own kernel.

  A cross-correlation, as all of `jax.lax`'s convolutions; docs/depthwise.md
  says what runs on which platform, and what was measured. Gradients of any
  order are in reverse mode (`jax.grad`, `jax.vjp`); forward mode (`jax.jvp`,
  `jax.hessian`) is refused by JAX with a TypeError. `jit` and `vmap` work as
  for all functions. With the batch divided among devices, results are right
  however it is done; `ops.sharding` says when CPUs do it without copies.

  Args:
    x: f[batch, h, w, channels].
    kernel: f[kh, kw, 1, channels], of the same dtype as `x`; its gradient is
      summed in float32 and has its dtype.
    stride: the same stride in both directions, at least 1.
    padding: zero pixels around the image: a rule of `ops.padding` ('same',
      'symmetric', 'end', 'valid'; also 'SAME' and 'VALID'), pixels on all
      sides, or ((top, bottom), (left, right)).

  Returns:
    f[batch, oh, ow, channels] of the dtype of `x`.

  Raises:
    TypeError: if the dtypes differ or are not floating point.
    ValueError: if the channels differ, the output would be empty, or stride or
      padding are none.
  """
  if x.ndim != 4:
    raise ValueError(
      "images of a depthwise convolution must have shape (batch, h, w, "
      f"channels), got {x.shape}"
    )
  if kernel.ndim != 4 or kernel.shape[2:] != (1, x.shape[-1]):
    raise ValueError(
      f"depthwise kernel for an input of shape {x.shape} must have shape "
      f"(kh, kw, 1, {x.shape[-1]}), got {kernel.shape}"
    )
  if x.dtype != kernel.dtype or not jnp.issubdtype(x.dtype, jnp.floating):
    raise TypeError(
      "images and kernel of a depthwise convolution must have one floating "
      f"point dtype, got {x.dtype} and {kernel.dtype}"
    )
  if not isinstance(stride, int) or stride < 1:
    raise ValueError(
      "stride of a depthwise convolution must be one number, 1 or more, got "
      f"{stride!r}"
    )
  window = kernel.shape[:2]
  padding = padding_lib.explicit(padding, x.shape[1:3], window, stride)
  out = padding_lib.out_size(x.shape[1:3], window, stride, padding)
  if min(out) < 1:
    raise ValueError(
      f"a {window[0]}x{window[1]} kernel does not fit an input of shape "
      f"{x.shape} with padding {padding}"
    )
  by_platform = {
    platform: functools.partial(function, stride=stride, padding=padding)
    for platform, function in FORMULATIONS.items()
  }
  return lax.platform_dependent(x, kernel, **by_platform)


def grouped(
  x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> jax.Array:
  """Depthwise convolution as XLA's grouped convolution, with its gradients.

  Args:
    x: f[batch, h, w, channels].
    kernel: f[kh, kw, 1, channels].
    stride, padding: of the convolution.

  Returns:
    f[batch, oh, ow, channels].
  """
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


def blocked(
  x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> jax.Array:
  """Depthwise convolution as dense blocks of columns, where they are narrow.

  Args:
    x: f[batch, h, w, channels].
    kernel: f[kh, kw, 1, channels].
    stride, padding: of the convolution.

  Returns:
    f[batch, oh, ow, channels].
  """
  _, width = padding_lib.out_size(
    x.shape[1:3], kernel.shape[:2], stride, padding
  )
  images = x.shape[0] // sharding.num_shards(x)
  columns = tpu.columns_per_block(images, x.shape[3], width)
  if columns == 1:
    return grouped(x, kernel, stride=stride, padding=padding)
  return tpu.blocked(x, kernel, columns=columns, stride=stride, padding=padding)


# The formulation of each platform. Only the CPU's has been measured; the TPU's
# is by its compiler's own count of cycles.
FORMULATIONS = {"cpu": shifted, "tpu": blocked, "default": grouped}


def candidates(platform: str) -> dict[str, Callable]:
  """Returns the formulations to compare on a platform ('cpu'), by name."""
  found = {"shifted": shifted, "grouped": grouped}
  chosen = FORMULATIONS.get(platform, FORMULATIONS["default"])
  return found | {chosen.__name__: chosen}
