"""Tests of statistics of images that tell parts and classes apart."""

import numpy as np
import pytest

from mn_jax.metrics import appearance


def test_statistics_of_known_images():
  # Grey levels: one half black, the other white, split from left to right.
  image = np.zeros((8, 8, 3), np.uint8)
  image[:, 4:] = 255
  flat = np.full((8, 8, 3), 100, np.uint8)
  bright = np.full((8, 8, 3), 10, np.uint8)
  bright[2:6, 2:6] = 90
  images = np.stack([flat, image, flat, bright])
  done = []
  found = appearance.measure(
    images, np.array([1, 2, 3]), lambda n, total: done.append((n, total))
  )
  named = [dict(zip(appearance.STATISTICS, x, strict=True)) for x in found]
  split, plain, centred = named
  assert split["brightness"] == pytest.approx(127.5)
  assert split["contrast"] == pytest.approx(127.5)
  # One step of 255 among seven from left to right, none from top to bottom.
  assert split["sharpness"] == pytest.approx(255 / 7 / 2)
  assert (split["black"], split["white"]) == (0.5, 0.5)
  assert split["centre"] == pytest.approx(0)
  assert plain["brightness"] == 100
  assert plain["contrast"] == plain["sharpness"] == plain["black"] == 0
  assert centred["centre"] == pytest.approx(90 - 30)
  assert done == [(3, 3)]


def _set(rng, count, groups, shift):
  values = rng.normal(size=(count, len(appearance.STATISTICS)))
  values[:, appearance.STATISTICS.index("sharpness")] += shift
  return values, rng.integers(0, groups, count).astype(str)


def test_a_shifted_statistic_separates_and_no_other():
  rng = np.random.default_rng(0)
  one, groups = _set(rng, 400, 40, 0.0)
  for shift in (0.0, 2.0):
    other, others = _set(rng, 300, 40, shift)
    found = appearance.separate(one, other, np.concatenate([groups, others]))
    assert found.counts == (400, 300)
    assert list(found.single) == list(appearance.STATISTICS)
    for name, value in found.single.items():
      expected = 0.92 if shift and name == "sharpness" else 0.5
      assert value == pytest.approx(expected, abs=0.06)
    assert found.together == pytest.approx(0.92 if shift else 0.5, abs=0.06)


def test_images_of_a_group_are_not_recognised():
  # Every group has a value of its own, and is in one set alone.
  rng = np.random.default_rng(1)
  values = rng.normal(size=(40, len(appearance.STATISTICS))).repeat(20, axis=0)
  groups = np.arange(40).repeat(20).astype(str)
  found = appearance.separate(values[:400], values[400:], groups)
  assert 0.2 < found.together < 0.8


def test_few_groups_are_not_fitted():
  rng = np.random.default_rng(0)
  one, groups = _set(rng, 50, 5, 0.0)
  other, others = _set(rng, 50, 40, 0.0)
  found = appearance.separate(one, other, np.concatenate([groups, others]))
  assert np.isnan(found.together)
  assert np.isfinite(list(found.single.values())).all()
