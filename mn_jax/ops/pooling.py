"""Max and average pooling."""

import jax
import numpy as np
from jax import lax

from mn_jax.ops import padding as padding_lib


def max_pool(
  x: jax.Array, window: int, *, stride: int, padding: str
) -> jax.Array:
  """Max pooling: the largest value of every window; padding never wins.

  Args:
    x: f[batch, h, w, channels].
    window: height and width of the windows in pixels.
    stride: in both directions.
    padding: a rule of `ops.padding`.

  Returns:
    f[batch, oh, ow, channels] of the dtype of `x`.
  """
  shape, strides = _windows(window, stride)
  pads = _pads(x, window, stride, padding)
  lowest = np.array(-np.inf, x.dtype)
  return lax.reduce_window(x, lowest, lax.max, shape, strides, pads)


def avg_pool(
  x: jax.Array, window: int, *, stride: int, padding: str, count_padding: bool
) -> jax.Array:
  """Average pooling: the mean of every window.

  Args:
    x: f[batch, h, w, channels].
    window: height and width of the windows in pixels.
    stride: in both directions.
    padding: a rule of `ops.padding`.
    count_padding: whether padded zeros count, as in PyTorch, or the mean is
      of the pixels inside the image, as in TensorFlow.

  Returns:
    f[batch, oh, ow, channels] of the dtype of `x`.
  """
  shape, strides = _windows(window, stride)
  pads = _pads(x, window, stride, padding)
  zero = np.zeros((), x.dtype)
  total = lax.reduce_window(x, zero, lax.add, shape, strides, pads)
  if count_padding:
    return total / np.array(window * window, x.dtype)
  # The number of pixels inside depends on the shape alone: a constant.
  inside = np.ones((1, *x.shape[1:3], 1), x.dtype)
  return total / lax.reduce_window(inside, zero, lax.add, shape, strides, pads)


def _windows(
  window: int, stride: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  return (1, window, window, 1), (1, stride, stride, 1)


def _pads(
  x: jax.Array, window: int, stride: int, rule: str
) -> tuple[tuple[int, int], ...]:
  size = (x.shape[1], x.shape[2])
  pads = padding_lib.resolve(rule, size, (window, window), stride)
  return ((0, 0), *pads, (0, 0))
