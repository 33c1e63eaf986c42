"""Tests of the losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
import sklearn.utils.class_weight

from mn_jax import losses


def _case(n: int = 50, classes: int = 4):
  rng = np.random.default_rng(0)
  logits = 5 * rng.normal(size=(n, classes)).astype(np.float32)
  return logits, rng.integers(0, classes, n).astype(np.int32)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
  logits = logits.astype(np.float64)
  return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_cross_entropy_is_scikit_learns_log_loss():
  logits, labels = _case()
  loss = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
  assert loss.shape == labels.shape
  assert loss.dtype == jnp.float32
  expected = sklearn.metrics.log_loss(labels, np.exp(_log_softmax(logits)))
  assert np.mean(np.float64(loss)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_spreads_its_share_over_all_classes(smoothing):
  logits, labels = _case()
  loss = losses.cross_entropy(
    jnp.asarray(logits), jnp.asarray(labels), label_smoothing=smoothing
  )
  log_p = _log_softmax(logits)
  right = log_p[np.arange(len(labels)), labels]
  expected = -(1 - smoothing) * right - smoothing * log_p.mean(1)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)


def test_cross_entropy_of_extreme_logits_is_finite():
  logits = jnp.asarray([[1e4, -1e4], [-1e4, 1e4]], jnp.float32)
  labels = jnp.asarray([0, 0], jnp.int32)
  loss, grads = jax.value_and_grad(
    lambda x: jnp.sum(losses.cross_entropy(x, labels))
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


def test_take_class_weights():
  weights = jnp.asarray([0.5, 2, 3], jnp.float32)
  labels = jnp.asarray([2, 0, 0, 1], jnp.int32)
  taken = losses.take_class_weights(weights, labels)
  np.testing.assert_array_equal(taken, np.float32([3, 0.5, 0.5, 2]))
