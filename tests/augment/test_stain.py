"""Tests of random staining."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import stain

# As printed in the paper; the third is at right angles to both.
_H = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
_E = np.array([0.07, 0.99, 0.11]) / np.linalg.norm([0.07, 0.99, 0.11])
_REST = np.cross(_H, _E)


def _tile(haematoxylin, eosin, rest=0.0) -> np.ndarray:
  """f32[1, n, 1, 3]: pixels with these amounts of stain."""
  amounts = [np.reshape(a, (-1, 1)) for a in (haematoxylin, eosin, rest)]
  density = sum(a * v for a, v in zip(amounts, (_H, _E, _REST), strict=True))
  return (256 * np.exp(-density) - 1).reshape(1, -1, 1, 3).astype(np.float32)


_restain = jax.jit(stain.restain)
_compiled = jax.jit(stain.jitter)


def _jitter(images, strength, seed=0):
  return np.asarray(_compiled(images, jax.random.key(seed), strength))


def test_stains_are_scaled_and_shifted_apart():
  haematoxylin = np.linspace(0.2, 1.0, 20)
  eosin = np.linspace(0.9, 0.1, 20)
  rest = np.linspace(-0.05, 0.05, 20)
  changed = _restain(
    jnp.asarray(_tile(haematoxylin, eosin, rest)),
    jnp.array([[1.3, 0.6]]),
    jnp.array([[0.05, -0.02]]),
  )
  expected = _tile(1.3 * haematoxylin + 0.05, 0.6 * eosin - 0.02, rest)
  np.testing.assert_allclose(changed, expected.clip(0, 255), atol=2e-3)


def test_no_change_leaves_the_pixels():
  values = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
  images = jnp.asarray(values, jnp.float32)
  same = _restain(images, jnp.ones((2, 2)), jnp.zeros((2, 2)))
  np.testing.assert_allclose(same, images, atol=1e-4)
  np.testing.assert_allclose(_jitter(images, 1e-6), images, atol=1e-2)


def test_blank_and_black_tiles_stay_finite_and_in_range():
  for value, strength in itertools.product(
    (0, 1, 250, 254, 255), (0.05, 0.2, 1.0)
  ):
    changed = _jitter(np.full((64, 4, 4, 3), value, np.float32), strength)
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255
    # A tile of one colour stays one.
    assert (changed == changed[:, :1, :1]).all()


def test_blank_glass_stays_nearly_white():
  changed = _jitter(np.full((200, 2, 2, 3), 255, np.float32), 0.05)
  # Both shifts at most 0.05 in optical density, of 1.8 in all in green.
  assert changed.min() > 255 * np.exp(-0.05 * (_H + _E).max()) - 1
  assert changed.min() < 250


def test_no_more_stain_is_taken_away_than_there_is():
  glass = jnp.full((1, 2, 2, 3), 255.0)
  bleached = _restain(glass, jnp.ones((1, 2)), jnp.full((1, 2), -0.5))
  np.testing.assert_array_equal(bleached, glass)
  faint = jnp.asarray(_tile([0.1, 0.4], [0.3, 0.1]))
  bleached = _restain(faint, jnp.ones((1, 2)), jnp.full((1, 2), -0.2))
  np.testing.assert_allclose(bleached, _tile([0, 0.2], [0.1, 0]), atol=2e-3)


def test_every_image_is_stained_its_own_way():
  tile = np.repeat(_tile([0.3, 0.6], [0.5, 0.2]), 50, axis=0)
  changed = _jitter(tile, 0.2)
  assert len(np.unique(changed[:, 0, 0, 0])) > 45
  np.testing.assert_array_equal(changed, _jitter(tile, 0.2))
  assert (changed != _jitter(tile, 0.2, seed=1)).any()


def test_amounts_stay_within_the_strength():
  haematoxylin, eosin, strength = 0.5, 0.4, 0.2
  tile = np.repeat(_tile(haematoxylin, eosin), 2000, axis=0)
  density = -np.log((_jitter(tile, strength)[:, 0, 0] + 1) / 256)
  amounts = density @ np.linalg.inv(np.stack([_H, _E, _REST]))
  for column, amount in ((0, haematoxylin), (1, eosin)):
    largest = strength * (amount + 1)
    change = amounts[:, column] - amount
    assert abs(change).max() <= largest + 1e-4
    assert change.max() > 0.8 * largest
    assert change.min() < -0.8 * largest
  np.testing.assert_allclose(amounts[:, 2], 0, atol=1e-3)
  assert abs(np.corrcoef(amounts[:, 0], amounts[:, 1])[0, 1]) < 0.1
