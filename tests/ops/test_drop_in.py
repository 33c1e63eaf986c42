"""Tests of the depthwise convolution behind the interface of `jax.lax`."""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from mn_jax import ops
from mn_jax.ops import drop_in

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_SAME = ((1, 1), (1, 1))


def _inputs(*, groups: int, features: int, channels: int = 4):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 7, 8, channels))
  kernel = rng.normal(size=(3, 3, channels // groups, features))
  return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.fixture
def calls(monkeypatch) -> list:
  """Arguments of the calls of `depthwise_conv`."""
  made = []

  def recorded(*args, **options):
    made.append(options)
    return ops.depthwise_conv(*args, **options)

  monkeypatch.setattr(drop_in, "depthwise_conv", recorded)
  return made


def _is_laxs(calls, taken, x, kernel, *args, **options):
  """Compares with lax, and tells whether `depthwise_conv` was taken."""
  got = ops.conv_general_dilated(x, kernel, *args, **options)
  expected = lax.conv_general_dilated(x, kernel, *args, **options)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
  assert bool(calls) == taken


@pytest.mark.parametrize("padding", ["SAME", "VALID", _SAME, [(2, 0), (0, 3)]])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolutions_are_taken(calls, padding, stride):
  x, kernel = _inputs(groups=4, features=4)
  _is_laxs(
    calls,
    True,
    x,
    kernel,
    (stride, stride),
    padding,
    (1, 1),
    (1, 1),
    _LAYOUT,
    4,
    precision=None,
  )


@pytest.mark.parametrize(
  ("features", "options"),
  [
    (8, {}),  # two features per channel
    (4, {"window_strides": (1, 2)}),
    (4, {"rhs_dilation": (2, 2)}),
    (4, {"lhs_dilation": (2, 1), "padding": _SAME}),
    (4, {"padding": ((-1, 1), (0, 0))}),
    (4, {"precision": lax.Precision.HIGHEST}),
  ],
)
def test_others_are_left_to_lax(calls, features, options):
  x, kernel = _inputs(groups=4, features=features)
  arguments = {
    "window_strides": (1, 1),
    "padding": "SAME",
    "dimension_numbers": _LAYOUT,
    "feature_group_count": 4,
    **options,
  }
  _is_laxs(calls, False, x, kernel, **arguments)


def test_other_layouts_and_full_convolutions_are_left_to_lax(calls):
  x, kernel = _inputs(groups=1, features=5)
  _is_laxs(calls, False, x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)
  x, kernel = _inputs(groups=4, features=4)
  _is_laxs(
    calls,
    False,
    x.transpose(0, 3, 1, 2),
    kernel.transpose(3, 2, 0, 1),
    (1, 1),
    "SAME",
    feature_group_count=4,
  )


def test_the_arguments_have_the_order_of_lax():
  ours = list(inspect.signature(ops.conv_general_dilated).parameters)
  laxs = list(inspect.signature(lax.conv_general_dilated).parameters)
  assert ours[:-1] == laxs[: len(ours) - 1]


@pytest.mark.parametrize("padding", ["SAME", "VALID", 1, "CIRCULAR"])
def test_linen(calls, padding):
  make = functools.partial(
    nn.Conv, 4, (3, 3), padding=padding, feature_group_count=4
  )
  x, _ = _inputs(groups=4, features=4)
  layer = make(conv_general_dilated=ops.conv_general_dilated)
  variables = layer.init(jax.random.key(0), x)
  expected = make().apply(variables, x)
  np.testing.assert_allclose(
    layer.apply(variables, x), expected, rtol=1e-5, atol=1e-5
  )
  assert calls


def test_nnx(calls):
  make = functools.partial(
    nnx.Conv, 4, 4, (3, 3), strides=2, feature_group_count=4
  )
  x, _ = _inputs(groups=4, features=4)
  layer = make(conv_general_dilated=ops.conv_general_dilated, rngs=nnx.Rngs(0))
  expected = make(rngs=nnx.Rngs(0))(x)
  np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)
  assert calls
