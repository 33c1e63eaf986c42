"""Depthwise convolution of few channels on TPUs, as a dense one of blocks."""

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops import padding as padding_lib
from mn_jax.ops.padding import Padding

# Outputs of a matrix unit; with twice as many the compiler copies the blocks.
_LANES = 128
# With 64 channels the products' gain is less than what BatchNorm's passes lose
# when they meet blocks.
_MOST_CHANNELS = 32
# Of so many images, or multiples of it, the batch is innermost in memory; else
# it may be the channels, and blocks and columns are different bytes.
_IMAGES = 128


def columns_per_block(images: int, channels: int, width: int) -> int:
  """Returns how many output columns to make at once, a power of two.

  Args:
    images: of a device's batch.
    channels: of the images.
    width: of the output in pixels, which the columns divide.

  Returns:
    As many columns as fill a matrix unit; 1 for too many channels, or
    images that do not lie with the batch innermost.
  """
  columns = 1
  if images % _IMAGES or channels > _MOST_CHANNELS:
    return columns
  while 2 * columns * channels <= _LANES and width % (2 * columns) == 0:
    columns *= 2
  return columns


def blocked(
  x: jax.Array,
  kernel: jax.Array,
  *,
  columns: int,
  stride: int,
  padding: Padding,
) -> jax.Array:
  """Depthwise convolution as a dense one that makes several columns at once.

  The TPU's compiler makes a depthwise convolution dense: it multiplies 128
  channels by a matrix for every tap, of which only the diagonal is not zero,
  and with 32 channels three quarters of the matrix unit idle. Here the columns
  of a block are output features beside its channels, and the window reaches
  over the input of all of them. With the batch innermost, as images of few
  channels lie on TPUs, blocks and columns are the same bytes.

  Args:
    x: f[batch, h, w, channels].
    kernel: f[kh, kw, 1, channels].
    columns: of a block, a divisor of the output's width.
    stride, padding: of the convolution.

  Returns:
    f[batch, oh, ow, channels].
  """
  height, width = padding_lib.out_size(
    x.shape[1:3], kernel.shape[:2], stride, padding
  )
  blocks = lax.conv_general_dilated(
    x,
    # In float32, so that the gradients of the copies are summed in it.
    _block_kernel(kernel.astype(jnp.float32), columns, stride).astype(x.dtype),
    (stride, stride * columns),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return blocks.reshape(x.shape[0], height, width, x.shape[3])


def _block_kernel(kernel: jax.Array, columns: int, stride: int) -> jax.Array:
  """Returns the dense kernel of a block, most of whose elements are zero.

  Args:
    kernel: f[kh, kw, 1, channels].
    columns, stride: see `blocked`.

  Returns:
    f[kh, stride * (columns - 1) + kw, channels, columns * channels].
  """
  channels = kernel.shape[3]
  last = stride * (columns - 1)
  shifted = [
    jnp.pad(kernel, ((0, 0), (k * stride, last - k * stride), (0, 0), (0, 0)))
    for k in range(columns)
  ]
  # f[kh, taps, 1, columns, channels] on the diagonals of the channels.
  diagonal = jnp.eye(channels, dtype=kernel.dtype)
  spread = jnp.stack(shifted, axis=3) * diagonal.reshape(
    1, 1, channels, 1, channels
  )
  return spread.reshape(*spread.shape[:3], columns * channels)
