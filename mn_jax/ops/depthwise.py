"""Depthwise convolution, forward and both gradients, one fast way per backend.

XLA's CPU backend has no fast grouped convolution: `lax.conv` with
`feature_group_count` equal to the channels is 10-100 x slower there than the
memory traffic allows, in its gradients most of all. On CPUs this file writes
the same sums as shifted, fused elementwise products ("shifted"); elsewhere it
leaves them to XLA's convolution ("grouped"), which is also the oracle of the
tests. `python -m mn_jax.tools.bench` measures one against the other.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops import padding as padding_lib
from mn_jax.ops.padding import Padding


def depthwise_conv(
  x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding
) -> jax.Array:
  """Convolves every channel with its own kernel.

  Args:
    x: f[batch, h, w, channels].
    kernel: f[kh, kw, 1, channels], of the same dtype as `x`.
    stride: the same stride in both directions, at least 1.
    padding: zero pixels around the image, see `ops.padding`.

  Returns:
    f[batch, oh, ow, channels] of the dtype of `x`.

  Raises:
    ValueError: if the channels differ or the output would be empty.
  """
  if kernel.ndim != 4 or kernel.shape[2:] != (1, x.shape[-1]):
    raise ValueError(
      f"depthwise kernel for an input of shape {x.shape} must have shape "
      f"(kh, kw, 1, {x.shape[-1]}), got {kernel.shape}"
    )
  out = padding_lib.out_size(x.shape[1:3], kernel.shape[:2], stride, padding)
  if min(out) < 1:
    raise ValueError(
      f"a {kernel.shape[0]}x{kernel.shape[1]} kernel does not fit an input of "
      f"shape {x.shape} with padding {padding}"
    )
  ways = {
    platform: functools.partial(way, stride=stride, padding=padding)
    for platform, way in FORMULATIONS.items()
  }
  return lax.platform_dependent(x, kernel, **ways)


def grouped(
  x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> jax.Array:
  """`depthwise_conv` as XLA's grouped convolution, with XLA's gradients."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1],
  )


def shifted(
  x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> jax.Array:
  """`depthwise_conv` as sums of shifted products, with their own gradients."""
  return _shifted(stride, padding, x, kernel)


# The fastest way on each platform. Only the CPU's has been measured.
FORMULATIONS = {"cpu": shifted, "default": grouped}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _shifted(
  stride: int, padding: Padding, x: jax.Array, kernel: jax.Array
) -> jax.Array:
  out = padding_lib.out_size(x.shape[1:3], kernel.shape[:2], stride, padding)
  return _correlate(_pad(x, padding), kernel, stride, out)


def _shifted_fwd(stride, padding, x, kernel):
  return _shifted(stride, padding, x, kernel), (x, kernel)


def _shifted_bwd(stride, padding, residuals, dy):
  x, kernel = residuals
  dx = _input_gradient(dy, kernel, x.shape[1:3], stride, padding)
  dkernel = _kernel_gradient(x, dy, kernel.shape[:2], stride, padding)
  return dx, dkernel.astype(kernel.dtype)


_shifted.defvjp(_shifted_fwd, _shifted_bwd)


def _pad(x: jax.Array, padding: Padding) -> jax.Array:
  # The barrier keeps XLA from folding the padding into each of the shifted
  # reads, which would turn one fused loop of loads into one of selects.
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  return lax.optimization_barrier(padded)


def _window(
  x: jax.Array, start: tuple[int, int], out: tuple[int, int], stride: int
) -> jax.Array:
  """x[..., start::stride, start::stride, :] cut to `out` rows and columns."""
  axis = x.ndim - 3
  for k in range(2):
    limit = start[k] + stride * (out[k] - 1) + 1
    x = lax.slice_in_dim(x, start[k], limit, stride, axis=axis + k)
  return x


def _tap(kernel: jax.Array, i: int, j: int) -> jax.Array:
  return kernel[i, j].reshape((1, 1, 1, kernel.shape[-1]))


def _correlate(
  padded: jax.Array, kernel: jax.Array, stride: int, out: tuple[int, int]
) -> jax.Array:
  terms = [
    _window(padded, (i, j), out, stride) * _tap(kernel, i, j)
    for i in range(kernel.shape[0])
    for j in range(kernel.shape[1])
  ]
  return sum(terms[1:], terms[0])


def _input_gradient(
  dy: jax.Array,
  kernel: jax.Array,
  size: tuple[int, int],
  stride: int,
  padding: Padding,
) -> jax.Array:
  """Transposed convolution, one correlation per sub-pixel phase.

  The gradient at padded row stride * q + r takes the taps stride * t + r, and
  from them the output rows q - t. So every phase r is a dense stride-1
  correlation, and the phases interleave by a reshape; stride 1 has one phase
  and is the correlation with the flipped kernel.
  """
  before = tuple(p[0] for p in padding)
  # Rows per phase that cover the padding before the image and the image.
  rows = tuple(-(-(n + b) // stride) for n, b in zip(size, before, strict=True))
  # Output rows that the largest t reaches back to.
  reach = tuple((k - 1) // stride for k in kernel.shape[:2])
  after = tuple(max(n - m, 0) for n, m in zip(rows, dy.shape[1:3], strict=True))
  padded = _pad(dy, ((reach[0], after[0]), (reach[1], after[1])))

  def phase(r: int, s: int) -> jax.Array:
    taps = [
      _window(padded, (reach[0] - t, reach[1] - u), rows, 1)
      * _tap(kernel, stride * t + r, stride * u + s)
      for t in range(-(-(kernel.shape[0] - r) // stride))
      for u in range(-(-(kernel.shape[1] - s) // stride))
    ]
    if not taps:  # A stride beyond the kernel leaves pixels that nothing reads.
      return jnp.zeros((dy.shape[0], *rows, dy.shape[3]), dy.dtype)
    return sum(taps[1:], taps[0])

  if stride == 1:
    dx = phase(0, 0)
  else:
    phases = [[phase(r, s) for s in range(stride)] for r in range(stride)]
    # [batch, rows, r, cols, s, channels]
    dx = jnp.stack([jnp.stack(line, axis=3) for line in phases], axis=2)
    dx = dx.reshape(
      dy.shape[0], rows[0] * stride, rows[1] * stride, dy.shape[3]
    )
  return lax.slice(
    dx,
    (0, *before, 0),
    (dx.shape[0], before[0] + size[0], before[1] + size[1], dx.shape[3]),
  )


def _kernel_gradient(
  x: jax.Array,
  dy: jax.Array,
  window: tuple[int, int],
  stride: int,
  padding: Padding,
) -> jax.Array:
  """Sum over images and pixels of input times output gradient, in float32.

  A scan over the images keeps one accumulator of the output's size per tap in
  cache and reduces it once at the end; XLA's CPU reductions over rows with the
  channels innermost are 5-20 x slower.
  """
  out = dy.shape[1:3]
  taps = [(i, j) for i in range(window[0]) for j in range(window[1])]

  def add_image(sums, image):
    x_i, dy_i = image
    dy_i = dy_i.astype(jnp.float32)
    sums = tuple(
      total + _window(x_i, tap, out, stride).astype(jnp.float32) * dy_i
      for total, tap in zip(sums, taps, strict=True)
    )
    return sums, None

  zeros = tuple(jnp.zeros(dy.shape[1:], jnp.float32) for _ in taps)
  sums, _ = lax.scan(add_image, zeros, (_pad(x, padding), dy))
  flat = jnp.stack([jnp.sum(total, axis=(0, 1)) for total in sums])
  return flat.reshape(*window, 1, dy.shape[3])
