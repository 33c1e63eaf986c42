"""Tests of the parts of stained tissue that are drawn."""

import numpy as np
from numpy.random import Generator, Philox

from mn_jax.data.samples.canvas import Canvas


def _canvas(size: int = 60, seed: int = 0) -> Canvas:
  return Canvas(Generator(Philox(seed)), size)


def test_regions_cover_the_share_that_is_asked_for():
  for coverage in (0.1, 0.5, 0.9):
    mask = _canvas().region(15, coverage)
    assert 0 <= mask.min() < mask.max() <= 1
    assert abs((mask > 0.5).mean() - coverage) < 0.01


def test_scattered_points_keep_their_distance_and_cover_the_square():
  points = _canvas().scatter(10, 0.0)
  distance = np.hypot(*(points[:, None] - points[None]).T)
  np.fill_diagonal(distance, np.inf)
  np.testing.assert_allclose(distance.min(0), 10, rtol=1e-6)
  assert ((points > -3) & (points < 63)).all()
  # Each has a hexagon of this area.
  assert abs(len(points) / (66**2 / (np.sqrt(0.75) * 100)) - 1) < 0.15


def test_a_nucleus_is_drawn_where_it_is():
  nucleus = np.array([[20.0, 30.0, 5.0, 2.0, 0.0, 0.8]])  # long to the right
  drawn = _canvas().draw(nucleus)
  assert abs(drawn[20, 30] - 2.2 * np.tanh(0.8 / 2.2)) < 0.01
  assert drawn[20, 34] > 0.4 > 0.1 > drawn[20, 37]
  assert drawn[21, 30] > 0.4 > 0.1 > drawn[24, 30]
  assert abs(drawn.sum() / 0.8 - np.pi * 10) < 6


def test_nuclei_on_the_edges_are_cut_by_them():
  canvas = _canvas()
  edges = np.array([[-3.0, 30], [63.0, 30], [30, -3.0], [30, 63.0], [63, 63]])
  nuclei = canvas.nuclei(edges, 5.0, 0.0, 1.0, 1.0)
  drawn = canvas.draw(nuclei)
  assert drawn.shape == (60, 60)
  for row, column in ((0, 30), (59, 30), (30, 0), (30, 59)):
    assert drawn[row, column] > 0.5
  assert drawn[10:50, 10:50].max() < 1e-3


def test_points_outside_a_mask_are_dropped():
  mask = np.zeros((60, 60))
  mask[:, :30] = 1
  points = np.array([[5, 29.4], [5, 29.6], [-2, 3], [-4, 3], [61, 3], [5, 61]])
  kept = _canvas().inside(points, mask)
  np.testing.assert_array_equal(kept, points[[0, 2, 4]])
