"""Quantization of kernels to 8-bit integers, for inference.

Every output channel has a scale. The weights take a quarter of the memory;
products are computed in floating point, from the dequantised kernels.
"""

from typing import NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

# Symmetric: -128 is left out, so that a kernel and its negative round alike.
_LARGEST = 127


class Quantized(NamedTuple):
  """A quantized kernel; its values are `values * scale`.

  Attributes:
    values: i8[..., c] in [-127, 127].
    scale: f32[1, ..., 1, c], above 0.
  """

  values: np.ndarray | jax.Array
  scale: np.ndarray | jax.Array


def quantize(params: dict) -> dict:
  """Quantizes every 'kernel'; other parameters stay as they are.

  The output channels are the last axis, of dense layers and convolutions.
  Rounding to nearest moves no weight by more than half its channel's scale. A
  channel that is not finite stays so, as a scale.

  Args:
    params: of a network with folded BatchNorm, f32 NumPy arrays.
  """
  flat = flax.traverse_util.flatten_dict(params)
  return flax.traverse_util.unflatten_dict(
    {p: _quantize(x) if p[-1] == "kernel" else x for p, x in flat.items()}
  )


def dequantize(params: dict) -> dict:
  """Turns every `Quantized` into f32[..., c]; others stay as they are."""
  return jax.tree.map(
    lambda x: x.values.astype(jnp.float32) * x.scale if _is_quantized(x) else x,
    params,
    is_leaf=_is_quantized,
  )


def _quantize(kernel: np.ndarray) -> Quantized:
  axes = tuple(range(kernel.ndim - 1))
  scale = np.abs(kernel).max(axis=axes, keepdims=True) / np.float32(_LARGEST)
  # Of nothing but zeros, or of what underflows to them.
  scale = np.where(scale == 0, np.float32(1), scale)
  with np.errstate(invalid="ignore"):
    steps = np.rint(kernel.astype(np.float64) / scale)
  values = np.nan_to_num(steps).clip(-_LARGEST, _LARGEST)
  return Quantized(values.astype(np.int8), scale)


def _is_quantized(x: object) -> bool:
  return isinstance(x, Quantized)
