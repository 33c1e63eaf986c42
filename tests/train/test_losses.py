"""Tests of the losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
import sklearn.utils.class_weight

from mn_jax.train import losses


def _case(n: int = 50, classes: int = 4):
  rng = np.random.default_rng(0)
  logits = 5 * rng.normal(size=(n, classes)).astype(np.float32)
  return logits, rng.integers(0, classes, n).astype(np.int32)


def _one_hot(labels, classes: int = 4) -> jax.Array:
  return jnp.asarray(np.eye(classes, dtype=np.float32)[labels])


def _soft(n: int = 50, classes: int = 4) -> np.ndarray:
  draw = np.random.default_rng(1)
  return draw.dirichlet(np.ones(classes), n).astype(np.float32)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
  logits = logits.astype(np.float64)
  return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_cross_entropy_is_scikit_learns_log_loss():
  logits, labels = _case()
  loss = losses.cross_entropy(jnp.asarray(logits), _one_hot(labels))
  assert loss.shape == labels.shape
  assert loss.dtype == jnp.float32
  expected = sklearn.metrics.log_loss(labels, np.exp(_log_softmax(logits)))
  assert np.mean(np.float64(loss)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_spreads_its_share_over_all_classes(smoothing):
  logits, labels = _case()
  loss = losses.cross_entropy(
    jnp.asarray(logits), _one_hot(labels), label_smoothing=smoothing
  )
  log_p = _log_softmax(logits)
  right = log_p[np.arange(len(labels)), labels]
  expected = -(1 - smoothing) * right - smoothing * log_p.mean(1)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)


def test_soft_targets_weigh_the_losses_of_their_classes():
  logits, _ = _case()
  targets = _soft()
  found = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(targets))
  expected = -(targets * _log_softmax(logits)).sum(1)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_without_gamma_is_cross_entropy_to_the_bit(smoothing):
  logits, _ = _case()
  plain, focal = (
    losses.cross_entropy(
      jnp.asarray(logits), jnp.asarray(_soft()), label_smoothing=smoothing, **kw
    )
    for kw in ({}, {"focal_gamma": 0.0})
  )
  np.testing.assert_array_equal(plain, focal)
  near = losses.cross_entropy(
    jnp.asarray(logits),
    jnp.asarray(_soft()),
    label_smoothing=smoothing,
    focal_gamma=1e-6,
  )
  np.testing.assert_allclose(near, plain, rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_that_of_the_paper(gamma):
  logits, labels = _case()
  found = losses.cross_entropy(
    jnp.asarray(logits), _one_hot(labels), focal_gamma=gamma
  )
  log_p = _log_softmax(logits)[np.arange(len(labels)), labels]
  expected = -((1 - np.exp(log_p)) ** gamma) * log_p
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_focal_loss_of_soft_targets_is_the_mean_of_the_classes():
  logits, _ = _case()
  targets = _soft()
  found = losses.cross_entropy(
    jnp.asarray(logits), jnp.asarray(targets), focal_gamma=2.0
  )
  expected = sum(
    targets[:, c]
    * np.asarray(
      losses.cross_entropy(
        jnp.asarray(logits), _one_hot(np.full(50, c)), focal_gamma=2.0
      )
    )
    for c in range(4)
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.01, 0.5, 1.0, 2.0])
def test_focal_loss_of_extreme_logits_has_a_finite_slope(gamma):
  logits = jnp.asarray([[1e4, -1e4], [17, 0], [0, 0], [-1e4, 1e4]], jnp.float32)
  labels = np.zeros(4, int)
  value, grads = jax.value_and_grad(
    lambda x: jnp.sum(
      losses.cross_entropy(x, _one_hot(labels, 2), focal_gamma=gamma)
    )
  )(logits)
  assert np.isfinite(value)
  assert np.isfinite(grads).all()
  np.testing.assert_allclose(grads[0], 0, atol=1e-6)
  # Far on the wrong side it is the cross-entropy.
  np.testing.assert_allclose(grads[3], [-1, 1], atol=1e-5)


def test_log_prior_is_that_of_the_shares():
  labels = np.repeat(np.arange(3), [70, 25, 5]).astype(np.int32)
  found = losses.log_prior(labels, 3)
  assert found.dtype == np.float32
  np.testing.assert_allclose(np.exp(found), [0.7, 0.25, 0.05], rtol=1e-6)


@pytest.mark.parametrize("counts", [[70, 0, 5], [0, 0, 4], [0, 0]])
def test_classes_that_do_not_occur_have_a_finite_log_prior(counts):
  labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
  found = losses.log_prior(labels, len(counts))
  assert np.isfinite(found).all()
  assert np.exp(found).sum() == pytest.approx(1, rel=1e-6)
  expected = np.maximum(counts, 1) / np.maximum(counts, 1).sum()
  np.testing.assert_allclose(np.exp(found), expected, rtol=1e-6)


def test_adjusted_logits_make_the_prior_the_answer_of_no_evidence():
  log_prior = losses.log_prior(np.array([0, 0, 0, 1], np.int32), 2)
  same = jnp.zeros((3, 2))
  adjusted = losses.adjust_logits(same, jnp.asarray(log_prior), tau=1.0)
  np.testing.assert_allclose(
    jax.nn.softmax(adjusted), [[0.75, 0.25]] * 3, rtol=1e-6
  )
  half = losses.adjust_logits(same, jnp.asarray(log_prior), tau=0.5)
  np.testing.assert_allclose(2 * half, adjusted, rtol=1e-6)


def test_cross_entropy_of_extreme_logits_is_finite():
  logits = jnp.asarray([[1e4, -1e4], [-1e4, 1e4]], jnp.float32)
  targets = _one_hot([0, 0], 2)
  loss, grads = jax.value_and_grad(
    lambda x: jnp.sum(losses.cross_entropy(x, targets))
  )(logits)
  assert loss == 2e4
  np.testing.assert_allclose(grads, [[0, 0], [-1, 1]], atol=1e-6)


def test_balanced_class_weights_are_scikit_learns():
  labels = np.repeat(np.arange(3), [70, 25, 5]).astype(np.int32)
  weights = losses.balanced_class_weights(labels, 3)
  expected = sklearn.utils.class_weight.compute_class_weight(
    "balanced", classes=np.arange(3), y=labels
  )
  assert weights.dtype == np.float32
  np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("counts", [[70, 25, 5], [1, 0, 9], [0, 0, 4], [3, 3]])
def test_balanced_class_weights_are_1_on_average(counts):
  labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
  weights = losses.balanced_class_weights(labels, len(counts))
  assert weights[labels].mean() == pytest.approx(1, rel=1e-6)
  # Every class that occurs has the same share of the whole weight.
  shares = (weights * counts)[np.array(counts) > 0]
  np.testing.assert_allclose(shares, shares[0], rtol=1e-6)
  assert not weights[np.array(counts) == 0].any()


def test_one_class_has_its_weight_to_the_bit_and_a_mixture_the_mean():
  weights = np.random.default_rng(0).uniform(0, 9, 4).astype(np.float32)
  labels = np.array([2, 0, 0, 1, 3])
  taken = losses.target_weights(jnp.asarray(weights), _one_hot(labels))
  np.testing.assert_array_equal(taken, weights[labels])
  targets = _soft()
  mean = losses.target_weights(jnp.asarray(weights), jnp.asarray(targets))
  np.testing.assert_allclose(mean, targets @ weights, rtol=1e-5)
