"""Tests of mixup and CutMix."""

import functools

import jax
import numpy as np
import pytest

from mn_jax.augment import mix
from mn_jax.config.experiment import AugmentConfig

_SIZE = (6, 9)


def _batch(count=300, classes=5):
  draw = np.random.default_rng(0)
  images = draw.integers(0, 256, (count, *_SIZE, 3)).astype(np.float32)
  return images, np.eye(classes, dtype=np.float32)[np.arange(count) % classes]


def _mixed(images, targets, seed=0, mask=None, **what):
  mask = np.ones(len(images), np.float32) if mask is None else mask
  mixed = _compiled(**what)(images, targets, jax.random.key(seed), mask=mask)
  return [np.asarray(x) for x in mixed]


@functools.cache
def _compiled(**what):
  return jax.jit(functools.partial(mix.mix, config=AugmentConfig(**what)))


def _shares(targets, mixed):
  """f[n]: own shares, and targets that are what they make."""
  own = (targets * mixed).sum(1)
  np.testing.assert_allclose(
    mixed,
    own[:, None] * targets + (1 - own[:, None]) * np.roll(targets, -1, 0),
    atol=1e-6,
  )
  return own


@pytest.mark.parametrize(
  "what",
  [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}],
  ids=str,
)
def test_targets_are_shares_that_sum_to_1(what):
  images, targets = _batch()
  for seed in (0, 1):
    mixed, soft = _mixed(images, targets, seed, **what)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    assert soft.min() >= 0
    assert _shares(targets, soft).std() > 0
    assert mixed.min() >= 0
    assert mixed.max() <= 255.001


def test_mixup_mixes_pixels_as_it_mixes_targets():
  images, targets = _batch()
  mixed, soft = _mixed(images, targets, mixup=1.0)
  own = _shares(targets, soft).reshape(-1, 1, 1, 1)
  expected = own * images + (1 - own) * np.roll(images, -1, 0)
  np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-3)


def test_cutmix_pastes_one_rectangle_whose_area_is_the_share():
  _, targets = _batch()
  # No pixel of one image is also the other's.
  images = np.arange(300 * 54, dtype=np.float32).reshape(300, *_SIZE, 1)
  images = np.broadcast_to(images, (300, *_SIZE, 3))
  mixed, soft = _mixed(images, targets, cutmix=1.0)
  pasted = (mixed == np.roll(images, -1, 0)).all(-1)
  np.testing.assert_array_equal(pasted, (mixed != images).any(-1))
  for mask in pasted:
    rows, columns = mask.any(1), mask.any(0)
    np.testing.assert_array_equal(mask, rows[:, None] & columns)
    for line in (rows, columns):
      # On and off again at most once.
      assert np.count_nonzero(np.diff(line, prepend=False, append=False)) <= 2
  area = pasted.sum((1, 2)).astype(np.float32)
  pasted_share = 1 - _shares(targets, soft)
  np.testing.assert_array_equal(np.rint(54 * pasted_share), area)
  np.testing.assert_allclose(54 * pasted_share, area, rtol=0, atol=2e-5)
  assert len(np.unique(area)) > 20


@pytest.mark.parametrize("alpha", [0.2, 5.0])
def test_shares_are_of_the_beta_distribution(alpha):
  targets = np.eye(2, dtype=np.float32)[np.arange(4000) % 2]
  _, soft = _mixed(np.zeros((4000, 1, 1, 3)), targets, mixup=alpha)
  shares = _shares(targets, soft)
  assert shares.mean() == pytest.approx(0.5, abs=0.03)
  assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("alpha", [1e-6, 100.0])
def test_extreme_alphas_are_finite(alpha):
  images, targets = _batch()
  for seed in range(5):  # some of them mixup, some CutMix
    mixed, soft = _mixed(images, targets, seed, mixup=alpha, cutmix=alpha)
    assert np.isfinite(mixed).all()
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)


def test_with_both_each_batch_has_one_of_them():
  images, targets = _batch()
  kinds = []
  for seed in range(20):
    mixed, soft = _mixed(images, targets, seed, mixup=1.0, cutmix=1.0)
    own = _shares(targets, soft).reshape(-1, 1, 1, 1)
    blend = own * images + (1 - own) * np.roll(images, -1, 0)
    mixup = bool(np.allclose(mixed, blend, atol=1e-2))
    other = np.roll(images, -1, 0)
    assert mixup or ((mixed == images) | (mixed == other)).all()
    kinds.append(mixup)
  assert 3 < sum(kinds) < 17


def test_neither_changes_anything():
  images, targets = _batch()
  mixed, soft = _mixed(images, targets)
  np.testing.assert_array_equal(mixed, images)
  np.testing.assert_array_equal(soft, targets)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_images_that_count_nothing_get_into_no_other(name):
  images, targets = _batch()
  mask = np.ones(300, np.float32)
  mask[[3, 17, 299]] = 0
  mixed, soft = _mixed(images, targets, mask=mask, **{name: 1.0})
  before = [2, 16, 298]
  np.testing.assert_array_equal(mixed[before], images[before])
  np.testing.assert_array_equal(soft[before], targets[before])
  poisoned = images.copy()
  poisoned[mask == 0] = 1e6
  again, _ = _mixed(poisoned, targets, mask=mask, **{name: 1.0})
  np.testing.assert_array_equal(again[mask == 1], mixed[mask == 1])
