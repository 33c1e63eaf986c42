"""Tests of augmentation, resizing and normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mn_jax import augment
from mn_jax.config import AugmentConfig

_HALF = (0.5, 0.5, 0.5)


def _images(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def _copies(image: np.ndarray, count: int, seed: int, **what) -> np.ndarray:
  """`count` random changes of one image."""
  images = np.broadcast_to(image, (count, *image.shape))
  changed = augment.augment(
    jnp.asarray(images), jax.random.key(seed), AugmentConfig(**what)
  )
  assert changed.dtype == jnp.uint8
  return np.asarray(changed)


def _counts(copies: np.ndarray, symmetries: list[np.ndarray]) -> list[int]:
  """How often each symmetry occurs; all copies must be one of them."""
  flat = copies.reshape(len(copies), -1)
  counts = [int((flat == s.reshape(-1)).all(1).sum()) for s in symmetries]
  assert sum(counts) == len(copies)
  return counts


def _flips(image: np.ndarray) -> list[np.ndarray]:
  return [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]


def _turns(image: np.ndarray) -> list[np.ndarray]:
  return [np.rot90(image, k) for k in range(4)]


def _assert_even(counts: list[int]) -> None:
  """Within five standard deviations of equal shares."""
  n, k = sum(counts), len(counts)
  spread = 5 * np.sqrt(n / k * (1 - 1 / k))
  assert all(abs(c - n / k) < spread for c in counts), counts


def test_flips_make_four_images_equally_often():
  (image,) = _images(1, 4, 5)
  copies = _copies(image, 2000, seed=0, flip=True)
  _assert_even(_counts(copies, _flips(image)))


def test_quarter_turns_make_four_images_equally_often():
  (image,) = _images(1, 5, 5)
  copies = _copies(image, 2000, seed=0, quarter_turns=True)
  _assert_even(_counts(copies, _turns(image)))


def test_both_make_the_eight_symmetries_equally_often():
  (image,) = _images(1, 5, 5)
  copies = _copies(image, 4000, seed=1, flip=True, quarter_turns=True)
  symmetries = _turns(image) + _turns(image[::-1])
  _assert_even(_counts(copies, symmetries))


def test_nothing_asked_for_changes_nothing():
  images = jnp.asarray(_images(3, 4, 5))
  same = augment.augment(images, jax.random.key(0), AugmentConfig())
  np.testing.assert_array_equal(same, images)


def test_the_key_decides():
  (image,) = _images(1, 4, 4)
  first, again, other = (
    _copies(image, 50, seed, flip=True, quarter_turns=True)
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_every_image_stays_itself():
  """Pixels do not cross between the images of a batch."""
  images = _images(16, 4, 4)
  changed = augment.augment(
    jnp.asarray(images),
    jax.random.key(0),
    AugmentConfig(flip=True, quarter_turns=True),
  )
  for before, after in zip(images, np.asarray(changed), strict=True):
    assert sum(_counts(after[None], _turns(before) + _turns(before[::-1]))) == 1


def test_oblong_images_cannot_be_turned_by_a_quarter():
  with pytest.raises(ValueError, match="got images of 4x5 pixels; valid: squ"):
    _copies(_images(1, 4, 5)[0], 2, 0, quarter_turns=True)


@pytest.mark.parametrize("jit", [False, True])
def test_halves_normalise_to_exactly_minus_1_and_1(jit):
  values = np.arange(256, dtype=np.uint8)
  images = jnp.asarray(np.stack([values] * 3, axis=-1).reshape(1, 16, 16, 3))

  def convert(images):
    return augment.to_input(images, resolution=0, mean=_HALF, std=_HALF)

  x = (jax.jit(convert) if jit else convert)(images)
  assert x.dtype == jnp.float32
  assert (x.min(), x.max()) == (-1, 1)
  np.testing.assert_allclose(
    x[..., 0].reshape(-1), values / 127.5 - 1, rtol=0, atol=2e-7
  )


def test_every_channel_has_its_mean_and_deviation():
  images = _images(2, 3, 4)
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  x = augment.to_input(jnp.asarray(images), resolution=0, mean=mean, std=std)
  expected = (images / 255 - np.array(mean)) / np.array(std)
  np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("size", "resolution"), [(50, 32), (50, 224), (32, 64), (30, 13)]
)
def test_resizing_is_pillows_antialiased_bilinear(size, resolution):
  images = _images(2, size, size)
  # Mean 0 and this deviation leave the pixel values as they are.
  x = augment.to_input(
    jnp.asarray(images),
    resolution=resolution,
    mean=(0, 0, 0),
    std=(1 / 255,) * 3,
  )
  assert x.shape == (2, resolution, resolution, 3)
  for image, got in zip(images, np.asarray(x), strict=True):
    for channel in range(3):
      expected = Image.fromarray(image[..., channel].astype(np.float32)).resize(
        (resolution, resolution), Image.Resampling.BILINEAR
      )
      np.testing.assert_allclose(
        got[..., channel], np.asarray(expected), atol=1e-2
      )


def test_the_same_resolution_leaves_the_pixels():
  images = jnp.asarray(_images(2, 6, 6))
  kept, resized = (
    augment.to_input(images, resolution=n, mean=_HALF, std=_HALF)
    for n in (0, 6)
  )
  np.testing.assert_array_equal(kept, resized)


def test_oblong_images_become_square():
  images = jnp.asarray(_images(1, 6, 9))
  x = augment.to_input(images, resolution=6, mean=_HALF, std=_HALF)
  assert x.shape == (1, 6, 6, 3)
