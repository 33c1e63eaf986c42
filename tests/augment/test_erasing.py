"""Tests of random erasing."""

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import erasing

_erase = jax.jit(erasing.erase)
# No byte: what is covered shows, whatever its colour.
_NEVER = -1.0


def _erased(count, probability, size=(20, 30)):
  """(images, bool[count, h, w]: where they were covered)."""
  images = jnp.full((count, *size, 3), _NEVER)
  changed = np.asarray(_erase(images, jax.random.key(0), probability))
  return changed, (changed != _NEVER).all(-1)


def test_one_rectangle_of_one_colour_and_the_rest_untouched():
  images, covered = _erased(600, 1.0)
  assert ((images != _NEVER).any(-1) == covered).all()
  for image, mask in zip(images, covered, strict=True):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask.sum() == len(rows) * len(columns)
    assert len(rows) == rows[-1] - rows[0] + 1
    assert len(columns) == columns[-1] - columns[0] + 1
    assert (image[mask] == image[mask][0]).all()
  inside = images[covered]
  assert inside.min() >= 0
  assert inside.max() <= 255
  assert len(np.unique(images.max((1, 2)), axis=0)) == 600


def test_areas_shapes_and_places_vary_as_in_the_paper():
  size = (100, 100)
  _, covered = _erased(600, 1.0, size)
  area = covered.mean((1, 2))
  # Sides are rounded to whole pixels.
  assert 0.015 < area.min() < 0.04
  assert 0.36 < area.max() < 0.42
  ratio = covered.any(2).sum(1) / covered.any(1).sum(1)
  assert 2.5 < ratio.max() < 3.7
  assert 1 / 3.7 < ratio.min() < 1 / 2.5
  where = covered.mean(0)
  # Up to the edges.
  assert min(where[0].max(), where[-1].max(), where[:, 0].max()) > 0
  assert where[:, -1].max() > 0
  np.testing.assert_allclose(where, where[::-1, ::-1], atol=0.12)


def test_the_probability_is_that_of_a_rectangle():
  for probability, low, high in ((0, 0, 0), (0.3, 125, 235), (1, 600, 600)):
    _, covered = _erased(600, float(probability))
    assert low <= covered.any((1, 2)).sum() <= high


def test_every_image_of_a_few_pixels_gets_one():
  _, covered = _erased(600, 1.0, (2, 2))
  assert covered.any((1, 2)).all()
