"""Cases of depthwise convolutions, and plain loops in float64 as the oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.ops import padding

# Image size, window, stride, padding ('same' or explicit).
CASES = {
  "3x3": ((7, 8), (3, 3), 1, "same"),
  "3x3-stride2-odd": ((7, 9), (3, 3), 2, "same"),
  "3x3-stride2-even": ((8, 6), (3, 3), 2, "same"),
  "3x3-stride2-mixed": ((8, 7), (3, 3), 2, "same"),
  "3x3-stride3": ((8, 10), (3, 3), 3, "same"),
  "1x1": ((4, 5), (1, 1), 1, "same"),
  "1x1-stride2": ((5, 4), (1, 1), 2, "same"),
  "1x1-stride3": ((7, 6), (1, 1), 3, "same"),
  "2x2": ((5, 6), (2, 2), 1, "same"),
  "2x2-stride3": ((7, 8), (2, 2), 3, "same"),
  "5x5-stride2": ((9, 8), (5, 5), 2, "same"),
  "5x5-stride3": ((9, 11), (5, 5), 3, "same"),
  "one-pixel": ((1, 1), (3, 3), 1, "same"),
  "one-pixel-stride2": ((1, 1), (5, 5), 2, "same"),
  "row": ((1, 6), (3, 3), 2, "same"),
  "oblong-window": ((6, 7), (2, 5), 2, "same"),
  "valid": ((6, 7), (3, 3), 2, ((0, 0), (0, 0))),
  "valid-tail": ((8, 8), (3, 3), 3, ((0, 0), (0, 0))),
  "bottom-right": ((8, 8), (3, 3), 2, ((0, 1), (0, 1))),
  "asymmetric": ((5, 6), (3, 3), 2, ((3, 1), (0, 4))),
  "beyond-window": ((4, 4), (3, 3), 1, ((5, 0), (4, 6))),
}


def case(name: str):
  """Returns image size, window, stride and explicit padding."""
  size, window, stride, pad = CASES[name]
  if pad == "same":
    pad = padding.resolve("same", size, window, stride)
  return size, window, stride, pad


def inputs(size, window, stride, pad, *, batch=2, channels=3):
  """Returns x, kernel and the output's gradient: all f64."""
  rng = np.random.default_rng(0)
  out = padding.out_size(size, window, stride, pad)
  x = rng.normal(size=(batch, *size, channels))
  kernel = rng.normal(size=(*window, 1, channels))
  return x, kernel, rng.normal(size=(batch, *out, channels))


def reference(x, kernel, dy, stride, pad):
  """Returns y, dx and dkernel by one product after the other, in float64."""
  (top, _), (left, _) = pad
  y, dx, dkernel = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(kernel.shape)
  for row, col in np.ndindex(dy.shape[1:3]):
    for i, j in np.ndindex(kernel.shape[:2]):
      r, c = row * stride + i - top, col * stride + j - left
      if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
        y[:, row, col] += x[:, r, c] * kernel[i, j, 0]
        dx[:, r, c] += dy[:, row, col] * kernel[i, j, 0]
        dkernel[i, j, 0] += np.sum(x[:, r, c] * dy[:, row, col], axis=0)
  return y, dx, dkernel


def compute(form, x, kernel, dy, stride, pad, dtype=jnp.float32):
  """Returns y, dx and dkernel of one formulation."""
  x, kernel, dy = (jnp.asarray(a, dtype) for a in (x, kernel, dy))
  y, pullback = jax.vjp(
    functools.partial(form, stride=stride, padding=pad), x, kernel
  )
  return y, *pullback(dy)


def check(form, name):
  """Compares a formulation in float32 with the loops: y and both gradients."""
  size, window, stride, pad = case(name)
  arrays = inputs(size, window, stride, pad)
  got = jax.jit(lambda *arrays: compute(form, *arrays, stride, pad))(
    *(a.astype(np.float32) for a in arrays)
  )
  expected = reference(*arrays, stride, pad)
  for what, a, b in zip(("y", "dx", "dkernel"), got, expected, strict=True):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=what)
