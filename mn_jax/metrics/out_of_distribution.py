"""How far images are from those that a network was trained on.

A network gives a class to every image, also to one that is nothing like those
of training. Two scores, higher for images that are stranger:

- the distance to the k-th nearest training image (Sun et al. 2022,
  "Out-of-Distribution Detection with Deep Nearest Neighbors"), between features
  of which every channel has the same spread over training images;
- the energy of the logits (Liu et al. 2020, "Energy-based Out-of-distribution
  Detection"), which needs no training image.

Sun et al. scale features to length 1 instead. That is as good for features of
ImageNet, but with a network that was trained on small data alone it found
strange images to be nearer than those of validation (docs/trust.md). The
Mahalanobis distance (Lee et al. 2018) ranked images as these distances do, and
needs a covariance of a thousand channels from two thousand images. Neither
score has a unit; what an image's score means is told by those of validation
images, which are from where the training images are from.
"""

import functools
from collections.abc import Iterator

import numpy as np
import scipy.special
import threadpoolctl

# k: Sun et al. take 1 in 1,000 (50 of 50,000, 1,000 of 1.3 million), which is 2
# of 2,048. From 1 to 20, the area under the ROC curve changes by 0.02 at most.
NEIGHBOURS = 5
_LEAST_SPREAD = 0.1  # of the root mean square over channels
_MAX_DISTANCES = 1 << 22  # between pairs of images, in memory at once


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean and the spread of every channel, f32[channels] each.

  The spread is a standard deviation, of at least a tenth of what is usual: a
  channel that is silent in training does not outweigh all others.

  Args:
    features: f[n, channels], of training images.
  """
  features = features.astype(np.float64)
  variance = features.var(axis=0)
  spread = np.sqrt(variance + _LEAST_SPREAD**2 * variance.mean())
  spread = np.where(spread > 0, spread, 1)
  return features.mean(axis=0).astype(np.float32), spread.astype(np.float32)


class Neighbours:
  """Reference images, to which the distances of others are computed."""

  def __init__(self, reference: np.ndarray):
    """Takes features, without the mean and the spread of `moments`.

    Args:
      reference: f[m, channels], of training images.
    """
    self._reference = reference.astype(np.float32)
    self._squares = np.square(self._reference).sum(axis=1)

  def distances(
    self, features: np.ndarray, *, neighbours: int = NEIGHBOURS
  ) -> np.ndarray:
    """Returns f64[n], the Euclidean distances to the k-th nearest image.

    Args:
      features: f[n, channels], with the mean and the spread taken out.
      neighbours: k; at most m are taken.
    """
    k = min(neighbours, len(self._reference)) - 1
    distances = [np.empty(0)]
    for parts, squares in self._squared_distances(features):
      kth = np.partition(parts, k, axis=1)[:, k]
      distances.append(np.sqrt((kth + squares).clip(0)))
    return np.concatenate(distances)

  def nearest(
    self, features: np.ndarray, *, neighbours: int = NEIGHBOURS
  ) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest reference images, the nearest first.

    Args:
      features: f[n, channels], with the mean and the spread taken out.
      neighbours: k; at most m are taken.

    Returns:
      i64[n, k], places in the reference, and f64[n, k], Euclidean distances.
    """
    k = min(neighbours, len(self._reference))
    places, distances = [np.empty((0, k), np.int64)], [np.empty((0, k))]
    for parts, squares in self._squared_distances(features):
      found = np.argsort(parts, axis=1, kind="stable")[:, :k]
      chosen = np.take_along_axis(parts, found, axis=1) + squares[:, None]
      places.append(found)
      distances.append(np.sqrt(chosen.clip(0)))
    return np.concatenate(places), np.concatenate(distances)

  def _squared_distances(
    self, features: np.ndarray
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the terms of squared distances, for a block of images at a time.

    Args:
      features: f[n, channels].

    Yields:
      f32[b, m], without the squares of the images themselves, which change no
      order, and f64[b], these squares.
    """
    features = features.astype(np.float32, copy=False)
    step = max(1, _MAX_DISTANCES // len(self._reference))
    for start in range(0, len(features), step):
      block = features[start : start + step]
      # Threads of BLAS spin while they wait for each other: where the network
      # keeps the processors busy, one is nine times as fast as two.
      with _blas().limit(limits=1, user_api="blas"):
        products = block @ self._reference.T
      squares = np.square(block.astype(np.float64)).sum(axis=1)
      yield self._squares - 2 * products, squares


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
  return threadpoolctl.ThreadpoolController()


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
  share, percentile = _share_beyond(count), strange_from(count)
  beyond = int((percentages >= percentile).sum())
  if (
    beyond and scipy.special.bdtrc(beyond - 1, len(percentages), share) >= 0.05
  ):
    beyond = 0
  return beyond, percentile


def strange_from(count: int) -> float:
  """Returns the percentile from which an image counts as strange.

  See `many_beyond`.

  Args:
    count: number of validation images.
  """
  return 100 * (1 - _share_beyond(count))


def _share_beyond(count: int) -> float:
  return max(0.01, 1 / (count + 1))
