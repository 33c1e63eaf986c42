"""A convolution with the BatchNorm before it and the sums of the one behind.

BatchNorm is an affine function per channel, whose factor and offset come from
two sums per channel. So a network of convolutions and BatchNorms is a chain of
one operation: out of a raw map, a factor and an offset, an activation and a
convolution make the next raw map and its sums. Its gradient is of the same
form. Each map is then written once by the convolution that makes it, and
activated maps and gradients of normalised ones are never written.
"""

import dataclasses
import functools
from typing import Protocol

import jax
import jax.numpy as jnp

from mn_jax.ops import sharding
from mn_jax.ops.gpu import depthwise_kernels, pointwise_kernels, taps
from mn_jax.ops.gpu.elementwise import Elementwise
from mn_jax.ops.gpu.origins import Activation, Affine
from mn_jax.ops.padding import Padding


class Convolution(Protocol):
  """A linear operation on images, whose kernels take functions on the way."""

  def forward(
    self, given: Elementwise, kernel: jax.Array, finish: Elementwise, sums: int
  ) -> tuple[jax.Array, jax.Array]:
    """The images' convolution, with the sums of `finish`."""

  def input_gradient(
    self,
    gradient: Elementwise,
    kernel: jax.Array,
    finish: Elementwise | None,
    sums: int,
    size: tuple[int, int],
  ) -> tuple[jax.Array, jax.Array]:
    """The gradient of images of a size, with the sums of `finish`."""

  def kernel_gradient(
    self, given: Elementwise, gradient: Elementwise, kernel: jax.Array
  ) -> jax.Array:
    """The gradient of the kernel, in float32."""


@dataclasses.dataclass(frozen=True)
class Depthwise:
  """Every channel with its own kernel f[kh, kw, 1, channels].

  Attributes:
    stride: the same in both directions.
    padding: zero pixels around the image.
    interpret: run as plain JAX on any platform, slowly, for tests.
  """

  stride: int
  padding: Padding
  interpret: bool = False

  def forward(self, given, kernel, finish, sums):
    """See `Convolution`."""
    size = given.images[0].shape[1:3]
    plan = taps.forward(size, kernel.shape[:2], self.stride, self.padding)
    return depthwise_kernels.correlate(
      plan, given, kernel, finish, sums=sums, interpret=self.interpret
    )

  def input_gradient(self, gradient, kernel, finish, sums, size):
    """See `Convolution`."""
    window = kernel.shape[:2]
    plan = taps.input_gradient(size, window, self.stride, self.padding)
    return depthwise_kernels.correlate(
      plan, gradient, kernel, finish, sums=sums, interpret=self.interpret
    )

  def kernel_gradient(self, given, gradient, kernel):
    """See `Convolution`."""
    size = given.images[0].shape[1:3]
    plan = taps.forward(size, kernel.shape[:2], self.stride, self.padding)
    return depthwise_kernels.kernel_gradient(
      plan, given, gradient, interpret=self.interpret
    )


@dataclasses.dataclass(frozen=True)
class Pointwise:
  """The channels of every pixel with a matrix f[channels, features].

  Attributes:
    interpret: run as plain JAX on any platform, slowly, for tests.
  """

  interpret: bool = False

  def forward(self, given, kernel, finish, sums):
    """See `Convolution`."""
    return pointwise_kernels.product(
      given, kernel, finish, sums=sums, interpret=self.interpret
    )

  def input_gradient(self, gradient, kernel, finish, sums, size):
    """See `Convolution`."""
    del size
    return pointwise_kernels.product(
      gradient,
      kernel,
      finish,
      sums=sums,
      transposed=True,
      interpret=self.interpret,
    )

  def kernel_gradient(self, given, gradient, kernel):
    """See `Convolution`."""
    return pointwise_kernels.kernel_gradient(
      given, gradient, dtype=kernel.dtype, interpret=self.interpret
    )


@dataclasses.dataclass(frozen=True)
class _Static:
  """What does not change while a program runs."""

  convolution: Convolution
  activation: Activation | None

  def activated(self, x, factor, offset):
    """activation(x * factor + offset), of values in float32."""
    out = x * factor + offset
    return out if self.activation is None else self.activation(out)

  def before(self, x: jax.Array, affine: Affine | tuple[()]) -> Elementwise:
    """What is convolved."""
    return Elementwise((x,), affine, self.activated if affine else None)


def conv(
  convolution: Convolution,
  x: jax.Array,
  kernel: jax.Array,
  affine: Affine | None = None,
  activation: Activation | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Convolves activation(x * factor + offset), computed in float32.

  `Pointwise` rounds it to the dtype of `x`, in which matrix units multiply.

  Args:
    convolution: which one.
    x: f[batch, h, w, channels].
    kernel: of the convolution's shape, of the dtype of `x`.
    affine: factor and offset, f32[channels] each; None: `x` is convolved as it
      is, without the activation.
    activation: elementwise, differentiable by JAX; None: the identity.

  Returns:
    f[batch, oh, ow, features] of the dtype of `x`, the output; f32[features],
    the sum of its values over images and pixels; f32[features], the sum of
    their squares.
  """
  static = _Static(convolution, activation)
  return _conv(static, x, affine or (), kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(static, x, affine, kernel):
  return _conv_fwd(static, x, affine, kernel)[0]


def _conv_fwd(static, x, affine, kernel):
  def finish(y):
    # The sums are those of what is written.
    rounded = y.astype(x.dtype).astype(jnp.float32)
    return rounded, rounded, rounded * rounded

  def run(images, affine, kernel):
    return static.convolution.forward(
      static.before(*images, affine), kernel, Elementwise(function=finish), 2
    )

  y, (total, squares) = sharding.map_and_sum_shards(run, (x,), affine, kernel)
  return (y, total, squares), (x, affine, kernel, y)


def _conv_bwd(static, residuals, cotangents):
  x, affine, kernel, y = residuals
  dy, dtotal, dsquares = cotangents

  def gradient(dy, y, dtotal, dsquares):
    # What comes back through the output and through its sums.
    return Elementwise(
      (dy, y),
      (dtotal, 2 * dsquares),
      lambda dy, y, constant, slope: dy + constant + slope * y,
    )

  def finish(dz, x, factor, offset):
    if static.activation is not None:
      (dz,) = jax.vjp(static.activation, x * factor + offset)[1](dz)
    return dz * factor, dz * x, dz

  def run(images, affine, kernel, dtotal, dsquares):
    x, dy, y = images
    of_output = gradient(dy, y, dtotal, dsquares)
    after = Elementwise((x,), affine, finish) if affine else None
    dx, sums = static.convolution.input_gradient(
      of_output, kernel, after, len(affine), x.shape[1:3]
    )
    dkernel = static.convolution.kernel_gradient(
      static.before(x, affine), of_output, kernel
    )
    return dx, (tuple(sums), dkernel)

  dx, (daffine, dkernel) = sharding.map_and_sum_shards(
    run, (x, dy, y), affine, kernel, dtotal, dsquares
  )
  return dx, daffine, dkernel.astype(kernel.dtype)


_conv.defvjp(_conv_fwd, _conv_bwd)
