"""Tests of resizing and normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mn_jax.augment import inputs

_HALF = (0.5, 0.5, 0.5)


def _images(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def test_halves_normalise_to_exactly_minus_1_and_1():
  values = np.arange(256, dtype=np.uint8)
  images = jnp.asarray(np.stack([values] * 3, axis=-1).reshape(1, 16, 16, 3))

  def convert(images):
    return inputs.to_input(images, resolution=0, mean=_HALF, std=_HALF)

  for x in (convert(images), jax.jit(convert)(images)):
    assert x.dtype == jnp.float32
    assert (x.min(), x.max()) == (-1, 1)
    np.testing.assert_allclose(
      x[..., 0].reshape(-1), values / 127.5 - 1, rtol=0, atol=2e-7
    )


def test_every_channel_has_its_mean_and_deviation():
  images = _images(2, 3, 4)
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  x = inputs.to_input(jnp.asarray(images), resolution=0, mean=mean, std=std)
  expected = (images / 255 - np.array(mean)) / np.array(std)
  np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("size", "resolution"), [(50, 32), (50, 224), (32, 64), (30, 13)]
)
def test_resizing_is_pillows_antialiased_bilinear(size, resolution):
  images = _images(2, size, size)
  # Mean 0 and this deviation leave the pixel values as they are.
  x = inputs.to_input(
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
      # Pillow sums in float64, of 255: a tenth of this is float32's rounding.
      np.testing.assert_allclose(
        got[..., channel], np.asarray(expected), rtol=0, atol=2e-3
      )


def test_the_same_resolution_or_floats_of_the_same_values_change_nothing():
  images = jnp.asarray(_images(2, 6, 6))

  def convert(images, resolution):
    return inputs.to_input(images, resolution=resolution, mean=_HALF, std=_HALF)

  np.testing.assert_array_equal(convert(images, 0), convert(images, 6))
  floats = images.astype(jnp.float32)
  np.testing.assert_array_equal(convert(images, 9), convert(floats, 9))


def test_oblong_images_become_square():
  images = jnp.asarray(_images(1, 6, 9))
  x = inputs.to_input(images, resolution=6, mean=_HALF, std=_HALF)
  assert x.shape == (1, 6, 6, 3)
