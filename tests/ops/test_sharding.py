"""Tests of sums over parts of a batch, and of parts treated apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from mn_jax.ops import batch_norm, depthwise, sharding

pytestmark = pytest.mark.devices(4)


def on(devices, function, *arrays):
  """(outputs, HLO) of a function of arrays that lie on some devices."""
  mesh = jax.make_mesh(
    (devices,),
    ("data",),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )

  def on_mesh(*arrays):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return function(*arrays)

  sent = jax.device_put(arrays, NamedSharding(mesh, P("data")))
  compiled = jax.jit(on_mesh).lower(*sent).compile()
  return compiled(*sent), compiled.as_text()


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_count_is_that_of_the_mesh_where_it_divides_the_batch():
  counts = []

  def look(x):
    counts.append((sharding.num_shards(x), sharding.num_shards(x[:-1])))
    return sharding.map_shards(lambda part: part * sharding.num_shards(part), x)

  x = draw(8)
  assert sharding.num_shards(x) == 1  # no mesh
  out, _ = on(4, look, x)
  assert counts == [(4, 1)]
  np.testing.assert_array_equal(out, x)  # one within a part


@pytest.mark.parametrize("devices", [1, 4])
def test_summed_adds_the_parts(devices):
  x, y = draw(8, 3), draw(8, 3, seed=1)
  found, program = on(
    devices,
    functools.partial(
      sharding.sum_shards, lambda x, y: {"xy": jnp.sum(x * y, axis=0)}
    ),
    x,
    y,
  )
  np.testing.assert_allclose(found["xy"], (x * y).sum(0), rtol=1e-5)
  assert ("all-reduce" in program) == (devices > 1)
  assert "all-gather" not in program


def test_apart_treats_parts_apart_and_sums_gradients_of_what_is_whole():
  x, scale = draw(8, 3), np.float32([1, 2, 3])

  def loss(scale, x):
    def part(x, scale):
      return (x - jnp.mean(x, axis=0, keepdims=True)) * scale.reshape(1, 3)

    return jnp.sum(sharding.map_shards(part, x, scale) ** 2)

  (value, gradient), program = on(
    4, lambda x: jax.value_and_grad(loss)(scale, x), x
  )
  parts = x.reshape(4, 2, 3)
  centred = (parts - parts.mean(1, keepdims=True)).reshape(8, 3)
  np.testing.assert_allclose(value, ((centred * scale) ** 2).sum(), rtol=1e-5)
  expected = (2 * centred**2 * scale).sum(0)
  np.testing.assert_allclose(gradient, expected, rtol=1e-5)
  assert "all-gather" not in program


def _kernel_gradient(x):
  kernel = draw(3, 3, 1, x.shape[-1], seed=2)

  def loss(kernel):
    out = depthwise.depthwise_conv(x, kernel, padding=((1, 1), (1, 1)))
    return jnp.sum(out**2)

  return jax.grad(loss)(kernel)


def _norm_gradient(x, group=0):
  def loss(x, scale, bias):
    out, mean, var = batch_norm.batch_norm(
      x, scale, bias, epsilon=1e-3, activation=jax.nn.relu, group=group
    )
    return jnp.sum(out**3), (mean, var)

  ones = jnp.ones(x.shape[-1])
  return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(
    x, ones, 0.1 * ones
  )


@pytest.mark.parametrize(
  "function",
  [
    _kernel_gradient,
    _norm_gradient,
    functools.partial(_norm_gradient, group=2),
    functools.partial(_norm_gradient, group=1),
  ],
)
def test_no_device_fetches_the_batch(function):
  """And the results are those of one device."""
  x = draw(8, 16, 8, 32)
  one, alone = on(1, function, x)
  four, program = on(4, function, x)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
  assert "all-reduce" in program
  assert "all-reduce" not in alone
  for kind in ("all-gather", "all-to-all", "collective-permute"):
    assert kind not in program, kind
