"""Tests of the figures as arrays."""

import matplotlib.axes
import numpy as np
import pytest

from mn_jax.observe import figures


def _assert_rgb(image: np.ndarray) -> None:
  assert image.dtype == np.uint8
  assert image.ndim == 3
  assert image.shape[2] == 3
  assert min(image.shape[:2]) > 200
  # White paper with something dark on it.
  assert image[0, 0].tolist() == [255, 255, 255]
  assert image.min() < 100


def test_confusion_matrix_without_images_of_a_class():
  for matrix in ([[0, 0], [3, 1]], [[0, 0], [0, 0]]):
    image = figures.confusion_matrix(np.array(matrix), ("a", "b"), "title")
    _assert_rgb(image)


def test_confusion_matrix_is_dark_where_the_share_is_large():
  """Rows are true classes: a full first column means all predicted class 0."""
  image = figures.confusion_matrix(
    np.array([[9, 0], [1000, 0]]), ("a", "b"), ""
  )
  dark = (image[..., 0].astype(int) < 60) & (image[..., 2] > 90)
  rows, cols = np.nonzero(dark)
  # Both cells of one column, whatever their counts.
  assert np.ptp(rows) > 1.5 * np.ptp(cols)


@pytest.mark.parametrize(("classes", "texts"), [(25, 625), (26, 0), (1000, 0)])
def test_many_classes_have_no_numbers_in_their_cells(
  monkeypatch, classes, texts
):
  """A text for each of a million cells would take longer than training."""
  found = []
  write = matplotlib.axes.Axes.text

  def count(axes, *arguments, **options):
    found.append(arguments)
    return write(axes, *arguments, **options)

  monkeypatch.setattr(matplotlib.axes.Axes, "text", count)
  names = tuple(f"class {i}" for i in range(classes))
  image = figures.confusion_matrix(np.eye(classes, dtype=int), names, "title")
  _assert_rgb(image)
  assert len(found) == texts
  if not texts:
    assert max(image.shape) < 1100  # and the figure grows no more


def test_pr_curve_and_undefined_ones():
  for positive, scores in (
    ([True, False, True, False], [0.9, 0.4, 0.3, 0.1]),
    ([False] * 4, [0.1, 0.2, 0.3, 0.4]),
    ([True] * 4, [0.1, 0.2, 0.3, 0.4]),
    ([True, False, True, False], [0.5] * 4),
    ([True, False, True, False], [np.nan] * 4),
  ):
    _assert_rgb(figures.pr_curve(np.array(positive), np.array(scores), "title"))


def test_image_grid_lays_out_in_rows_with_a_gap():
  images = np.random.default_rng(0).integers(0, 255, (5, 3, 4, 3), np.uint8)
  grid = figures.image_grid(images, columns=2, scale=2)
  # Three rows of 6 pixels and two columns of 8, with gaps of 2.
  assert grid.shape == (3 * 6 + 4 * 2, 2 * 8 + 3 * 2, 3)
  assert grid.dtype == np.uint8
  for i, image in enumerate(images):
    top, left = 2 + 8 * (i // 2), 2 + 10 * (i % 2)
    enlarged = np.kron(image, np.ones((2, 2, 1), np.uint8))
    np.testing.assert_array_equal(
      grid[top : top + 6, left : left + 8], enlarged
    )
  # All else is white: the gaps, and where a sixth image would be.
  assert (grid == 255).sum() >= grid.size - images.size * 4
  assert (grid[-8:, -10:] == 255).all()
  images = np.zeros((1, 5, 5, 3), np.uint8)  # fewer than columns
  assert figures.image_grid(images, columns=8, scale=1).shape == (9, 58, 3)
  assert not images.any()
