"""Tests of flips, turns, crops and affine resampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from mn_jax.augment import geometry

_warp = jax.jit(geometry.warp)
_random_crops = jax.jit(
  geometry.random_crops, static_argnums=1, static_argnames=("size", "min_area")
)


def _images(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def _copies(image: np.ndarray, count: int, change, seed: int = 0) -> np.ndarray:
  """`count` random changes of one image."""
  images = np.broadcast_to(image, (count, *image.shape))
  changed = jax.jit(change)(images, jax.random.key(seed))
  assert changed.dtype == jnp.uint8
  return np.asarray(changed)


def _counts(copies: np.ndarray, symmetries: list[np.ndarray]) -> list[int]:
  """How often each symmetry occurs; all copies must be one of them."""
  flat = copies.reshape(len(copies), -1)
  counts = [int((flat == s.reshape(-1)).all(1).sum()) for s in symmetries]
  assert sum(counts) == len(copies)
  return counts


def _assert_even(counts: list[int]) -> None:
  """Within five standard deviations of equal shares."""
  n, k = sum(counts), len(counts)
  spread = 5 * np.sqrt(n / k * (1 - 1 / k))
  assert all(abs(c - n / k) < spread for c in counts), counts


def _warped(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
  maps = np.float32(maps).reshape(-1, 3, 3)
  return np.asarray(_warp(np.float32(images), maps))


def test_flips_make_their_images_equally_often():
  (image,) = _images(1, 4, 5)
  copies = _copies(image, 1000, lambda x, k: geometry.flip(x, k, "horizontal"))
  _assert_even(_counts(copies, [image, image[:, ::-1]]))
  copies = _copies(image, 2000, lambda x, k: geometry.flip(x, k, "both"))
  symmetries = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
  _assert_even(_counts(copies, symmetries))


def test_quarter_turns_make_four_images_equally_often():
  (image,) = _images(1, 5, 5)
  copies = _copies(image, 2000, geometry.quarter_turns)
  _assert_even(_counts(copies, [np.rot90(image, k) for k in range(4)]))


def test_oblong_images_cannot_be_turned_by_a_quarter():
  with pytest.raises(ValueError, match="got images of 4x5 pixels; valid: squ"):
    _copies(_images(1, 4, 5)[0], 2, geometry.quarter_turns)


def test_padded_crops_are_windows_of_the_reflected_image_equally_often():
  (image,) = _images(1, 4, 5)
  copies = _copies(image, 3000, lambda x, k: geometry.padded_crop(x, k, 2))
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
  windows = [padded[i : i + 4, j : j + 5] for i in range(5) for j in range(5)]
  _assert_even(_counts(copies, windows))


def test_an_affine_quarter_turn_is_rot90():
  images = _images(3, 9, 12)[:, :, :9]
  # The result's row is the source's column, and its column leads downward.
  turn = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
  turned = _warped(images, [turn] * 3)
  np.testing.assert_array_equal(turned, np.rot90(images, 1, axes=(1, 2)))
  angle = np.pi / 2  # Of which the cosine is not quite 0.
  cos, sin = np.cos(angle), np.sin(angle)
  turn = [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]
  np.testing.assert_allclose(
    _warped(images, [turn] * 3), np.rot90(images, -1, axes=(1, 2)), atol=1e-3
  )


def test_the_identity_leaves_every_bit():
  images = _images(2, 5, 8)
  maps = np.broadcast_to(np.eye(3), (2, 3, 3))
  np.testing.assert_array_equal(_warped(images, maps), images)


def test_whole_pixels_move_and_edges_are_mirrored():
  images = _images(1, 4, 6)
  moved = _warped(images, [[1, 0, 2], [0, 1, -3], [0, 0, 1]])
  padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="symmetric")
  np.testing.assert_array_equal(moved, padded[:, 5:9, 0:6])


def test_warp_is_scipys_affine_transform():
  images = _images(3, 9, 12)
  draw = np.random.default_rng(1)
  maps = np.tile(np.eye(3), (3, 1, 1))
  maps[:, :2, :2] += draw.normal(size=(3, 2, 2))
  maps[:, :2, 2] = 20 * draw.normal(size=(3, 2))
  warped = _warped(images, maps)
  center = np.array([4, 5.5])
  for image, matrix, got in zip(images, maps, warped, strict=True):
    offset = matrix[:2, 2] + center - matrix[:2, :2] @ center
    for channel in range(3):
      expected = scipy.ndimage.affine_transform(
        image[..., channel].astype(np.float64),
        matrix[:2, :2],
        offset,
        order=1,
        mode="reflect",  # Of SciPy, which is NumPy's symmetric.
      )
      # Coordinates of up to 60 pixels in float32, times steps of up to 255.
      np.testing.assert_allclose(got[..., channel], expected, atol=5e-3)


def test_composed_maps_are_one_after_the_other():
  draw = np.random.default_rng(0)
  first, second = draw.normal(size=(2, 4, 3, 3)).astype(np.float32)
  point = draw.normal(size=(4, 3, 1)).astype(np.float32)
  both = np.asarray(geometry.compose(jnp.asarray(first), jnp.asarray(second)))
  np.testing.assert_allclose(both @ point, second @ (first @ point), rtol=1e-4)


def test_random_crops_are_pillows_enlarged_boxes():
  size, count = (20, 30), 60
  images = _images(count, *size)
  maps = np.asarray(
    _random_crops(jax.random.key(0), count, size=size, min_area=0.3)
  )
  warped = _warped(images, maps)
  for image, matrix, got in zip(images, maps, warped, strict=True):
    sides = np.diag(matrix)[:2]
    assert 0.3 <= np.prod(sides) <= 1.00001
    assert 3 / 4.001 < sides[0] / sides[1] < 4.001 / 3
    # In pixels from the image's corner: top, left, bottom, right.
    middle, half = np.array(size) / 2 + matrix[:2, 2], sides * size / 2
    (top, left), (bottom, right) = middle - half, middle + half
    assert min(top, left) > -1e-4
    assert bottom < size[0] + 1e-4
    assert right < size[1] + 1e-4
    expected = Image.fromarray(image[..., 0].astype(np.float32)).resize(
      size[::-1],
      Image.Resampling.BILINEAR,
      box=(max(left, 0), max(top, 0), min(right, size[1]), min(bottom, 20)),
    )
    # Coordinates of 30 pixels in float32, times steps of up to 255.
    np.testing.assert_allclose(got[..., 0], np.asarray(expected), atol=5e-3)


def test_random_crops_differ_in_area_shape_and_place():
  maps = np.asarray(
    _random_crops(jax.random.key(0), 500, size=(8, 8), min_area=0.2)
  )
  area = maps[:, 0, 0] * maps[:, 1, 1]
  assert area.mean() == pytest.approx(0.6, abs=0.05)
  assert (area.min(), area.max()) == pytest.approx((0.2, 1), abs=0.02)
  ratio = np.log(maps[:, 0, 0] / maps[:, 1, 1])
  assert abs(ratio).max() == pytest.approx(np.log(4 / 3), abs=0.01)
  assert abs(ratio.mean()) < 0.05
  assert abs(maps[:, :2, 2].mean(0)).max() < 0.1
  assert maps[:, :2, 2].std(0).min() > 0.3
