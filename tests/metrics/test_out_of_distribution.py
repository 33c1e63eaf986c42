"""Tests of scores of strangeness, beside scikit-learn and SciPy."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import sklearn.neighbors

from mn_jax.metrics import out_of_distribution as ood


def clusters(draw, count, centres):
  """Features around some centres."""
  values = centres[draw.integers(0, len(centres), count)]
  return (values + 0.3 * draw.normal(size=values.shape)).astype(np.float32)


@pytest.fixture
def draw():
  return np.random.default_rng(0)


@pytest.mark.parametrize("neighbours", [1, 5, 300])
def test_distances_are_those_of_scikit_learn(draw, neighbours):
  centres = draw.normal(size=(4, 60))
  reference = clusters(draw, 200, centres)
  features = clusters(draw, 57, centres)
  found = ood.Neighbours(reference).distances(features, neighbours=neighbours)
  nearest = sklearn.neighbors.NearestNeighbors().fit(reference)
  expected, _ = nearest.kneighbors(features, min(neighbours, 200))
  assert np.std(expected) > 0.01
  np.testing.assert_allclose(found, expected[:, -1], rtol=1e-4)


def test_nearest_are_those_of_scikit_learn(draw):
  reference = draw.normal(size=(200, 60)).astype(np.float32)
  features = draw.normal(size=(57, 60)).astype(np.float32)
  neighbours = ood.Neighbours(reference)
  places, distances = neighbours.nearest(features, neighbours=4)
  nearest = sklearn.neighbors.NearestNeighbors(n_neighbors=4).fit(reference)
  expected, expected_places = nearest.kneighbors(features)
  np.testing.assert_array_equal(places, expected_places)
  np.testing.assert_allclose(distances, expected, rtol=1e-4)
  places, distances = neighbours.nearest(reference[7:8], neighbours=300)
  assert sorted(places[0]) == list(range(200))
  assert places[0, 0] == 7
  assert distances[0, 0] == pytest.approx(0, abs=0.01)
  assert neighbours.nearest(features[:0])[0].shape == (0, 5)


def test_blocks_do_not_matter(draw, monkeypatch):
  reference = draw.normal(size=(50, 8)).astype(np.float16)
  features = draw.normal(size=(33, 8)).astype(np.float32)
  whole = ood.Neighbours(reference).distances(features)
  monkeypatch.setattr(ood, "_MAX_DISTANCES", 200)
  blocks = ood.Neighbours(reference).distances(features)
  np.testing.assert_allclose(blocks, whole, rtol=1e-5)
  assert ood.Neighbours(reference).distances(features[:0]).shape == (0,)
  places, _ = ood.Neighbours(reference).nearest(features)
  assert places.shape == (33, 5)


def test_channels_weigh_the_same_unless_they_are_silent(draw):
  scales = np.array([1, 100, 0.01, 0])
  features = draw.normal(size=(500, 4)) * scales + 7
  mean, spread = ood.moments(features)
  assert (mean.dtype, spread.dtype) == (np.float32, np.float32)
  np.testing.assert_allclose(mean, features.mean(axis=0), rtol=1e-6)
  usual = np.sqrt(features.var(axis=0).mean())
  expected = np.sqrt(features.var(axis=0) + usual**2 / 100)
  np.testing.assert_allclose(spread, expected, rtol=1e-6)
  assert spread[3] == pytest.approx(usual / 10, rel=1e-4)
  mean, spread = ood.moments(np.full((3, 2), 5.0))
  assert mean.tolist() == [5, 5]
  assert spread.tolist() == [1, 1]


def test_energies_are_free_energies(draw):
  logits = draw.normal(size=(20, 5)).astype(np.float32) * 10
  expected = -np.log(np.exp(logits.astype(np.float64)).sum(axis=1))
  np.testing.assert_allclose(ood.energies(logits), expected, rtol=1e-12)
  several = -np.log1p(np.exp(logits.astype(np.float64))).sum(axis=1)
  np.testing.assert_allclose(
    ood.energies(logits, multi_label=True), several, rtol=1e-9
  )
  assert np.isfinite(ood.energies(np.full((1, 3), 1e30, np.float32))).all()


def test_percentiles_are_those_of_scipy(draw):
  validation = np.sort(np.round(draw.normal(size=101), 1))
  scores = np.round(draw.normal(size=300) * 2, 1)
  expected = scipy.stats.percentileofscore(validation, scores, kind="mean")
  np.testing.assert_allclose(ood.percentiles(scores, validation), expected)
  assert ood.percentiles(np.array([99.0, -99.0]), validation).tolist() == [
    100,
    0,
  ]


def test_strange_images_score_higher_and_alike_images_do_not(draw):
  centres = draw.normal(size=(6, 64))
  reference = clusters(draw, 1000, centres)
  alike = ood.Neighbours(reference).distances(clusters(draw, 300, centres))
  twins = ood.Neighbours(reference).distances(clusters(draw, 300, centres))
  others = clusters(draw, 300, draw.normal(size=(6, 64)))
  strange = ood.Neighbours(reference).distances(others)
  is_strange = np.repeat([0, 1], 300)
  found = sklearn.metrics.roc_auc_score(is_strange, np.append(alike, strange))
  assert found > 0.99
  found = sklearn.metrics.roc_auc_score(is_strange, np.append(alike, twins))
  assert found == pytest.approx(0.5, abs=0.06)
  # The percentiles of alike images are uniform, as those of validation are.
  uniform = ood.percentiles(alike, np.sort(twins)) / 100
  assert scipy.stats.kstest(uniform, "uniform").pvalue > 0.01


def test_many_is_more_than_chance():
  """Of images as those of validation, one run in twenty may warn."""
  validation = np.arange(1000)
  draw = np.random.default_rng(1)
  warned = 0
  for _ in range(400):
    found = ood.percentiles(draw.uniform(-0.5, 999.5, 60), validation)
    warned += ood.many_beyond(found, 1000)[0] > 0
  assert warned / 400 < 0.06
  assert ood.many_beyond(np.array([100.0] * 3 + [50.0] * 20), 1000) == (3, 99.0)
  assert ood.many_beyond(np.array([100.0]), 1000) == (1, 99.0)
  assert ood.many_beyond(np.array([100.0] + [50.0] * 9), 1000)[0] == 0
  # Nine validation images: a tenth of images like them is beyond all.
  assert ood.many_beyond(np.array([100.0, 50.0]), 9) == (0, 90.0)
  assert ood.many_beyond(np.array([100.0, 100.0]), 9) == (2, 90.0)
  assert ood.many_beyond(np.empty(0), 9)[0] == 0
