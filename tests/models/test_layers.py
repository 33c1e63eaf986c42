"""Tests of the layers that the networks are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mn_jax.models import layers


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _train(norm: layers.BatchNorm, batches: list[np.ndarray]) -> dict:
  """The variables after one training step per batch."""
  variables = norm.init(jax.random.key(0), batches[0], False)
  step = jax.jit(
    lambda v, x: norm.apply(v, x, True, mutable=["batch_stats"])[1]
  )
  for x in batches:
    variables = {**variables, **step(variables, x)}
  return variables


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and biased variance of every channel, f64."""
  axes = tuple(range(x.ndim - 1))
  return x.mean(axes, dtype=np.float64), x.var(axes, dtype=np.float64)


def _batches(count: int) -> list[np.ndarray]:
  """Batches whose means and variances differ much from 0, 1 and each other."""
  return [3 + i + (2 + i) * _normal(4, 5, 6, 3, seed=i) for i in range(count)]


@pytest.mark.parametrize(
  ("channels", "rounded"),
  # 11.2 rounds down to 8, which would be below 90 %.
  [(1, 8), (8, 8), (11.2, 16), (12, 16), (19.9, 24), (24, 24), (44.8, 48)],
)
def test_make_divisible(channels, rounded):
  assert layers.make_divisible(channels) == rounded


def test_make_divisible_keeps_nine_tenths():
  for channels in np.arange(0.5, 400, 0.7).tolist():
    rounded = layers.make_divisible(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert rounded - channels <= 8


def test_relu6_keeps_its_dtype():
  x = jnp.asarray([-3, 0, 2.5, 6, 9], jnp.bfloat16)
  y = layers.relu6(x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(y.astype(jnp.float32), [0, 0, 2.5, 6, 6])


def test_relu6_has_no_gradient_where_it_is_constant():
  x = jnp.asarray([-3, 0, 2.5, 6, 9], jnp.bfloat16)
  (dx,) = jax.vjp(layers.relu6, x)[1](jnp.full(5, 3, jnp.bfloat16))
  assert dx.dtype == jnp.bfloat16
  np.testing.assert_array_equal(dx.astype(jnp.float32), [0, 0, 3, 0, 0])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
  ("features", "window", "shape"),
  [(5, 3, (3, 3, 3, 5)), (5, 1, (1, 1, 3, 5)), (None, 3, (3, 3, 1, 3))],
)
def test_convolutions_are_tensorflows(features, window, shape, stride):
  x, kernel = _normal(2, 7, 8, 3), _normal(*shape)
  conv = layers.Conv(features, window=window, stride=stride)
  variables = {"params": {"kernel": kernel}}
  expected = lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=3 // shape[2],
  )
  np.testing.assert_allclose(
    jax.jit(conv.apply)(variables, x), expected, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
  "conv",
  [
    layers.Conv(4, dtype=jnp.bfloat16),
    layers.Conv(4, window=1, dtype=jnp.bfloat16),
    layers.Conv(None, dtype=jnp.bfloat16),
  ],
)
def test_convolutions_compute_in_their_dtype_with_float32_parameters(conv):
  x = _normal(1, 4, 4, 3)
  y, variables = jax.eval_shape(
    lambda x: conv.init_with_output(jax.random.key(0), x), x
  )
  assert y.dtype == jnp.bfloat16
  assert variables["params"]["kernel"].dtype == jnp.float32


def test_dense_is_float32_whatever_comes_in():
  x = jnp.asarray(_normal(2, 3), jnp.bfloat16)
  params = {"kernel": _normal(3, 4), "bias": _normal(4)}
  y = layers.Dense(4).apply({"params": params}, x)
  assert y.dtype == jnp.float32
  expected = np.asarray(x, np.float64) @ params["kernel"] + params["bias"]
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_debiased_statistics_are_the_exactly_weighted_average(momentum):
  batches = _batches(5)
  stats = _train(layers.BatchNorm(momentum=momentum), batches)["batch_stats"]
  weights = momentum ** np.arange(4.0, -1, -1)
  moments = [_moments(x) for x in batches]
  mean, var = np.average(moments, axis=0, weights=weights)
  np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5)
  np.testing.assert_allclose(stats["var"], var, rtol=1e-5)
  np.testing.assert_allclose(stats["weight"], 1 - momentum**5, rtol=1e-5)


def test_without_debiasing_the_statistics_follow_keras():
  batches = _batches(4)
  norm = layers.BatchNorm(momentum=0.9, debias=False)
  stats = _train(norm, batches)["batch_stats"]
  mean, var = np.zeros(3), np.ones(3)
  for x in batches:
    batch_mean, batch_var = _moments(x)
    mean = 0.9 * mean + 0.1 * batch_mean
    var = 0.9 * var + 0.1 * batch_var
  np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5)
  np.testing.assert_allclose(stats["var"], var, rtol=1e-5)
  np.testing.assert_allclose(stats["weight"], 1, rtol=1e-6)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
  norm = layers.BatchNorm(momentum=0.9)
  variables = _train(norm, _batches(3))
  stats = jax.tree.map(np.asarray, variables["batch_stats"])
  x = _normal(2, 4, 4, 3, seed=7)
  y, updated = norm.apply(variables, x, False, mutable=["batch_stats"])
  expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-3)
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
  jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], stats)


def test_init_gathers_no_statistics():
  for train in (False, True):
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), _batches(1)[0], train)
    stats = variables["batch_stats"]
    np.testing.assert_array_equal(stats["mean"], np.zeros(3))
    np.testing.assert_array_equal(stats["var"], np.ones(3))
    assert stats["weight"] == 0


@pytest.mark.parametrize("activation", [None, layers.relu6])
def test_conv_bn_is_convolution_norm_activation(activation):
  x = _normal(2, 5, 5, 3)
  conv, norm = layers.Conv(4), layers.BatchNorm()
  block = layers.ConvBN(4, layers.BatchNorm, activation=activation)
  variables = block.init(jax.random.key(0), x, False)
  assert set(variables["params"]) == {"conv", "norm"}
  assert set(variables["params"]["conv"]) == {"kernel"}
  y, _ = block.apply(variables, x, True, mutable=["batch_stats"])
  parts = {
    name: {k: v[name] for k, v in variables.items() if name in v}
    for name in ("conv", "norm")
  }
  expected, _ = norm.apply(
    parts["norm"],
    conv.apply(parts["conv"], x),
    True,
    mutable=["batch_stats"],
  )
  if activation is not None:
    expected = activation(expected)
    assert (np.asarray(expected) == 0).any()
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
