"""Tests of brightness, contrast, saturation and hue."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mn_jax.augment import colour


def _images(count: int = 4) -> np.ndarray:
  draw = np.random.default_rng(0)
  return draw.integers(0, 256, (count, 9, 7, 3)).astype(np.float32)


def _muted(count: int = 4) -> jax.Array:
  """Colours that no turn of the hue takes out of the range."""
  return jnp.asarray(120 + _images(count) / 12)


_hue = jax.jit(colour.hue)
CHANGES = {
  "brightness": ImageEnhance.Brightness,
  "contrast": ImageEnhance.Contrast,
  "saturation": ImageEnhance.Color,
}


@pytest.mark.parametrize("name", CHANGES)
def test_factors_mean_what_they_mean_in_pillow(name):
  images, factors = _images(), np.float32([0, 0.3, 1, 1.7])
  changed = jax.jit(getattr(colour, name))(images, factors)
  for before, after, factor in zip(images, changed, factors, strict=True):
    enhance = CHANGES[name](Image.fromarray(before.astype(np.uint8)))
    expected = np.asarray(enhance.enhance(factor)).astype(np.float32)
    # Pillow rounds greys and results to whole numbers.
    np.testing.assert_allclose(after, expected, atol=1.6)


@pytest.mark.parametrize("name", [*CHANGES, "hue"])
def test_every_image_has_its_own_number_and_stays_in_range(name):
  change = jax.jit(getattr(colour, name))
  images, values = _images(), np.float32([0, 0.5, 1.5, 2])
  together = change(images, values)
  assert together.min() >= 0
  assert together.max() <= 255
  for i in range(4):
    alone = change(images[i : i + 1].repeat(4, 0), values[i].repeat(4))
    np.testing.assert_allclose(together[i], alone[0], rtol=1e-6, atol=1e-4)
  # No strength leaves every bit.
  images = (images + np.float32(0.3)).clip(0, 255)
  nothing = np.full(4, 0 if name == "hue" else 1, np.float32)
  np.testing.assert_array_equal(change(images, nothing), images)


def test_half_a_turn_of_the_hue_is_the_opposite_colour():
  images = _muted()
  turned = _hue(images, jnp.full(4, 0.5))
  np.testing.assert_allclose(
    turned, 2 * colour.luma(images) - images, atol=1e-3
  )


def test_turns_of_the_hue_add_up():
  images = _muted()
  turns = jnp.array([0.1, -0.2, 0.3, 0.4])
  twice = _hue(_hue(images, turns), jnp.full(4, 0.25))
  np.testing.assert_allclose(twice, _hue(images, turns + 0.25), atol=1e-3)
  whole = _hue(images, jnp.full(4, 1.0))
  np.testing.assert_allclose(whole, images, atol=1e-3)


def test_turning_the_hue_keeps_greys_and_how_bright_a_pixel_looks():
  images = _muted()
  turned = _hue(images, jnp.full(4, 0.2))
  assert abs(turned - images).max() > 5
  np.testing.assert_allclose(
    colour.luma(turned), colour.luma(images), atol=1e-3
  )
  grey = jnp.broadcast_to(
    jnp.arange(0, 256, 5.0).reshape(1, 52, 1, 1), (1, 52, 1, 3)
  )
  np.testing.assert_allclose(_hue(grey, jnp.full(1, 0.3)), grey, atol=1e-3)


def test_changes_are_drawn_evenly_on_both_sides():
  drawn = np.asarray(colour.random_changes(jax.random.key(0), 4000, 0.2))
  assert abs(drawn).max() <= 0.2
  assert (drawn.min(), drawn.max()) == pytest.approx((-0.2, 0.2), abs=1e-3)
  assert drawn.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
