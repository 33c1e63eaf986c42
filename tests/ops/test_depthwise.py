"""Tests of the depthwise convolution against plain loops in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.ops import depthwise, padding

# Image size, window, stride, padding ('same' or explicit).
_CASES = {
  "3x3": ((7, 8), (3, 3), 1, "same"),
  "3x3-stride2-odd": ((7, 9), (3, 3), 2, "same"),
  "3x3-stride2-even": ((8, 6), (3, 3), 2, "same"),
  "3x3-stride2-mixed": ((8, 7), (3, 3), 2, "same"),
  "3x3-stride3": ((8, 10), (3, 3), 3, "same"),
  "1x1": ((4, 5), (1, 1), 1, "same"),
  "1x1-stride2": ((5, 4), (1, 1), 2, "same"),
  "1x1-stride3": ((7, 6), (1, 1), 3, "same"),
  "2x2": ((5, 6), (2, 2), 1, "same"),
  "2x2-stride3": ((7, 8), (2, 2), 3, "same"),
  "5x5-stride2": ((9, 8), (5, 5), 2, "same"),
  "5x5-stride3": ((9, 11), (5, 5), 3, "same"),
  "one-pixel": ((1, 1), (3, 3), 1, "same"),
  "one-pixel-stride2": ((1, 1), (5, 5), 2, "same"),
  "row": ((1, 6), (3, 3), 2, "same"),
  "oblong-window": ((6, 7), (2, 5), 2, "same"),
  "valid": ((6, 7), (3, 3), 2, ((0, 0), (0, 0))),
  "valid-tail": ((8, 8), (3, 3), 3, ((0, 0), (0, 0))),
  "bottom-right": ((8, 8), (3, 3), 2, ((0, 1), (0, 1))),
  "asymmetric": ((5, 6), (3, 3), 2, ((3, 1), (0, 4))),
  "beyond-window": ((4, 4), (3, 3), 1, ((5, 0), (4, 6))),
}


def _case(name: str):
  """Image size, window, stride and explicit padding."""
  size, window, stride, pad = _CASES[name]
  if pad == "same":
    pad = padding.resolve("same", size, window, stride)
  return size, window, stride, pad


def _inputs(size, window, stride, pad, *, batch=2, channels=3):
  """x, kernel and the output's gradient: all f64."""
  rng = np.random.default_rng(0)
  out = padding.out_size(size, window, stride, pad)
  x = rng.normal(size=(batch, *size, channels))
  kernel = rng.normal(size=(*window, 1, channels))
  return x, kernel, rng.normal(size=(batch, *out, channels))


def _reference(x, kernel, dy, stride, pad):
  """y, dx and dkernel, one multiplication after the other, in float64."""
  (top, _), (left, _) = pad
  y, dx, dkernel = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(kernel.shape)
  for row, col in np.ndindex(dy.shape[1:3]):
    for i, j in np.ndindex(kernel.shape[:2]):
      r, c = row * stride + i - top, col * stride + j - left
      if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
        y[:, row, col] += x[:, r, c] * kernel[i, j, 0]
        dx[:, r, c] += dy[:, row, col] * kernel[i, j, 0]
        dkernel[i, j, 0] += np.sum(x[:, r, c] * dy[:, row, col], axis=0)
  return y, dx, dkernel


def _compute(form, x, kernel, dy, stride, pad, dtype=jnp.float32):
  """y, dx and dkernel of one formulation."""
  x, kernel, dy = (jnp.asarray(a, dtype) for a in (x, kernel, dy))
  y, pullback = jax.vjp(
    functools.partial(form, stride=stride, padding=pad), x, kernel
  )
  return y, *pullback(dy)


@pytest.mark.parametrize(
  ("name", "form"),
  [
    *((name, "shifted") for name in _CASES),
    # XLA's own, which only has to be called as it should.
    *((name, "grouped") for name in ("3x3-stride2-mixed", "asymmetric")),
  ],
)
def test_values_and_gradients(name, form):
  size, window, stride, pad = _case(name)
  arrays = _inputs(size, window, stride, pad)
  expected = _reference(*arrays, stride, pad)
  function = depthwise.CANDIDATES[form]
  got = jax.jit(lambda *arrays: _compute(function, *arrays, stride, pad))(
    *(a.astype(np.float32) for a in arrays)
  )
  for what, a, b in zip(("y", "dx", "dkernel"), got, expected, strict=True):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=what)


