"""How far images are from those that a network was trained on.

A network gives a class to every image, also to one that is nothing like those
of training. Two scores, higher for images that are stranger:

- the distance to the k-th nearest training image, between features that are
  scaled to length 1 (Sun et al. 2022, "Out-of-Distribution Detection with Deep
  Nearest Neighbors");
- the energy of the logits (Liu et al. 2020, "Energy-based Out-of-distribution
  Detection"), which needs no training image.

Nearest neighbours rather than the Mahalanobis distance (Lee et al. 2018): they
need no labels and no covariance of a thousand channels from two thousand
images. Neither score has a unit; what an image's score means is told by those
of validation images, which are from where the training images are from.
"""

import numpy as np
import scipy.special

# The k-th nearest of some thousand images: Sun et al. take 1 in 1,000 (50 of
# 50,000, 1,000 of 1.3 million), which is 2 of 2,048; larger ones are smoother.
NEIGHBOURS = 5
_MAX_DISTANCES = 1 << 22  # between pairs of images, in memory at once


def normalise(features: np.ndarray) -> np.ndarray:
  """Returns f32[n, channels], features f[n, channels] scaled to length 1.

  Features that are all 0 stay so.
  """
  features = features.astype(np.float32)
  lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
  return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def neighbour_distances(
  features: np.ndarray, reference: np.ndarray, *, neighbours: int = NEIGHBOURS
) -> np.ndarray:
  """Returns f64[n], the distances to the k-th nearest reference image.

  They are Euclidean, between unit vectors: from 0 to 2.

  Args:
    features: f[n, channels], as the network gives them.
    reference: f[m, channels], from `normalise`, of training images.
    neighbours: k; at most m are taken.
  """
  k = min(neighbours, len(reference)) - 1
  features = normalise(features)
  reference = reference.astype(np.float32, copy=False)
  step = max(1, _MAX_DISTANCES // len(reference))
  distances = [np.empty(0)]
  for start in range(0, len(features), step):
    similar = features[start : start + step] @ reference.T
    nearest = -np.partition(-similar, k, axis=1)[:, k]
    distances.append(np.sqrt((2 - 2 * nearest.astype(np.float64)).clip(0)))
  return np.concatenate(distances)


def energies(logits: np.ndarray, *, multi_label: bool = False) -> np.ndarray:
  """Returns f64[n], energies at temperature 1.

  They are -logsumexp(logits); with several labels per image the sum of every
  label's, -log(1 + exp(logit)) (Wang et al. 2021, "Can multi-label
  classification networks know what they don't know?").

  Args:
    logits: f[n, classes].
    multi_label: whether an image can have any number of labels.
  """
  logits = logits.astype(np.float64)
  if multi_label:
    return -np.logaddexp(0, logits).sum(axis=1)
  return -scipy.special.logsumexp(logits, axis=1)


def percentiles(scores: np.ndarray, validation: np.ndarray) -> np.ndarray:
  """Returns f64[n], the percentage of validation images with lower scores.

  Those with an equal score count half. 100 is above every validation image.

  Args:
    scores: f64[n], of new images.
    validation: f64[m], of validation images, sorted.
  """
  below = np.searchsorted(validation, scores, "left")
  up_to = np.searchsorted(validation, scores, "right")
  return 50 * (below + up_to) / len(validation)


def many_beyond(percentages: np.ndarray, count: int) -> tuple[int, float]:
  """Tells whether more images are strange than chance would have it.

  Of images that are as those of validation, 1 % lie beyond its 99th percentile;
  or, of fewer than 99 validation images, 1 / (count + 1) beyond all of them.

  Args:
    percentages: f64[n], from `percentiles`.
    count: number of validation images.

  Returns:
    The number of images that lie beyond, 0 if that many are no wonder (with a
    probability of 5 % or more), and the percentile that they lie beyond.
  """
  share = max(0.01, 1 / (count + 1))
  beyond = int((percentages >= 100 * (1 - share)).sum())
  if (
    beyond and scipy.special.bdtrc(beyond - 1, len(percentages), share) >= 0.05
  ):
    beyond = 0
  return beyond, 100 * (1 - share)
