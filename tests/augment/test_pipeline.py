"""Tests of all random changes together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.augment import pipeline
from mn_jax.config.experiment import AugmentConfig

# Every field that changes an image by itself, switched on.
SINGLE = {
  "flip": "both",
  "quarter_turns": True,
  "crop_padding": 3,
  "crop_scale": 0.5,
  "brightness": 0.3,
  "contrast": 0.3,
  "saturation": 0.3,
  "hue": 0.1,
  "stain": 0.1,
  "erasing": 0.7,
  "randaugment": 2,
}


def _images(count=12, size=10) -> np.ndarray:
  shape = (count, size, size, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@functools.cache
def _compiled(**what):
  """The pipeline with some fields on: (images, key) -> images."""
  config = AugmentConfig(**what)
  return jax.jit(lambda images, key: pipeline.augment(images, key, config))


def _changed(images, seed=0, **what):
  apply = _compiled(**what)
  return np.asarray(apply(jnp.asarray(images), jax.random.key(seed)))


def _everything(images, seed):
  return _changed(images, seed, **SINGLE)


def test_nothing_asked_for_computes_nothing_but_floats():
  def apply(images):
    return pipeline.augment(images, jax.random.key(0), AugmentConfig())

  images = jnp.asarray(_images())
  compiled = jax.jit(apply).lower(images).compile()
  same = compiled(images)
  assert same.dtype == np.float32
  np.testing.assert_array_equal(same, images)
  operations = compiled.as_text().split("ENTRY")[1]
  assert "convert" in operations
  # The random numbers are gone with what would have used them.
  for word in ("while", "shift", "select", "gather", "multiply"):
    assert word not in operations


@pytest.mark.parametrize("name", SINGLE)
def test_each_field_changes_images_in_range_and_by_the_key_alone(name):
  images = _images()
  what = {name: SINGLE[name]}
  first = _changed(images, 0, **what)
  assert first.dtype == np.float32
  assert first.shape == images.shape
  assert first.min() >= 0
  assert first.max() <= 255
  assert (first != images).any()
  np.testing.assert_array_equal(first, _changed(images, 0, **what))
  assert (first != _changed(images, 1, **what)).any()


def test_one_change_draws_the_same_whether_others_are_on():
  images = _images()
  flipped = _changed(images, flip="both").astype(np.uint8)
  both = _changed(images, flip="both", brightness=0.3)
  factors = both.sum((1, 2, 3)) / flipped.sum((1, 2, 3))
  alone = _changed(images, brightness=0.3)
  np.testing.assert_allclose(
    factors, alone.sum((1, 2, 3)) / images.sum((1, 2, 3)), rtol=1e-5
  )


def test_different_changes_are_drawn_apart():
  images = np.repeat(100 + _images(1) // 8, 200, axis=0)
  factors = np.stack(
    [
      _changed(images, brightness=0.2).mean((1, 2, 3)),
      _changed(images, contrast=0.2).mean(3).std((1, 2)),
      _changed(images, saturation=0.2).std(3).mean((1, 2)),
      _changed(images, flip="horizontal")[:, 0, 0, 0],
    ]
  )
  assert factors.std(1).min() > 0
  related = np.corrcoef(factors) - np.eye(4)
  # Five standard deviations.
  assert abs(related).max() < 5 / np.sqrt(200)


def test_flips_and_turns_make_the_eight_symmetries_equally_often():
  (image,) = _images(1, 5)
  copies = np.broadcast_to(image, (4000, *image.shape))
  changed = _changed(copies, 1, flip="both", quarter_turns=True)
  symmetries = [
    np.rot90(start, turns)
    for start in (image, image[::-1])
    for turns in range(4)
  ]
  counts = [int((changed == s).all((1, 2, 3)).sum()) for s in symmetries]
  assert sum(counts) == 4000
  assert all(abs(c - 500) < 5 * np.sqrt(500 * 7 / 8) for c in counts), counts


def test_oblong_images_go_through_all_but_quarter_turns():
  config = AugmentConfig(**SINGLE | {"quarter_turns": False})
  shape = jax.eval_shape(
    lambda images: pipeline.augment(images, jax.random.key(0), config),
    jnp.asarray(_images()[:, :7]),
  )
  assert shape.shape == (12, 7, 10, 3)
  with pytest.raises(ValueError, match="got images of 7x10 pixels"):
    _changed(_images()[:, :7], quarter_turns=True)


def test_everything_at_once_is_finite_and_in_range():
  for images in (
    _images(),
    np.zeros((12, 10, 10, 3), np.uint8),
    np.full((12, 10, 10, 3), 255, np.uint8),
    np.full((12, 10, 10, 3), (246, 240, 245), np.uint8),
  ):
    for seed in range(5):
      changed = _everything(images, seed)
      assert np.isfinite(changed).all()
      assert changed.min() >= 0
      assert changed.max() <= 255


def test_every_image_is_changed_by_the_key_alone():
  images = _images()
  np.testing.assert_array_equal(_everything(images, 3), _everything(images, 3))
  assert (_everything(images, 3) != _everything(images, 4)).any((1, 2, 3)).all()
  others = images.copy()
  others[[0, 5]] = 255 - others[[0, 5]]
  before, after = _everything(images, 0), _everything(others, 0)
  same = [i for i in range(12) if i not in (0, 5)]
  np.testing.assert_array_equal(before[same], after[same])
  assert (before[[0, 5]] != after[[0, 5]]).any((1, 2, 3)).all()
  # Equal images are changed differently.
  images = np.repeat(_images(1), 12, axis=0)
  changed = _everything(images, 0)
  assert len(np.unique(changed.reshape(12, -1), axis=0)) == 12
