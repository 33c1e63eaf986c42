"""Tests of the random choice of changes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from mn_jax.augment import colour, randaugment, resampling
from mn_jax.config.sections.augment import AugmentConfig

_COUNT = len(randaugment.OPERATIONS)


def _draw(count=60, choices=2, magnitude=6.0, seed=0):
  return randaugment.draw(
    jax.random.key(seed), count, choices=choices, magnitude=magnitude
  )


_recolour = jax.jit(randaugment.recolour)


@jax.jit
def _change(images, strengths):
  """All operations: first where pixels are, then their colours."""
  maps = randaugment.maps(strengths, images.shape[1:3])
  return randaugment.recolour(resampling.warp(images, maps), strengths)


def _only(name: str | None, value: float, count: int = 1):
  """Strengths of one operation, the others not chosen."""
  return {
    key: jnp.full(count, value if key == name else 0.0)
    for key in randaugment.OPERATIONS
  }


def _images(count=3, low=0, high=256) -> np.ndarray:
  return np.random.default_rng(0).integers(
    low, high, (count, 8, 8, 3), np.uint8
  )


def test_every_image_gets_so_many_different_operations():
  for choices in (1, 2, 5, _COUNT):
    strengths = np.stack(list(_draw(choices=choices).values()))
    np.testing.assert_array_equal((strengths != 0).sum(0), choices)
    np.testing.assert_allclose(abs(strengths[strengths != 0]), 0.6)


def test_operations_and_directions_are_drawn_evenly():
  strengths = np.stack(list(_draw(6000, choices=3).values()))
  expected = 6000 * 3 / _COUNT
  spread = 5 * np.sqrt(expected)
  assert (abs((strengths != 0).sum(1) - expected) < spread).all()
  assert (abs((strengths > 0).sum(1) - expected / 2) < spread).all()
  # Any two are chosen together.
  together = (strengths != 0).astype(int) @ (strengths != 0).astype(int).T
  assert together.min() > 100


def test_the_config_allows_as_many_as_there_are():
  (field,) = (
    f for f in dataclasses.fields(AugmentConfig) if f.name == "randaugment"
  )
  assert field.metadata["high"] == _COUNT


def test_magnitude_0_leaves_every_bit():
  images = jnp.asarray(_images(60), jnp.float32)
  strengths = _draw(choices=_COUNT, magnitude=0.0)
  np.testing.assert_array_equal(_change(images, strengths), images)


@pytest.mark.parametrize("magnitude", [1.0, 10.0])
def test_all_operations_at_once_stay_in_range(magnitude):
  strengths = _draw(60, _COUNT, magnitude)
  flat = [np.full((60, 8, 8, 3), value) for value in (0, 128, 255)]
  for images in (_images(60), *flat):
    changed = _recolour(np.float32(images), strengths)
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("rotate", [[np.cos(np.pi / 6), -0.5, 0], [0.5, np.cos(np.pi / 6), 0]]),
    ("shear_rows", [[1, 0.3, 0], [0, 1, 0]]),
    ("shear_columns", [[1, 0, 0], [0.3, 1, 0]]),
    ("translate_rows", [[1, 0, 10 * 150 / 331], [0, 1, 0]]),
    ("translate_columns", [[1, 0, 0], [0, 1, 20 * 150 / 331]]),
    ("brightness", [[1, 0, 0], [0, 1, 0]]),
  ],
)
def test_maps_of_single_operations(name, expected):
  (found,) = np.asarray(randaugment.maps(_only(name, 1.0), (10, 20)))
  np.testing.assert_allclose(found, [*expected, [0, 0, 1]], atol=1e-6)


def test_maps_keep_the_area_whatever_is_chosen():
  found = np.asarray(randaugment.maps(_draw(60, _COUNT, 10.0), (10, 20)))
  np.testing.assert_allclose(
    np.linalg.det(found.astype(np.float64)), 1, rtol=0.1
  )


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_get_a_factor_or_its_inverse(name):
  images = jnp.asarray(_images(1, 100, 140), jnp.float32)
  change = jax.jit(getattr(colour, name))
  for strength, factor in ((1.0, 1.9), (-1.0, 1 / 1.9), (0.5, 1.45)):
    found = _recolour(images, _only(name, strength))
    expected = change(images, jnp.full(1, factor))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_posterize_and_solarize_are_pillows():
  images = _images(4, 1)  # 0 is above no threshold of 0.
  bits = np.array([4, 5, 6, 7])
  found = jax.jit(randaugment.posterize)(
    np.float32(images), np.float32((8 - bits) / 4)
  )
  for image, got, count in zip(images, np.asarray(found), bits, strict=True):
    expected = ImageOps.posterize(Image.fromarray(image), int(count))
    np.testing.assert_array_equal(got, np.asarray(expected))
  strengths = np.float32([0.1, 0.5, 0.75, 1.0])
  found = jax.jit(randaugment.solarize)(np.float32(images), strengths)
  for image, got, strength in zip(images, found, strengths, strict=True):
    threshold = int(255 * (1 - strength)) + 1
    expected = ImageOps.solarize(Image.fromarray(image), threshold)
    np.testing.assert_array_equal(got, np.asarray(expected))


def test_autocontrast_is_pillows():
  images = _images(3, 60, 180)
  found = randaugment.autocontrast(
    jnp.asarray(images, jnp.float32), jnp.ones(3)
  )
  assert (found.min(), found.max()) == (0, 255)
  for image, got in zip(images, np.asarray(found), strict=True):
    expected = ImageOps.autocontrast(Image.fromarray(image))
    # Pillow cuts fractions off.
    np.testing.assert_allclose(got, np.asarray(expected), atol=1.001)


def test_every_operation_but_the_identity_changes_something():
  images = jnp.asarray(_images(1, 20, 200), jnp.float32)
  for name in randaugment.OPERATIONS:
    same = bool((_change(images, _only(name, -0.7)) == images).all())
    assert same == (name == "identity"), name
