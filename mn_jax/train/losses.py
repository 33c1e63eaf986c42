"""Losses per example; reductions are left to the step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def cross_entropy(
  logits: jax.Array,
  targets: jax.Array,
  *,
  label_smoothing: float = 0.0,
  focal_gamma: float = 0.0,
) -> jax.Array:
  """Softmax cross-entropy, or the focal loss.

  Args:
    logits: f32[batch, classes].
    targets: f32[batch, classes], each row with the sum 1: one-hot, or shares of
      the classes of mixed images.
    label_smoothing: share of the target spread evenly over all classes
      (Szegedy et al. 2016, section 7).
    focal_gamma: exponent of the factor (1 - p) by which each class's term is
      less, the better it is predicted (Lin et al. 2017, equation 4, with
      softmax and, for soft targets, summed over classes); 0: none.

  Returns:
    f32[batch], in nats.
  """
  targets = optax.smooth_labels(targets, label_smoothing)
  if not focal_gamma:
    return optax.softmax_cross_entropy(logits, targets)
  log_p = jax.nn.log_softmax(logits)
  # Where p rounds to 1, powers below 1 would have an infinite slope.
  missing = jnp.maximum(-jnp.expm1(log_p), 1e-8)
  return -jnp.sum(targets * missing**focal_gamma * log_p, axis=-1)


def adjust_logits(
  logits: jax.Array, log_prior: jax.Array, *, tau: float
) -> jax.Array:
  """Logits to train with, so that those without the change are balanced.

  The network then learns what speaks for a class beside its share of the images
  (Menon et al., "Long-tail learning via logit adjustment", 2021, equation 10).

  Args:
    logits: f32[batch, classes].
    log_prior: f32[classes], from `log_prior`.
    tau: how far; 1 aims at the best balanced accuracy.

  Returns:
    f32[batch, classes].
  """
  return logits + tau * log_prior.reshape(1, -1)


def log_prior(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Logarithms of the classes' shares.

  Args:
    labels: i32[n] of the training split.
    num_classes: number of classes; one that does not occur counts as if it did
      once, so that its logarithm is finite.

  Returns:
    f32[num_classes], at most 0; the shares sum to 1.
  """
  counts = np.maximum(np.bincount(labels, minlength=num_classes), 1)
  return np.float32(np.log(counts / counts.sum()))


def balanced_class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Weights inverse to class frequency, 1 on average over `labels`.

  Args:
    labels: i32[n] of the training split.
    num_classes: number of classes; one that does not occur gets weight 0.

  Returns:
    f32[num_classes].
  """
  counts = np.bincount(labels, minlength=num_classes)
  present = counts > 0
  weights = np.zeros(num_classes, np.float32)
  weights[present] = len(labels) / (present.sum() * counts[present])
  return weights


def target_weights(weights: jax.Array, targets: jax.Array) -> jax.Array:
  """The weight of each example: its class's, or the mean of a mixture's.

  Args:
    weights: f32[classes], finite.
    targets: f32[batch, classes], each row with the sum 1.

  Returns:
    f32[batch].
  """
  return jnp.sum(targets * weights.reshape(1, -1), axis=-1)
