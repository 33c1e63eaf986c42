"""Tests of pooling against plain NumPy."""

import jax
import numpy as np
import pytest

from mn_jax.ops import padding, pooling


def _windows(x, window, stride, rule, fill):
  """[batch, oh, ow, window * window, channels], padded with `fill`."""
  pads = padding.resolve(rule, x.shape[1:3], (window, window), stride)
  padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
  views = np.lib.stride_tricks.sliding_window_view(
    padded, (window, window), axis=(1, 2)
  )[:, ::stride, ::stride]
  return views.reshape(*views.shape[:4], -1)


CASES = [
  (3, 2, "same"),
  (3, 2, "symmetric"),
  (3, 2, "valid"),
  (2, 2, "valid"),
  (3, 1, "same"),
]


def _images(size):
  # All below 0, so that a padded 0 would win.
  draw = np.random.default_rng(size)
  return -draw.uniform(1, 2, (2, size, size + 1, 3)).astype(np.float32)


@pytest.mark.parametrize(("window", "stride", "rule"), CASES)
def test_max_is_of_the_pixels_inside(window, stride, rule):
  for size in (6, 7):
    x = _images(size)
    got = pooling.max_pool(x, window, stride=stride, padding=rule)
    expected = _windows(x, window, stride, rule, -np.inf).max(-1)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("window", "stride", "rule"), CASES)
@pytest.mark.parametrize("count_padding", [False, True])
def test_mean_counts_padding_or_not(window, stride, rule, count_padding):
  x = _images(7)
  got = pooling.avg_pool(
    x, window, stride=stride, padding=rule, count_padding=count_padding
  )
  filled = _windows(x, window, stride, rule, 0.0 if count_padding else np.nan)
  np.testing.assert_allclose(got, np.nanmean(filled, -1), rtol=1e-6)


def test_gradient_of_max_goes_to_the_largest():
  x = _images(6)[:1]

  def total(x):
    return pooling.max_pool(x, 2, stride=2, padding="valid").sum()

  gradient = np.asarray(jax.grad(total)(x))
  assert gradient.sum() == 9 * 3
  chosen = _windows(x, 2, 2, "valid", 0.0).max(-1)
  np.testing.assert_array_equal(
    np.sort(x[gradient == 1]), np.sort(chosen.ravel())
  )
