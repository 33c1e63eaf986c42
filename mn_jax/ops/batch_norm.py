"""Batch normalisation by the batch's statistics, fused with an activation."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.ops import sharding
from mn_jax.ops.gpu import chain, origins

Activation = Callable[[jax.Array], jax.Array]


def batch_norm(
  x: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  *,
  epsilon: float,
  activation: Activation | None = None,
  group: int = 0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalises a batch by its statistics and applies an activation.

  The result is activation((x - mean) / sqrt(var + epsilon) * scale + bias).
  Mean and variance, the biased one, are over all axes but the last; with
  `group`, of so many images at a time (ghost batches, Hoffer et al. 2017,
  arXiv:1705.08741). The gradient reads `x` and the output's gradient twice,
  once for two sums and once for the input's gradient, and stores nothing but
  `x`.

  Args:
    x: f[..., channels].
    scale: f32[channels].
    bias: f32[channels].
    epsilon: added to the variance.
    activation: elementwise, differentiable by JAX; None: the identity.
    group: number of entries of the first axis that are normalised together;
      0: all of them.

  Returns:
    f[..., channels] of the dtype of `x`; the mean and the variance,
    f32[channels] each, through which no gradient flows. With several groups,
    these are the averages over the groups.

  Raises:
    ValueError: if groups do not divide the first axis.
  """
  if group in (0, x.shape[0]):
    noted = origins.find(x, origins.Sums) if chain.applies(x) else None
    sums = (noted.total, noted.squares) if noted else _sums(x)
    out, mean, var = _batch_norm(
      epsilon, activation, x, lax.stop_gradient(sums), scale, bias
    )
    if chain.applies(x):
      count = x.size // x.shape[-1]
      *_, factor, offset = _coefficients(epsilon, count, sums, scale, bias)
      affine = (factor, offset)
      origins.note(out, origins.Normalised(x, affine, activation))
  else:
    if x.shape[0] % group:
      raise ValueError(f"groups of {group} do not divide {x.shape[0]} images")
    groups = x.reshape(-1, group, *x.shape[1:])
    normalise = jax.vmap(
      lambda x, scale, bias: _batch_norm(
        epsilon, activation, x, _sums(x), scale, bias
      ),
      in_axes=(0, None, None),
    )
    out, means, variances = sharding.map_shards(normalise, groups, scale, bias)
    out = out.reshape(x.shape)
    mean, var = jnp.mean(means, axis=0), jnp.mean(variances, axis=0)
  return out, lax.stop_gradient(mean), lax.stop_gradient(var)


def _sums(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Sums of values and of squares, f32[channels] each."""
  # Two sums that XLA's CPU backend is fast at.
  x32 = x.astype(jnp.float32)
  axes = tuple(range(x.ndim - 1))
  return jnp.sum(x32, axis=axes), jnp.sum(x32 * x32, axis=axes)


def _coefficients(epsilon, count, sums, scale, bias):
  """Mean, variance, and factor and offset that normalise, of the sums."""
  total, squares = sums
  mean = total / count
  # One pass over x; the clip is for rounding of constant channels.
  var = jnp.maximum(squares / count - mean * mean, 0)
  factor = scale * lax.rsqrt(var + epsilon)
  return mean, var, factor, bias - mean * factor


# The gradient by x is the whole one, by way of the sums too: by these it is 0.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _batch_norm(epsilon, activation, x, sums, scale, bias):
  return _forward(epsilon, activation, x, sums, scale, bias)[0]


def _forward(epsilon, activation, x, sums, scale, bias):
  count = x.size // x.shape[-1]
  mean, var, factor, offset = _coefficients(epsilon, count, sums, scale, bias)
  out = _affine(x.astype(jnp.float32), factor, offset)
  if activation is not None:
    out = activation(out)
  inverse = lax.rsqrt(var + epsilon)
  return (out.astype(x.dtype), mean, var), (x, mean, inverse, factor, offset)


def _backward(epsilon, activation, residuals, cotangents):
  del epsilon
  x, mean, inverse, factor, offset = residuals
  dy = cotangents[0]
  count = x.size // x.shape[-1]

  axes = tuple(range(x.ndim - 1))
  x32, dy32 = x.astype(jnp.float32), dy.astype(jnp.float32)

  def before_activation(factor, offset):
    if activation is None:
      return dy32
    return jax.vjp(activation, _affine(x32, factor, offset))[1](dy32)[0]

  dz = before_activation(factor, offset)
  dbias, products = jnp.sum(dz, axis=axes), jnp.sum(dz * x32, axis=axes)
  factor, offset = _again(factor, offset)
  dscale = inverse * (products - mean * dbias)
  # dx = factor * (dz - mean of dz - normalised x * mean of (dz * that)).
  slope = -factor * inverse * dscale / count
  constant = -factor * dbias / count - slope * mean
  dz = before_activation(factor, offset)
  dx = _affine(dz, factor, constant) + _affine(x32, slope)
  zeros = jnp.zeros_like(mean)
  return dx.astype(x.dtype), (zeros, zeros), dscale, dbias


_batch_norm.defvjp(_forward, _backward)


def _again(*vectors: jax.Array) -> tuple[jax.Array, ...]:
  """The vectors, with which XLA for NVIDIA's GPUs computes everything again.

  What two loops over the same maps have in common, it would else write to
  memory once, in float32: of MobileNetV1's step at 224 pixels in bfloat16, a
  seventh of all bytes.
  """
  return lax.platform_dependent(
    vectors, cuda=lax.optimization_barrier, default=lambda v: v
  )


def _affine(
  x: jax.Array, factor: jax.Array, offset: jax.Array | None = None
) -> jax.Array:
  """Every channel of `x` by its factor, plus its offset."""
  shape = (1,) * (x.ndim - 1) + factor.shape
  x = x * factor.reshape(shape)
  return x if offset is None else x + offset.reshape(shape)
