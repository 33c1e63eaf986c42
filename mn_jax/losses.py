"""Losses per example; reductions are left to the step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def cross_entropy(
  logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
  """Softmax cross-entropy.

  Args:
    logits: f32[batch, classes].
    labels: i32[batch].
    label_smoothing: share of the target spread evenly over all classes
      (Szegedy et al. 2016, section 7).

  Returns:
    f32[batch], in nats.
  """
  targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
  targets = optax.smooth_labels(targets, label_smoothing)
  return optax.softmax_cross_entropy(logits, targets)


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


def take_class_weights(weights: jax.Array, labels: jax.Array) -> jax.Array:
  """f32[batch]: the weight of each example's class."""
  return jnp.take(weights, labels)
