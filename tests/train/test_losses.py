"""Tests of the losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
import sklearn.utils.class_weight

from mn_jax.train import losses

_DRAW = np.random.default_rng(0)
LOGITS = 5 * _DRAW.normal(size=(50, 4)).astype(np.float32)
LABELS = _DRAW.integers(0, 4, 50).astype(np.int32)
SOFT_TARGETS = _DRAW.dirichlet(np.ones(4), 50).astype(np.float32)
# In float64, what the losses are compared with.
LOG_P = LOGITS - np.log(np.exp(np.float64(LOGITS)).sum(1, keepdims=True))


def _one_hot(labels, classes: int = 4) -> np.ndarray:
  return np.eye(classes, dtype=np.float32)[labels]


def _loss(targets, **options) -> np.ndarray:
  loss = losses.cross_entropy(
    jnp.asarray(LOGITS), jnp.asarray(targets), **options
  )
  assert loss.shape == LABELS.shape
  assert loss.dtype == np.float32
  return np.asarray(loss)


def _assert_close(actual, expected, rtol=1e-5, atol=1e-5):
  np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def test_cross_entropy():
  expected = sklearn.metrics.log_loss(LABELS, np.exp(LOG_P))
  loss = _loss(_one_hot(LABELS))
  assert np.mean(np.float64(loss)) == pytest.approx(expected, rel=1e-5)
  _assert_close(_loss(SOFT_TARGETS), -(SOFT_TARGETS * LOG_P).sum(1))
  # Label smoothing spreads its share over all classes.
  log_p = LOG_P[np.arange(50), LABELS]
  for smoothing in (0.0, 0.1, 0.9):
    loss = _loss(_one_hot(LABELS), label_smoothing=smoothing)
    _assert_close(loss, -(1 - smoothing) * log_p - smoothing * LOG_P.mean(1))


def test_focal_loss_equals_the_formula_of_the_paper():
  log_p = LOG_P[np.arange(50), LABELS]
  for gamma in (0.5, 2.0, 5.0):
    loss = _loss(_one_hot(LABELS), focal_gamma=gamma)
    expected = -((1 - np.exp(log_p)) ** gamma) * log_p
    _assert_close(loss, expected, rtol=1e-4, atol=1e-7)
  # That of soft targets is the mean of the classes.
  per_class = [
    _loss(_one_hot(np.full(50, c)), focal_gamma=2.0) for c in range(4)
  ]
  expected = (SOFT_TARGETS * np.stack(per_class, 1)).sum(1)
  _assert_close(_loss(SOFT_TARGETS, focal_gamma=2.0), expected, atol=1e-6)


def test_focal_loss_without_gamma_is_cross_entropy_to_the_bit():
  for smoothing in (0.0, 0.2):
    plain, focal, near = (
      _loss(SOFT_TARGETS, label_smoothing=smoothing, **options)
      for options in ({}, {"focal_gamma": 0.0}, {"focal_gamma": 1e-6})
    )
    np.testing.assert_array_equal(plain, focal)
    np.testing.assert_allclose(near, plain, rtol=1e-4)


def test_extreme_logits_have_finite_losses_and_gradients():
  logits = jnp.asarray([[1e4, -1e4], [17, 0], [0, 0], [-1e4, 1e4]], jnp.float32)
  targets = _one_hot(np.zeros(4, int), 2)
  for gamma in (0.0, 0.01, 2.0):
    value, grads = jax.value_and_grad(
      lambda x, g=gamma: jnp.sum(
        losses.cross_entropy(x, jnp.asarray(targets), focal_gamma=g)
      )
    )(logits)
    assert np.isfinite(value)
    assert np.isfinite(grads).all()
    np.testing.assert_allclose(grads[0], 0, atol=1e-6)
    # Far on the wrong side it is the cross-entropy.
    np.testing.assert_allclose(grads[3], [-1, 1], atol=1e-5)
  extreme = losses.cross_entropy(logits[::3], jnp.asarray(targets[::3]))
  np.testing.assert_array_equal(extreme, [0, 2e4])


@pytest.mark.parametrize(
  "counts", [[70, 25, 5], [70, 0, 5], [1, 0, 9], [0, 0, 4], [3, 3], [0, 0]]
)
def test_log_prior_and_balanced_class_weights(counts):
  labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
  counts = np.array(counts)
  log_prior = losses.log_prior(labels, len(counts))
  assert log_prior.dtype == np.float32
  # A class that does not occur counts once.
  expected = np.maximum(counts, 1) / np.maximum(counts, 1).sum()
  np.testing.assert_allclose(np.exp(log_prior), expected, rtol=1e-6)
  if not labels.size:
    return
  weights = losses.balanced_class_weights(labels, len(counts))
  assert weights.dtype == np.float32
  assert weights[labels].mean() == pytest.approx(1, rel=1e-6)
  # Every class that occurs has the same share of the whole weight.
  shares = (weights * counts)[counts > 0]
  np.testing.assert_allclose(shares, shares[0], rtol=1e-6)
  assert not weights[counts == 0].any()
  if counts.all():
    expected = sklearn.utils.class_weight.compute_class_weight(
      "balanced", classes=np.arange(len(counts)), y=labels
    )
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_adjusted_logits_without_evidence_predict_the_prior():
  log_prior = losses.log_prior(np.array([0, 0, 0, 1], np.int32), 2)
  same = jnp.zeros((3, 2))
  adjusted, half = (
    losses.adjust_logits(same, jnp.asarray(log_prior), tau=tau)
    for tau in (1.0, 0.5)
  )
  np.testing.assert_allclose(
    jax.nn.softmax(adjusted), [[0.75, 0.25]] * 3, rtol=1e-6
  )
  np.testing.assert_allclose(2 * half, adjusted, rtol=1e-6)


def test_a_hard_target_has_the_weight_of_its_class_and_a_soft_one_the_mean():
  weights = np.random.default_rng(0).uniform(0, 9, 4).astype(np.float32)
  hard, soft = (
    losses.target_weights(jnp.asarray(weights), jnp.asarray(targets))
    for targets in (_one_hot(LABELS), SOFT_TARGETS)
  )
  np.testing.assert_array_equal(hard, weights[LABELS])
  np.testing.assert_allclose(soft, SOFT_TARGETS @ weights, rtol=1e-5)


MULTI_HOT = (_DRAW.random((50, 4)) < [0.1, 0.3, 0.5, 0.9]).astype(np.uint8)


def _binary_loss(targets, **options) -> np.ndarray:
  return np.asarray(
    losses.binary_cross_entropy(
      jnp.asarray(LOGITS), jnp.asarray(targets, jnp.float32), **options
    )
  )


def test_binary_cross_entropy_equals_optax():
  expected = optax.sigmoid_binary_cross_entropy(LOGITS, MULTI_HOT)
  _assert_close(_binary_loss(MULTI_HOT), expected.mean(1))
  for gamma in (0.5, 2.0):
    expected = optax.sigmoid_focal_loss(LOGITS, MULTI_HOT, gamma=gamma)
    loss = _binary_loss(MULTI_HOT, focal_gamma=gamma)
    _assert_close(loss, expected.mean(1), rtol=1e-4)
  # As Keras smooths: towards one half.
  smoothed = 0.8 * MULTI_HOT + 0.1
  expected = optax.sigmoid_binary_cross_entropy(LOGITS, smoothed)
  _assert_close(_binary_loss(MULTI_HOT, label_smoothing=0.2), expected.mean(1))


def test_binary_loss_of_a_mixture_is_the_mixture_of_losses():
  """Whatever the weights, smoothing and focal exponent."""
  weights = np.array([[1, 0.5, 2, 0], [3, 1, 0.1, 9]], np.float32)
  options = {
    "weights": weights,
    "label_smoothing": 0.1,
    "focal_gamma": 2.0,
  }
  other = np.roll(MULTI_HOT, 1, axis=0)
  mixed = _binary_loss(0.3 * MULTI_HOT + 0.7 * other, **options)
  parts = (_binary_loss(x, **options) for x in (MULTI_HOT, other))
  first, second = parts
  _assert_close(mixed, 0.3 * first + 0.7 * second)
  terms = optax.sigmoid_binary_cross_entropy(LOGITS, MULTI_HOT)
  expected = terms * np.where(MULTI_HOT, weights[1], weights[0])
  _assert_close(_binary_loss(MULTI_HOT, weights=weights), expected.mean(1))


def test_gradients_of_the_binary_loss_are_finite_at_the_ends():
  def loss(logits, gamma):
    targets = jnp.array([[1.0, 0.0, 1.0, 0.0]])
    return losses.binary_cross_entropy(logits, targets, focal_gamma=gamma).sum()

  extremes = jnp.array([[200.0, 200.0, -200.0, -200.0]])
  for gamma in (0.0, 0.5, 2.0):
    assert np.isfinite(jax.grad(loss)(extremes, gamma)).all()


def test_label_weights_are_scikit_learns_of_every_label():
  weights = losses.balanced_class_weights(MULTI_HOT, 4)
  for label in range(4):
    expected = sklearn.utils.class_weight.compute_class_weight(
      "balanced", classes=np.array([0, 1]), y=MULTI_HOT[:, label]
    )
    _assert_close(weights[:, label], expected)
  # A label that no image has, and one that all have, are as they are.
  weights = losses.balanced_class_weights(np.array([[0, 1]] * 3, np.uint8), 2)
  assert weights.tolist() == [[1, 0], [0, 1]]


def test_the_prior_of_labels_is_their_log_odds():
  prior = losses.log_prior(MULTI_HOT, 4)
  share = MULTI_HOT.mean(0)
  _assert_close(prior, np.log(share / (1 - share)))
  prior = losses.log_prior(np.array([[0, 1]] * 9, np.uint8), 2)
  _assert_close(prior, [np.log(1 / 8), np.log(8)])
