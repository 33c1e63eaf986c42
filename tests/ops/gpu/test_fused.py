"""Tests of the GPU's kernels, run as plain JAX on the host, against float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mn_jax.models import layers
from mn_jax.ops.gpu import depthwise_kernels, fused, pointwise_kernels
from mn_jax.ops.gpu.elementwise import Elementwise
from tests.ops import depthwise_cases as cases

_NAMES = ("y", "total", "squares", "dx", "dfactor", "doffset", "dkernel")
_ACTIVATIONS = {
  "none": None,
  "relu6": layers.relu6,
  "hard_swish": layers.hard_swish,
}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
  """Tiny images have several tiles along each axis, none of which fits."""
  monkeypatch.setattr(depthwise_kernels, "_CHANNELS", (2,))
  monkeypatch.setattr(depthwise_kernels, "_VALUES", 8)
  monkeypatch.setattr(depthwise_kernels, "_ROWS", 2)
  # The last program has fewer tiles than the others.
  monkeypatch.setattr(depthwise_kernels, "_PROGRAMS", 3)
  monkeypatch.setattr(pointwise_kernels, "_ROWS", 16)
  monkeypatch.setattr(pointwise_kernels, "_DEPTH", 4)
  monkeypatch.setattr(pointwise_kernels, "_COLUMNS", (4,))
  monkeypatch.setattr(pointwise_kernels, "_PROGRAMS", 4)
  monkeypatch.setattr(pointwise_kernels, "_GRADIENT_PROGRAMS", 12)


def _multiply(x, kernel, dy):
  """Product and gradients of a 1x1 convolution, in float64."""
  rows, of_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
  return x @ kernel, dy @ kernel.T, rows.T @ of_rows


def _expected(linear, x, affine, kernel, cotangents, activation):
  """What `fused.conv` and its gradient are, in float64."""
  dy, dtotal, dsquares = cotangents
  z, slope = x, np.ones_like(x)
  if affine:
    with jax.enable_x64(True):
      act = activation or (lambda u: u)
      z, slope = jax.jvp(
        act, (jnp.asarray(x * affine[0] + affine[1]),), (jnp.ones(x.shape),)
      )
    z, slope = np.asarray(z), np.asarray(slope)
  y = linear(z, kernel, dy)[0]
  axes = (0, 1, 2)
  gradient = dy + dtotal + 2 * y * dsquares
  _, dz, dkernel = linear(z, kernel, gradient)
  dz = dz * slope
  sums = (np.sum(dz * x, axes), np.sum(dz, axes)) if affine else ()
  dx = dz * affine[0] if affine else dz
  return (y, y.sum(axes), (y * y).sum(axes), dx, *sums, dkernel)


def _computed(convolution, dtype, x, affine, kernel, cotangents, activation):
  def run(x, affine, kernel, cotangents):
    out, pull = jax.vjp(
      lambda x, affine, kernel: fused.conv(
        convolution, x, kernel, affine, activation
      ),
      x,
      affine,
      kernel,
    )
    dx, daffine, dkernel = pull(cotangents)
    return *out, dx, *(daffine or ()), dkernel

  as_f32 = functools.partial(np.asarray, dtype=np.float32)
  return jax.jit(run)(
    jnp.asarray(x, dtype),
    affine and tuple(map(as_f32, affine)),
    jnp.asarray(kernel, dtype),
    (jnp.asarray(cotangents[0], dtype), *map(as_f32, cotangents[1:])),
  )


def _vectors(channels, features):
  """Factor and offset of the input, and gradients of the output's sums."""
  draw = np.random.default_rng(1)
  affine = draw.normal(0.5, 1, (2, channels))
  return tuple(affine), draw.normal(0, 0.5, (2, features))


def _depthwise(name, channels=3):
  size, window, stride, pad = cases.case(name)
  x, kernel, dy = cases.inputs(size, window, stride, pad, channels=channels)
  linear = functools.partial(cases.reference, stride=stride, pad=pad)
  return fused.Depthwise(stride, pad, interpret=True), linear, x, kernel, dy


def _pointwise(batch, size, channels, features):
  draw = np.random.default_rng(0)
  x, dy = (draw.normal(size=(batch, *size, n)) for n in (channels, features))
  kernel = draw.normal(size=(channels, features)) / np.sqrt(channels)
  return fused.Pointwise(interpret=True), _multiply, x, kernel, dy


