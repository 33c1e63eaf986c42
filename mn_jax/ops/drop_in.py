"""The depthwise convolution behind the interface of `jax.lax`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops.depthwise import depthwise_conv

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  lhs_dilation: Sequence[int] | None = None,
  rhs_dilation: Sequence[int] | None = None,
  dimension_numbers: Any = None,
  feature_group_count: int = 1,
  **others: Any,
) -> jax.Array:
  """`jax.lax.conv_general_dilated`, whose depthwise cases are `depthwise_conv`.

  For layers that take their convolution as an argument, such as
  `flax.linen.Conv` and `flax.nnx.Conv`. Depthwise are images f[batch, h, w,
  channels] with `feature_group_count` and as many features as channels, one
  stride for both directions, no dilation, no negative padding, and neither
  precision nor types of their own. All else is passed on to `jax.lax`.

  Args:
    lhs: f[batch, h, w, channels], or what `jax.lax` takes.
    rhs: f[kh, kw, 1, channels], likewise.
    window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
      feature_group_count, **others: of `jax.lax.conv_general_dilated`.

  Returns:
    What `jax.lax.conv_general_dilated` returns.
  """
  depthwise = (
    lhs.ndim == rhs.ndim == 4
    and lhs.dtype == rhs.dtype
    and jnp.issubdtype(lhs.dtype, jnp.floating)
    and feature_group_count > 1
    and _is_channels_last(lhs, rhs, dimension_numbers)
    and lhs.shape[3] == rhs.shape[3] == feature_group_count
    and rhs.shape[2] == 1
    and len(set(window_strides)) == 1
    and {*(lhs_dilation or ()), *(rhs_dilation or ())} <= {1}
    and all(value is None for value in others.values())
  )
  if depthwise:
    if isinstance(padding, str):
      padding = lax.padtype_to_pads(
        lhs.shape[1:3], rhs.shape[:2], window_strides, padding
      )
    depthwise = all(n >= 0 for pair in padding for n in pair)
  if depthwise:
    stride = int(window_strides[0])
    return depthwise_conv(lhs, rhs, stride=stride, padding=padding)
  return lax.conv_general_dilated(
    lhs,
    rhs,
    window_strides,
    padding,
    lhs_dilation,
    rhs_dilation,
    dimension_numbers,
    feature_group_count,
    **others,
  )


def _is_channels_last(lhs: jax.Array, rhs: jax.Array, numbers: Any) -> bool:
  """Whether dimension numbers are those of images with channels innermost."""
  shapes = lhs.shape, rhs.shape
  return lax.conv_dimension_numbers(
    *shapes, numbers
  ) == lax.conv_dimension_numbers(*shapes, _LAYOUT)
