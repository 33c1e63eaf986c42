"""Tests of ROC and precision-recall curves against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.metrics import curves


def _scores(name: str, n: int = 200) -> np.ndarray:
  rng = np.random.default_rng(3)
  return {
    "distinct": rng.permutation(n) / n,
    "tied": rng.integers(0, 7, n) / 7,
    "constant": np.full(n, 0.25),
    "two": rng.integers(0, 2, n).astype(np.float64),
    "close": 1 - rng.integers(0, 9, n) * 1e-16,
    "tiny": rng.integers(0, 50, n) * 5e-324,
  }[name]


_NAMES = ("distinct", "tied", "constant", "two", "close", "tiny")


@pytest.mark.parametrize("name", _NAMES)
def test_areas_are_scikit_learns(name):
  scores = _scores(name)
  for seed in range(5):
    positive = np.random.default_rng(seed).random(200) < 0.1 + 0.2 * seed
    curve = curves.Ranking(positive, scores).curve()
    # To the last bit: results of old are compared with new ones.
    expected = sklearn.metrics.roc_auc_score(positive, scores)
    assert curves.auroc(*curve) == expected
    expected = sklearn.metrics.average_precision_score(positive, scores)
    found = curves.average_precision(*curve)
    assert found == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("name", _NAMES)
def test_curve_counts_every_threshold(name):
  scores = _scores(name)
  positive = np.random.default_rng(0).random(200) < 0.3
  ranking = curves.Ranking(positive, scores)
  thresholds, curve = ranking.thresholds(), ranking.curve()
  np.testing.assert_array_equal(thresholds, np.unique(scores)[::-1])
  found = scores >= thresholds[:, None]
  for counts, kind in zip(curve, (positive, ~positive), strict=True):
    np.testing.assert_array_equal(counts, (found & kind).sum(axis=1))


def test_areas_of_one_class():
  scores = _scores("tied")
  everything = curves.Ranking(np.full(200, True), scores).curve()
  assert np.isnan(curves.auroc(*everything))
  assert curves.average_precision(*everything) == pytest.approx(1, abs=1e-12)
  nothing = curves.Ranking(np.full(200, False), scores).curve()
  assert np.isnan(curves.auroc(*nothing))
  assert np.isnan(curves.average_precision(*nothing))


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_weights_count_as_repetitions(name, share):
  scores, rng = _scores(name), np.random.default_rng(5)
  positive = rng.random(200) < share
  ranking = curves.Ranking(positive, scores)
  for weights in (
    np.ones(200, np.int64),
    rng.poisson(1, 200),
    rng.poisson(0.05, 200),
    np.where(positive, 0, 3),
    np.where(positive, 3, 0),
  ):
    if weights.any():
      rows = np.repeat(np.arange(200), weights)
      expected = curves.Ranking(positive[rows], scores[rows]).curve()
      found = ranking.curve(weights)
      for area in (curves.auroc, curves.average_precision):
        np.testing.assert_allclose(area(*found), area(*expected), atol=1e-12)