def _check(case, activation, with_affine=True):
  convolution, linear, x, kernel, dy = case
  affine, of_sums = _vectors(x.shape[-1], dy.shape[-1])
  arguments = (
    x,
    affine if with_affine else None,
    kernel,
    (dy, *of_sums),
    activation,
  )
  got = _computed(convolution, jnp.float32, *arguments)
  expected = _expected(linear, *arguments)
  names = _NAMES if with_affine else (*_NAMES[:4], _NAMES[-1])
  for name, a, b in zip(names, got, expected, strict=True):
    assert a.shape == b.shape, name
    scale = np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6 * scale, err_msg=name)


@pytest.mark.parametrize(
  ("name", "activation"),
  [
    ("3x3", "relu6"),
    ("3x3-stride2-mixed", "relu6"),
    ("5x5-stride2", "hard_swish"),
    ("asymmetric", "hard_swish"),
    ("one-pixel", "none"),
  ],
)
def test_depthwise_between_batch_norms(name, activation):
  _check(_depthwise(name), _ACTIVATIONS[activation])


@pytest.mark.parametrize(
  ("shape", "activation"),
  [
    ((2, (5, 7), 6, 10), "relu6"),
    ((1, (3, 3), 9, 3), "hard_swish"),
    ((2, (4, 4), 8, 4), "none"),
  ],
)
def test_pointwise_between_batch_norms(shape, activation):
  _check(_pointwise(*shape), _ACTIVATIONS[activation])


def test_images_as_they_are():
  _check(_depthwise("3x3-stride2-odd"), None, with_affine=False)
  _check(_pointwise(2, (3, 5), 6, 5), None, with_affine=False)


@pytest.mark.parametrize("kind", ["depthwise", "pointwise"])
def test_bfloat16_is_computed_in_float32(kind):
  """Of a map no value is off by more than its rounding, of sums far less."""
  case = _depthwise("3x3", 4) if kind == "depthwise" else None
  convolution, linear, *arrays = case or _pointwise(2, (4, 5), 6, 4)

  def exact(x):  # in bfloat16, and still in float64
    return np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)

  x, kernel, dy = map(exact, arrays)
  # Without an activation, whose kinks rounding would cross.
  affine = np.full(x.shape[-1], 0.5), np.full(x.shape[-1], 0.25)
  of_sums = np.zeros((2, dy.shape[-1]))
  arguments = (x, affine, kernel, (dy, *of_sums), None)
  got = _computed(convolution, jnp.bfloat16, *arguments)
  expected = _expected(linear, *arguments)
  assert got[0].dtype == got[3].dtype == jnp.bfloat16
  for name, a, b in zip(_NAMES, got, expected, strict=True):
    # 2^-8 is half a unit in the last of bfloat16's 8 bits; a product's factors
    # are rounded, too.
    error = np.abs(np.asarray(a, np.float64) - b).max() / np.abs(b).max()
    assert error < 2**-7, name


def test_a_gradient_keeps_a_mean_that_rounding_to_the_nearest_undoes():
  """Values on bfloat16's grid, less a mean far below half of their last bit."""
  draw, mean = np.random.default_rng(0), 2.0**-11
  dy = draw.choice([-1, 1], (1, 64, 64, 6)) * (1 + draw.random((1, 64, 64, 6)))
  dy = jnp.asarray(dy, jnp.bfloat16)
  gradient = Elementwise((dy,), (), lambda dy: dy - mean)
  ones = Elementwise((jnp.ones((1, 64, 64, 4), jnp.bfloat16),))
  sums = pointwise_kernels.kernel_gradient(
    ones, gradient, dtype=jnp.bfloat16, interpret=True
  )
  expected = np.asarray(dy, np.float64).sum((0, 1, 2)) - mean * 64**2
  # Sums are -2 off without the mean; the places' noise is 0.1 of them.
  np.testing.assert_allclose(sums, np.tile(expected, (4, 1)), atol=0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5, -0.0])
def test_what_needs_no_rounding_stays(value):
  values = jnp.full((16, 8), value, jnp.float32)
  places = jnp.arange(16), jnp.arange(8)
  got = pointwise_kernels._rounded(values, *places, jnp.bfloat16)
  np.testing.assert_array_equal(got, values)
  ones = lax.bitcast_convert_type(jnp.uint32(0x7FFFFFFF), jnp.float32)
  values = jnp.full((16, 8), ones)
  got = pointwise_kernels._rounded(values, *places, jnp.bfloat16)
  assert np.isnan(got).all()
