"""Tests of batch normalisation against its definition in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import layers
from mn_jax.ops import batch_norm

_EPSILON = 1e-3
_ACTIVATIONS = {
  "none": None,
  "relu": jax.nn.relu,
  "relu6": layers.relu6,
  "hard_swish": layers.hard_swish,
}


def _inputs(shape):
  rng = np.random.default_rng(0)
  x = rng.normal(2, 3, shape)
  scale = rng.normal(1, 0.5, shape[-1])
  bias = rng.normal(1, 1, shape[-1])
  return x, scale, bias, rng.normal(size=shape)


def _definition(activation, x, scale, bias):
  axes = tuple(range(x.ndim - 1))
  mean, var = jnp.mean(x, axes), jnp.var(x, axes)
  shape = (1,) * len(axes) + mean.shape
  inverse = scale / jnp.sqrt(var + _EPSILON)
  out = (x - mean.reshape(shape)) * inverse.reshape(shape) + bias.reshape(shape)
  return (out if activation is None else activation(out)), mean, var


@pytest.mark.parametrize(
  ("shape", "activation"),
  [
    *(((4, 16, 16, 24), name) for name in _ACTIVATIONS),
    ((3, 5, 5, 8), "relu6"),
    ((6, 16), "hard_swish"),
  ],
)
def test_output_statistics_and_gradients(shape, activation):
  activation = _ACTIVATIONS[activation]
  *values, dy = _inputs(shape)

  def everything(function, values, dy):
    (out, mean, var), pull = jax.vjp(function, *values)
    zeros = jnp.zeros_like(mean), jnp.zeros_like(var)
    return out, mean, var, *pull((dy, *zeros))

  op = functools.partial(
    batch_norm.batch_norm, epsilon=_EPSILON, activation=activation
  )
  got = jax.jit(functools.partial(everything, op))(
    [jnp.asarray(v, jnp.float32) for v in values], jnp.asarray(dy, jnp.float32)
  )
  with jax.enable_x64(True):
    definition = functools.partial(_definition, activation)
    expected = jax.jit(functools.partial(everything, definition))(values, dy)
  names = ("out", "mean", "var", "dx", "dscale", "dbias")
  for name, one, other in zip(names, got, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4, err_msg=name)


def test_groups_are_batches_of_their_own():
  x, scale, bias, dy = (
    jnp.asarray(v, jnp.float32) for v in _inputs((6, 8, 8, 16))
  )
  op = functools.partial(
    batch_norm.batch_norm, epsilon=_EPSILON, activation=jax.nn.relu
  )

  @functools.partial(jax.jit, static_argnums=0)
  def run(op, x, dy):
    (out, mean, var), pull = jax.vjp(op, x, scale, bias)
    return (
      out,
      mean,
      var,
      *pull((dy, jnp.zeros_like(mean), jnp.zeros_like(var))),
    )

  got = run(functools.partial(op, group=2), x, dy)
  parts = [run(op, x[i : i + 2], dy[i : i + 2]) for i in (0, 2, 4)]
  out, mean, var, dx, dscale, dbias = zip(*parts, strict=True)
  expected = (
    jnp.concatenate(out),
    sum(mean) / 3,
    sum(var) / 3,
    jnp.concatenate(dx),
    sum(dscale),
    sum(dbias),
  )
  for one, other in zip(got, expected, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
  whole = run(op, x, dy)
  assert np.abs(whole[0] - got[0]).max() > 1e-2
  assert np.all(whole[2] > got[2])  # that between the groups is missing
  for group in (0, 6):
    for one, other in zip(
      run(functools.partial(op, group=group), x, dy), whole, strict=True
    ):
      np.testing.assert_array_equal(one, other)


def test_groups_that_do_not_divide():
  x, scale, bias, _ = _inputs((6, 4))
  with pytest.raises(ValueError, match="groups of 4 do not divide 6 images"):
    batch_norm.batch_norm(x, scale, bias, epsilon=_EPSILON, group=4)


def test_no_gradient_flows_through_the_statistics():
  x, scale, bias, _ = (
    jnp.asarray(v, jnp.float32) for v in _inputs((2, 4, 4, 8))
  )

  def statistics(x):
    _, mean, var = batch_norm.batch_norm(x, scale, bias, epsilon=_EPSILON)
    return jnp.sum(mean) + jnp.sum(var)

  np.testing.assert_array_equal(jax.grad(statistics)(x), 0)


def test_constant_channels_give_the_bias():
  x = jnp.full((2, 4, 4, 8), 1e4)
  bias = jnp.arange(8.0)
  out, mean, var = batch_norm.batch_norm(x, jnp.ones(8), bias, epsilon=_EPSILON)
  np.testing.assert_allclose(mean, 1e4)
  assert np.all(np.asarray(var) >= 0)
  np.testing.assert_allclose(out, np.broadcast_to(bias, x.shape), atol=1e-2)


def test_bfloat16_is_kept_and_computed_in_float32():
  x, scale, bias, dy = (
    jnp.asarray(v, jnp.float32) for v in _inputs((4, 8, 8, 16))
  )

  @jax.jit
  def run(x, dy):
    out, pull = jax.vjp(
      lambda x: batch_norm.batch_norm(
        x, scale, bias, epsilon=_EPSILON, activation=layers.relu6
      )[0],
      x,
    )
    return out, *pull(dy)

  low, dy = x.astype(jnp.bfloat16), dy.astype(jnp.bfloat16)
  found = run(low, dy)
  expected = run(low.astype(jnp.float32), dy.astype(jnp.float32))
  for one, other in zip(found, expected, strict=True):
    assert one.dtype == jnp.bfloat16
    np.testing.assert_array_equal(one, other.astype(jnp.bfloat16))
