"""Slides put together from patches."""

import numpy as np
import pytest

from mn_jax.explain import slide


def positions(*pairs):
  return np.array(pairs, np.int32)


def test_x_runs_to_the_right_and_y_down():
  layout = slide.grid(positions((101, 51), (151, 51), (101, 151)), 50)
  assert (layout.cell, layout.side, layout.shape()) == (50, 1, (3, 2))
  found = slide.spread(layout, np.array([1.0, 2.0, 3.0]))
  np.testing.assert_array_equal(found, [[1, 2], [np.nan, np.nan], [3, np.nan]])
  layout = slide.grid(positions((7, 9)), 50)
  np.testing.assert_array_equal(slide.spread(layout, np.array([0.3])), [[0.3]])
  far = positions((0, 0), (999_999_999, 1), (5, 999_999_999))
  with pytest.raises(ValueError, match=r"cells, more than 16777216"):
    slide.grid(far, 50)


def test_a_map_is_the_mean_of_the_patches_on_each_pixel():
  rng = np.random.default_rng(0)
  where = rng.integers(0, 40, (12, 2)).astype(np.int32) * 3
  values = rng.random(12)
  total, count = np.zeros((200, 200)), np.zeros((200, 200))
  for (x, y), value in zip(where - where.min(axis=0), values, strict=True):
    total[y : y + 9, x : x + 9] += value
    count[y : y + 9, x : x + 9] += 1
  layout = slide.grid(where, 9)
  assert layout.cell == 3
  found = slide.spread(layout, values).repeat(3, axis=0).repeat(3, axis=1)
  rows, columns = found.shape
  assert not count[rows:].any()
  assert not count[:, columns:].any()
  count = count[:rows, :columns]
  np.testing.assert_array_equal(np.isnan(found), count == 0)
  np.testing.assert_allclose(
    found[count > 0], total[:rows, :columns][count > 0] / count[count > 0]
  )


def test_the_mosaic_of_tiles_is_the_picture_they_were_cut_from():
  whole = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  where = positions(*((x, y) for y in (0, 10, 20) for x in (0, 20, 40)))
  tiles = np.stack([whole[y : y + 20, x : x + 20] for x, y in where])
  layout = slide.grid(where, 20)
  found = slide.mosaic(layout, tiles, largest=60)
  np.testing.assert_allclose(found, whole)
  # A third of the size: means of what lies there.
  small = slide.mosaic(layout, tiles, largest=12)
  expected = whole.reshape(8, 5, 12, 5, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(small, expected)


def test_the_mosaic_has_no_pixels_where_no_patch_is():
  layout = slide.grid(positions((0, 0), (8, 8)), 8)
  found = slide.mosaic(layout, np.zeros((2, 8, 8, 3), np.uint8), largest=16)
  assert found.shape == (16, 16, 3)
  np.testing.assert_array_equal(
    np.isnan(found[0, :, 0]), [False] * 8 + [True] * 8
  )
  assert np.isnan(found).mean() == 0.5


def test_shrinking_takes_shares_of_pixels():
  image = np.zeros((1, 3, 3, 3), np.uint8)
  image[0, 0, 0] = 90
  found = slide.shrink(image, 2)
  # A whole pixel and a half in each direction: 1 of 1.5 x 1.5.
  np.testing.assert_allclose(found[0, 0, 0], 90 / 2.25)
  np.testing.assert_allclose(found.sum(), 90 * 3 / 2.25)
