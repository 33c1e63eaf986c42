"""Depthwise convolution on CPUs, as sums of shifted products."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops import padding as padding_lib
from mn_jax.ops import sharding
from mn_jax.ops.padding import Padding

# Images whose products are added up before they go to an accumulator of the
# kernel's gradient: more save traffic, but take the compiler longer.
_IMAGES_AT_ONCE = 4


def shifted(
  x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding
) -> jax.Array:
  """Depthwise convolution as sums of shifted products, with such gradients.

  Args:
    x: f[batch, h, w, channels].
    kernel: f[kh, kw, 1, channels].
    stride, padding: of the convolution.

  Returns:
    f[batch, oh, ow, channels].
  """
  return _shifted(stride, padding, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _shifted(
  stride: int, padding: Padding, x: jax.Array, kernel: jax.Array
) -> jax.Array:
  out = padding_lib.out_size(x.shape[1:3], kernel.shape[:2], stride, padding)
  return _correlate(_pad(x, padding), kernel, stride, out)


def _shifted_fwd(stride, padding, x, kernel):
  # The padded input is what the kernel's gradient needs: stored instead of x,
  # it is written once.
  out = padding_lib.out_size(x.shape[1:3], kernel.shape[:2], stride, padding)
  padded = _pad(x, padding)
  return _correlate(padded, kernel, stride, out), (padded, kernel)


def _shifted_bwd(stride, padding, residuals, dy):
  padded, kernel = residuals
  size = tuple(
    n - before - after
    for n, (before, after) in zip(padded.shape[1:3], padding, strict=True)
  )
  dx = _input_gradient(dy, kernel, size, stride, padding)
  dkernel = sharding.sum_shards(
    lambda x, dy: _kernel_gradient(x, dy, kernel.shape[:2], stride), padded, dy
  )
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
  """x[:, start::stride, start::stride] cut to `out` rows and columns."""
  limit = [
    first + stride * (n - 1) + 1 for first, n in zip(start, out, strict=True)
  ]
  return lax.slice(
    x, (0, *start, 0), (x.shape[0], *limit, x.shape[3]), (1, stride, stride, 1)
  )


def _product(x: jax.Array, kernel: jax.Array, i: int, j: int) -> jax.Array:
  """Every pixel of `x` times one tap of the kernel."""
  tap = lax.slice(kernel, (i, j, 0, 0), (i + 1, j + 1, 1, kernel.shape[-1]))
  # `lax`, as everywhere here: JAX traces it in a third of the time of `jnp`.
  return lax.mul(x, lax.broadcast_in_dim(tap, x.shape, range(4)))


def _correlate(
  padded: jax.Array, kernel: jax.Array, stride: int, out: tuple[int, int]
) -> jax.Array:
  terms = [
    _product(_window(padded, (i, j), out, stride), kernel, i, j)
    for i in range(kernel.shape[0])
    for j in range(kernel.shape[1])
  ]
  return functools.reduce(lax.add, terms)


def _input_gradient(
  dy: jax.Array,
  kernel: jax.Array,
  size: tuple[int, int],
  stride: int,
  padding: Padding,
) -> jax.Array:
  """Transposed convolution, one correlation per sub-pixel phase.

  Pixel stride * q + r of the input takes part in output row q - t by the tap
  i = stride * t + r + before, for every t that gives one. So every phase r is a
  dense stride-1 correlation, and the phases interleave by a reshape; stride 1
  has one phase and is the correlation with the flipped kernel.
  """
  before = tuple(p[0] for p in padding)
  # Pixels per phase that cover the image.
  rows = tuple(-(-n // stride) for n in size)

  def taps_of(axis: int, r: int) -> list[tuple[int, int]]:
    """Returns the pairs (t, i) of a phase."""
    first = r + before[axis]
    taps = range(first % stride, kernel.shape[axis], stride)
    return [((i - first) // stride, i) for i in taps]

  phases = [[taps_of(axis, r) for r in range(stride)] for axis in range(2)]
  shifts = [[t for taps in phases[k] for t, _ in taps] for k in range(2)]
  reach = tuple(max(0, *t) for t in shifts)
  after = tuple(
    max(0, n - min(t) - m)
    for n, m, t in zip(rows, dy.shape[1:3], shifts, strict=True)
  )
  padded = _pad(dy, ((reach[0], after[0]), (reach[1], after[1])))

  def phase(r: int, s: int) -> jax.Array:
    terms = [
      _product(
        _window(padded, (reach[0] - t, reach[1] - u), rows, 1), kernel, i, j
      )
      for t, i in phases[0][r]
      for u, j in phases[1][s]
    ]
    # A stride beyond the kernel leaves pixels that nothing reads.
    if not terms:
      return jnp.zeros((dy.shape[0], *rows, dy.shape[3]), dy.dtype)
    return functools.reduce(lax.add, terms)

  if stride == 1:
    return phase(0, 0)
  lines = [
    jnp.stack([phase(r, s) for s in range(stride)], axis=3)
    for r in range(stride)
  ]
  # [batch, rows, r, cols, s, channels]
  dx = jnp.stack(lines, axis=2)
  dx = dx.reshape(dy.shape[0], rows[0] * stride, rows[1] * stride, dy.shape[3])
  return dx[:, : size[0], : size[1]]


def _kernel_gradient(
  padded: jax.Array, dy: jax.Array, window: tuple[int, int], stride: int
) -> jax.Array:
  """Sums input times output gradient over images and pixels, in float32.

  XLA's CPU reductions over rows with the channels innermost are 5-20 x slower
  than the memory. A scan over output rows, a few images at a time, keeps one
  accumulator per column of the window, of as many rows as the window has, all
  of them in cache, and reduces them once at the end.
  """
  batch, rows, cols, channels = dy.shape
  images = math.gcd(batch, _IMAGES_AT_ONCE)
  height, width = window

  def add_row(sums, position):
    image, row = position // rows * images, position % rows
    x_r = lax.dynamic_slice(
      padded,
      (image, row * stride, 0, 0),
      (images, height, padded.shape[2], channels),
    ).astype(jnp.float32)
    dy_r = lax.dynamic_slice(
      dy, (image, row, 0, 0), (images, 1, cols, channels)
    ).astype(jnp.float32)

    def add(total, j):
      limit = j + stride * (cols - 1) + 1
      x_j = lax.slice_in_dim(x_r, j, limit, stride, axis=2)
      products = lax.mul(x_j, lax.broadcast_in_dim(dy_r, x_j.shape, range(4)))
      for k in range(images):
        image = lax.index_in_dim(products, k, keepdims=False)
        total = lax.add(total, image)
      return total

    return tuple(add(total, j) for j, total in enumerate(sums)), None

  zeros = (jnp.zeros((height, cols, channels), jnp.float32),) * width
  steps = jnp.arange(batch // images * rows)
  sums, _ = lax.scan(add_row, zeros, steps)
  flat = jnp.sum(jnp.stack(sums, axis=1), axis=2)
  return flat.reshape(height, width, 1, channels)
