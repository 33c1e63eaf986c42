"""Tests of random rectangles."""

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import boxes


def test_sides_have_the_area_and_no_more_than_the_ratio():
  area = jnp.linspace(0.01, 1, 2000)
  height, width = boxes.random_sides(jax.random.key(0), area, max_ratio=3.0)
  np.testing.assert_allclose(height * width, area, rtol=1e-5)
  ratio = np.asarray(height / width)
  # An area of a third still has room for the largest ratio, a larger one not.
  assert (ratio[area < 1 / 3] > 2.5).any()
  assert (ratio[area < 1 / 3] < 1 / 2.5).any()
  assert ratio.max() <= 3.0001
  assert ratio.min() >= 1 / 3.0001
  assert max(height.max(), width.max()) <= 1.000001


def test_inside_is_from_start_up_to_stop():
  start = (jnp.array([1, 0]), jnp.array([2, 0]))
  stop = (jnp.array([3, 0]), jnp.array([4, 5]))
  found = boxes.inside(start, stop, (4, 5))
  expected = np.zeros((2, 4, 5, 1), bool)
  expected[0, 1:3, 2:4] = True
  np.testing.assert_array_equal(found, expected)
