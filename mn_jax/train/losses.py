"""Losses per example; reductions are left to the step.

Images of exactly one class have the softmax cross-entropy, images of any number
of labels the binary cross-entropy of every label's sigmoid.
"""

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


def binary_cross_entropy(
  logits: jax.Array,
  targets: jax.Array,
  *,
  weights: jax.Array | None = None,
  label_smoothing: float = 0.0,
  focal_gamma: float = 0.0,
) -> jax.Array:
  """Sigmoid cross-entropy of several labels per image, or the focal loss.

  Args:
    logits: f32[batch, classes].
    targets: f32[batch, classes] in [0, 1]: 1 for every label that an image has,
      or the label's share of a mixed image.
    weights: f32[2, classes], factors of each label's loss: in the first row for
      images without the label, in the second for those with it; a mixture has
      its shares of both. None: 1.
    label_smoothing: share of a target that is spread evenly over absent and
      present: targets are in [share / 2, 1 - share / 2], as in Keras.
    focal_gamma: exponent of the factor (1 - p) by which a label's loss is less,
      the better its presence or absence is predicted (Lin et al. 2017, equation
      4, without alpha); 0: none.

  Returns:
    f32[batch], the mean over the labels, in nats.
  """
  log_p, log_not_p = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
  present, absent = -log_p, -log_not_p
  if focal_gamma:
    present *= jnp.exp(focal_gamma * log_not_p)
    absent *= jnp.exp(focal_gamma * log_p)
  if label_smoothing:
    half = label_smoothing / 2
    present, absent = (
      (1 - half) * present + half * absent,
      (1 - half) * absent + half * present,
    )
  if weights is not None:
    absent *= weights[:1]
    present *= weights[1:]
  return jnp.mean(targets * present + (1 - targets) * absent, axis=-1)


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
  """Logarithms of the classes' shares; of several labels, their log odds.

  Args:
    labels: of the training split: i32[n], or u8[n, num_classes] for several
      labels per image.
    num_classes: number of classes; one that does not occur counts as if it did
      once, and a label of every image as if one lacked it, so that all results
      are finite.

  Returns:
    f32[num_classes]: logarithms of shares that sum to 1, or for several labels
    of each one's share over the share of images without it.
  """
  if labels.ndim == 2:
    present = np.clip(_present(labels), 1, max(1, len(labels) - 1))
    return np.float32(np.log(present / np.maximum(len(labels) - present, 1)))
  counts = np.maximum(np.bincount(labels, minlength=num_classes), 1)
  return np.float32(np.log(counts / counts.sum()))


def balanced_class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Weights inverse to class frequency, 1 on average over `labels`.

  Of several labels each is weighted for itself, as two classes: images with it
  have together the weight of all images without it. So the ratio of the two
  weights is the number of images without the label over that with it.

  Args:
    labels: of the training split: i32[n], or u8[n, num_classes] for several
      labels per image.
    num_classes: number of classes; one that does not occur gets weight 0.

  Returns:
    f32[num_classes]; for several labels f32[2, num_classes], of images without
    and with the label.
  """
  if labels.ndim == 2:
    present = _present(labels)
    counts = np.stack([len(labels) - present, present])
  else:
    counts = np.bincount(labels, minlength=num_classes)
  occurs = counts > 0
  kinds = np.broadcast_to(occurs.sum(axis=0), counts.shape)
  weights = np.zeros(counts.shape, np.float32)
  weights[occurs] = len(labels) / (kinds[occurs] * counts[occurs])
  return weights


def _present(labels: np.ndarray) -> np.ndarray:
  """Returns i64[classes], how many of u8[n, classes] have each label."""
  return labels.sum(axis=0, dtype=np.int64)


def target_weights(weights: jax.Array, targets: jax.Array) -> jax.Array:
  """The weight of each example: its class's, or the mean of a mixture's.

  Args:
    weights: f32[classes], finite.
    targets: f32[batch, classes], each row with the sum 1.

  Returns:
    f32[batch].
  """
  return jnp.sum(targets * weights.reshape(1, -1), axis=-1)
