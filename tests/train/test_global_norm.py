"""Tests of the norm of all gradients: every formulation, on the CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.train import global_norm

_ALL = {f.__name__: jax.jit(f) for f in global_norm.FORMULATIONS.values()}
# Small and large gradients, by what a formulation treats alike.
SHAPES = {
  "both": [(3, 3, 1, 32), (1, 1, 128, 256), (32,), (), (30_000,), (256, 100)],
  "small": [(32,), (4, 8)],
  "large": [(200, 200), (150, 160)],
}


def _gradients(shapes):
  draw = np.random.default_rng(0)
  return [np.float32(draw.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize("how", _ALL)
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_the_norm_is_numpys_and_no_bit_of_a_gradient_changes(how, shapes):
  gradients = _gradients(shapes)
  same, norm = _ALL[how](gradients)
  for got, expected in zip(same, gradients, strict=True):
    np.testing.assert_array_equal(got, expected)
  expected = np.sqrt(sum(np.sum(np.float64(x) ** 2) for x in gradients))
  np.testing.assert_allclose(norm, expected, rtol=1e-6)


@pytest.mark.parametrize("how", _ALL)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 1])
def test_what_is_not_finite_shows_in_the_norm(how, value, where):
  gradients = _gradients(SHAPES["both"])
  gradients[where].flat[-1] = value
  assert not np.isfinite(_ALL[how](gradients)[1])


def test_trees_keep_their_form_and_frozen_parameters_have_no_part():
  grads = {"block": {"kernel": jnp.ones((3, 4)), "bias": None}}
  grads["head"] = jnp.full((2,), 2.0)
  same, norm = jax.jit(global_norm.with_norm)(grads)
  assert jax.tree.structure(same) == jax.tree.structure(grads)
  np.testing.assert_allclose(norm, np.sqrt(12 + 8), rtol=1e-6)