def test_depthwise_conv_is_the_shifted_form_on_cpus():
  size, window, stride, pad = _case("3x3-stride2-mixed")
  x, kernel, _ = (
    a.astype(np.float32) for a in _inputs(size, window, stride, pad)
  )
  conv = functools.partial(depthwise.depthwise_conv, stride=stride, padding=pad)
  lowered = jax.jit(conv).trace(x, kernel).lower(lowering_platforms=("cpu",))
  assert "convolution" not in lowered.as_text()
  lowered = jax.jit(conv).trace(x, kernel).lower(lowering_platforms=("cuda",))
  assert "convolution" in lowered.as_text()


def test_the_stride_defaults_to_1():
  x, kernel = jnp.ones((1, 4, 5, 2)), jnp.ones((3, 3, 1, 2))
  y = depthwise.depthwise_conv(x, kernel, padding=((1, 1), (1, 1)))
  assert y.shape == (1, 4, 5, 2)
  assert y[0, 0, 0, 0] == 4
  assert y[0, 1, 1, 0] == 9


def test_vmap_over_replicas():
  """Several networks as one program: a leading axis on images and kernels."""
  size, window, stride, pad = _case("3x3-stride2-odd")
  replicas = [
    [(1 + i) * a for a in _inputs(size, window, stride, pad)] for i in range(3)
  ]
  stacked = [
    np.stack(arrays).astype(np.float32)
    for arrays in zip(*replicas, strict=True)
  ]
  got = jax.jit(
    jax.vmap(
      lambda *arrays: _compute(depthwise.depthwise_conv, *arrays, stride, pad)
    )
  )(*stacked)
  for i, arrays in enumerate(replicas):
    for a, b in zip(got, _reference(*arrays, stride, pad), strict=True):
      np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-4)


def test_scan_over_micro_batches():
  size, window, stride, pad = _case("3x3")
  x, kernel, dy = _inputs(size, window, stride, pad, batch=4)
  _, _, expected = _reference(x, kernel, dy, stride, pad)
  x, kernel, dy = (a.astype(np.float32) for a in (x, kernel, dy))

  @jax.jit
  def accumulated(x, kernel, dy):
    def add(total, part):
      _, _, dkernel = _compute(
        depthwise.depthwise_conv, part[0], kernel, part[1], stride, pad
      )
      return total + dkernel, None

    parts = tuple(a.reshape(2, 2, *a.shape[1:]) for a in (x, dy))
    return jax.lax.scan(add, jnp.zeros_like(kernel), parts)[0]

  np.testing.assert_allclose(
    accumulated(x, kernel, dy), expected, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize("name", ["3x3", "3x3-stride2-even"])
def test_bfloat16_sums_the_kernel_gradient_in_float32(name):
  """2,000 terms: a bfloat16 sum stalls far below, a float32 one rounds once."""
  _, window, stride, _ = _case(name)
  size = (32, 32)
  pad = padding.resolve("same", size, window, stride)
  arrays = [
    # Positive, so that nothing cancels; exact in bfloat16.
    np.asarray(jnp.asarray(np.abs(a), jnp.bfloat16), np.float64)
    for a in _inputs(size, window, stride, pad, batch=8)
  ]
  y, dx, dkernel = jax.jit(
    lambda *arrays: _compute(
      depthwise.shifted, *arrays, stride, pad, dtype=jnp.bfloat16
    )
  )(*(jnp.asarray(a, jnp.bfloat16) for a in arrays))
  assert y.dtype == dx.dtype == dkernel.dtype == jnp.bfloat16
  expected_y, expected_dx, expected = _reference(*arrays, stride, pad)
  # Nine positive terms, each rounded to 8 bits.
  np.testing.assert_allclose(np.asarray(y, np.float64), expected_y, rtol=0.02)
  np.testing.assert_allclose(np.asarray(dx, np.float64), expected_dx, rtol=0.02)
  # 2^-8 is half a unit in the last of bfloat16's 8 bits.
  np.testing.assert_allclose(
    np.asarray(dkernel, np.float64), expected, rtol=2**-8
  )


def test_kernels_that_do_not_fit_are_refused():
  for shape in ((3, 3, 1, 4), (3, 3, 3, 1), (3, 3, 2, 3), (3, 3, 3)):
    with pytest.raises(ValueError, match=r"\(kh, kw, 1, 3\), got \(3, 3,"):
      depthwise.depthwise_conv(
        np.ones((2, 8, 8, 3)), np.ones(shape), padding=((1, 1), (1, 1))
      )
  for size in ((2, 8), (8, 2)):
    with pytest.raises(ValueError, match="3x3 kernel does not fit"):
      depthwise.depthwise_conv(
        np.ones((1, *size, 3)),
        np.ones((3, 3, 1, 3)),
        stride=2,
        padding=((0, 0), (0, 0)),
      )
