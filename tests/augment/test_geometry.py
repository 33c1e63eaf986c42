"""Tests of flips, turns, crops and affine resampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mn_jax.augment import geometry, resampling

_resample = jax.jit(resampling.scale_and_translate)
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
  warped = np.asarray(_resample(np.float32(images), maps))
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
