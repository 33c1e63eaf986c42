"""Fake quantisation: rounding to the values that 8-bit integers stand for.

Results stay floating point. Gradients are straight-through: rounding counts as
the identity (Jacob et al. 2018, arXiv:1712.05877, section 3). The two grids are
those of int8 files of LiteRT and ONNX.
"""

import jax
import jax.numpy as jnp

# Of kernels: symmetric, so -128 is left out, as in `models.quantize`.
_LARGEST = 127
# Of activations: steps between the lowest and the highest of 256 values.
_STEPS = 255


@jax.custom_jvp
def kernel(values: jax.Array) -> jax.Array:
  """Rounds a kernel to multiples of each output channel's scale.

  The scale is the channel's largest absolute value / 127; no value is clipped,
  so the gradient passes unchanged.

  Args:
    values: f32[..., channels], output channels last.

  Returns:
    f32[..., channels], integers in [-127, 127] times the channel's scale.
  """
  axes = tuple(range(values.ndim - 1))
  scale = jnp.max(jnp.abs(values), axis=axes, keepdims=True) / _LARGEST
  scale = jnp.where(scale == 0, 1, scale)
  return jnp.round(values / scale).clip(-_LARGEST, _LARGEST) * scale


@kernel.defjvp
def _kernel_jvp(primals, tangents):
  return kernel(*primals), tangents[0]


@jax.custom_vjp
def activation(x: jax.Array, limits: jax.Array) -> jax.Array:
  """Rounds activations to 256 values between two limits, of which 0 is one.

  The limits are moved until 0 is between them and one of the values, so that
  padding and ReLU are exact. What rounds to a value outside is clipped and has
  no gradient; the limits have none.

  Args:
    x: f32[...].
    limits: f32[2], the lowest and the highest value.

  Returns:
    f32[...], multiples of (highest - lowest) / 255.
  """
  return _round(x, limits)[0]


def _round(x: jax.Array, limits: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the rounded values, and which of them were not clipped."""
  low, high = jnp.minimum(limits[0], 0), jnp.maximum(limits[1], 0)
  scale = (high - low) / _STEPS
  scale = jnp.where(scale == 0, 1, scale)
  # The integer that stands for 0, if the lowest value's is 0.
  zero = jnp.round(-low / scale)
  steps = jnp.round(x / scale.reshape((1,) * x.ndim))
  lowest, highest = (
    end.reshape((1,) * x.ndim) for end in (-zero, _STEPS - zero)
  )
  inside = (steps >= lowest) & (steps <= highest)
  return steps.clip(lowest, highest) * scale.reshape((1,) * x.ndim), inside


def _activation_fwd(x, limits):
  return _round(x, limits)


def _activation_bwd(inside, dy):
  return jnp.where(inside, dy, 0), jnp.zeros(2, dy.dtype)


activation.defvjp(_activation_fwd, _activation_bwd)
