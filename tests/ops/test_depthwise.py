"""Tests of the depthwise convolution, whatever its formulation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.ops import depthwise
from tests.ops import depthwise_cases as cases


# XLA's own, which only has to be called as it should.
@pytest.mark.parametrize("name", ["3x3-stride2-mixed", "asymmetric"])
def test_grouped_values_and_gradients(name):
  cases.check(depthwise.grouped, name)


def test_depthwise_conv_is_the_shifted_form_on_cpus():
  size, window, stride, pad = cases.case("3x3-stride2-mixed")
  x, kernel, _ = (
    a.astype(np.float32) for a in cases.inputs(size, window, stride, pad)
  )
  conv = functools.partial(depthwise.depthwise_conv, stride=stride, padding=pad)
  lowered = jax.jit(conv).trace(x, kernel).lower(lowering_platforms=("cpu",))
  assert "convolution" not in lowered.as_text()
  lowered = jax.jit(conv).trace(x, kernel).lower(lowering_platforms=("cuda",))
  assert "convolution" in lowered.as_text()


def test_what_a_platform_runs_is_among_what_is_compared_there():
  for platform, formulation in depthwise.FORMULATIONS.items():
    assert formulation in depthwise.candidates(platform).values()
  assert list(depthwise.candidates("cpu")) == ["shifted", "grouped"]
  assert list(depthwise.candidates("tpu")) == ["shifted", "grouped", "blocked"]


def test_the_stride_defaults_to_1():
  x, kernel = jnp.ones((1, 4, 5, 2)), jnp.ones((3, 3, 1, 2))
  y = depthwise.depthwise_conv(x, kernel, padding=((1, 1), (1, 1)))
  assert y.shape == (1, 4, 5, 2)
  assert y[0, 0, 0, 0] == 4
  assert y[0, 1, 1, 0] == 9


def test_vmap_over_replicas():
  """Several networks as one program: a leading axis on images and kernels."""
  size, window, stride, pad = cases.case("3x3-stride2-odd")
  replicas = [
    [(1 + i) * a for a in cases.inputs(size, window, stride, pad)]
    for i in range(3)
  ]
  stacked = [
    np.stack(arrays).astype(np.float32)
    for arrays in zip(*replicas, strict=True)
  ]
  got = jax.jit(
    jax.vmap(
      lambda *arrays: cases.compute(
        depthwise.depthwise_conv, *arrays, stride, pad
      )
    )
  )(*stacked)
  for i, arrays in enumerate(replicas):
    for a, b in zip(got, cases.reference(*arrays, stride, pad), strict=True):
      np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-4)


def test_scan_over_micro_batches():
  size, window, stride, pad = cases.case("3x3")
  x, kernel, dy = cases.inputs(size, window, stride, pad, batch=4)
  _, _, expected = cases.reference(x, kernel, dy, stride, pad)
  x, kernel, dy = (a.astype(np.float32) for a in (x, kernel, dy))

  @jax.jit
  def accumulated(x, kernel, dy):
    def add(total, part):
      _, _, dkernel = cases.compute(
        depthwise.depthwise_conv, part[0], kernel, part[1], stride, pad
      )
      return total + dkernel, None

    parts = tuple(a.reshape(2, 2, *a.shape[1:]) for a in (x, dy))
    return jax.lax.scan(add, jnp.zeros_like(kernel), parts)[0]

  np.testing.assert_allclose(
    accumulated(x, kernel, dy), expected, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
  ("padding", "pixels"),
  [
    ("SAME", ((0, 1), (1, 1))),
    ("same", ((0, 1), (1, 1))),
    ("VALID", ((0, 0), (0, 0))),
    ("symmetric", ((1, 1), (1, 1))),
    (2, ((2, 2), (2, 2))),
    ([[0, 1], [2, 3]], ((0, 1), (2, 3))),
  ],
)
def test_padding_in_all_its_forms(padding, pixels):
  x, kernel = (
    jnp.asarray(a, jnp.float32)
    for a in cases.inputs((8, 7), (3, 3), 2, pixels)[:2]
  )
  got = depthwise.depthwise_conv(x, kernel, stride=2, padding=padding)
  expected = depthwise.grouped(x, kernel, stride=2, padding=pixels)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_gradients_of_gradients():
  """As of a gradient penalty: the second derivative, in reverse mode."""
  size, window, stride, pad = cases.case("3x3-stride2-mixed")
  x, kernel, dy = (
    jnp.asarray(a, jnp.float32) for a in cases.inputs(size, window, stride, pad)
  )

  def penalty(form, x, kernel):
    def loss(x):
      return jnp.sum(jnp.sin(form(x, kernel, stride=stride, padding=pad)) * dy)

    return jnp.sum(jax.grad(loss)(x) ** 2)

  got, expected = (
    jax.jit(jax.grad(functools.partial(penalty, form), (0, 1)))(x, kernel)
    for form in (depthwise.depthwise_conv, depthwise.grouped)
  )
  for a, b in zip(got, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_forward_mode_is_refused():
  x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
  with pytest.raises(TypeError, match="forward-mode"):
    jax.jvp(
      lambda x: depthwise.depthwise_conv(x, kernel, padding=1), (x,), (x,)
    )


def test_wrong_arguments_are_refused():
  x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
  conv = functools.partial(depthwise.depthwise_conv, padding=1)
  with pytest.raises(ValueError, match=r"\(batch, h, w, channels\), got"):
    conv(x[0], kernel)
  with pytest.raises(TypeError, match="got bfloat16 and float32"):
    conv(x.astype(jnp.bfloat16), kernel)
  with pytest.raises(TypeError, match="got int32 and int32"):
    conv(x.astype(jnp.int32), kernel.astype(jnp.int32))
  for stride in ((1, 1), 0, 1.0):
    with pytest.raises(ValueError, match="must be one number, 1 or more"):
      conv(x, kernel, stride=stride)


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
