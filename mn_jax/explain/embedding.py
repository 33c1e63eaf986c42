"""Features of images, their projections onto a plane, and class separation."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.decomposition
import sklearn.manifold
import sklearn.metrics
import threadpoolctl

from mn_jax.augment import inputs
from mn_jax.errors import InputError
from mn_jax.models import variables as variables_lib
from mn_jax.models.classifier import Classifier
from mn_jax.models.spec import Conventions
from mn_jax.parallel import batching

_TSNE_COMPONENTS = 50  # principal components that t-SNE starts from
_MAX_DISTANCES = 1 << 24  # between pairs of images, in memory at once


@dataclasses.dataclass(frozen=True)
class Projections:
  """Features projected onto a plane.

  Attributes:
    pca: f64[n, 2], the first two principal components.
    explained_variance: share of the variance in each of them, in [0, 1]; NaN
      where all features are equal.
    tsne: f64[n, 2].
  """

  pca: np.ndarray
  explained_variance: tuple[float, float]
  tsne: np.ndarray


def layers(module: Classifier, resolution: int) -> tuple[str, ...]:
  """Returns the names of a network's feature maps, 'pooled' last.

  Args:
    module: the network.
    resolution: input size in pixels.
  """
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  shapes = variables_lib.shapes(module, resolution)
  names: list[str] = []

  def apply(values, x):
    # While it is traced: JAX sorts the keys of a dictionary that it returns.
    names.extend(module.apply(values, x, False)[1])

  jax.eval_shape(apply, shapes, image)
  return tuple(names)


def features(
  module: Classifier,
  conventions: Conventions,
  variables: dict,
  images: np.ndarray,
  *,
  layer: str,
  resolution: int,
  batch_size: int,
  progress: Callable[[int, int], None],
) -> np.ndarray:
  """Computes a layer's features of images, averaged over each map's pixels.

  Args:
    module: the network.
    conventions: how its input is normalised.
    variables: its parameters and running statistics.
    images: u8[n, h, w, 3].
    layer: one of `layers`; 'pooled' is the last feature map.
    resolution: input size in pixels; 0: that of the images.
    batch_size: largest number of images in a batch.
    progress: called with (images done, images in all).

  Returns:
    Features f32[n, channels].
  """

  @jax.jit
  def apply(values: dict, batch: jax.Array) -> jax.Array:
    x = inputs.to_input(
      batch, resolution=resolution, mean=conventions.mean, std=conventions.std
    )
    maps = module.apply(values, x, False)[1][layer].astype(jnp.float32)
    return maps if maps.ndim == 2 else maps.mean(axis=(1, 2))

  program = functools.partial(apply, jax.device_put(variables))
  rows = []
  for row in batching.apply_in_batches(program, images, batch_size=batch_size):
    rows.append(row)
    progress(len(rows), len(images))
  return np.stack(rows)


def project(features: np.ndarray, *, seed: int) -> Projections:
  """Projects features onto a plane by PCA and by t-SNE.

  t-SNE (van der Maaten and Hinton 2008) takes the first 50 principal components
  and is initialised with the first two. The distances between its clusters and
  their sizes have no meaning.

  Args:
    features: f32[n, channels].
    seed: random seed of t-SNE.

  Raises:
    InputError: if there are too few images.
  """
  if len(features) < 4 or features.shape[1] < 2:
    raise InputError(
      f"--count: got {len(features)} images with {features.shape[1]} features; "
      "valid: 4 images and 2 features at least"
    )
  values = features.astype(np.float64)
  if np.ptp(values, axis=0).max() == 0:
    origin = np.zeros((len(values), 2))
    return Projections(origin, (np.nan, np.nan), origin)
  pca = sklearn.decomposition.PCA(
    min(_TSNE_COMPONENTS, *values.shape), svd_solver="full"
  )
  components = pca.fit_transform(values)
  tsne = sklearn.manifold.TSNE(
    perplexity=min(30.0, (len(values) - 1) / 3), init="pca", random_state=seed
  )
  first, second = pca.explained_variance_ratio_[:2].tolist()
  # Its threads spin while they wait for each other: where other programs use
  # the processors too, one thread is ten times as fast as two.
  with threadpoolctl.threadpool_limits(1):
    embedded = tsne.fit_transform(components)
  return Projections(components[:, :2].copy(), (first, second), embedded)


def knn_accuracy(
  features: np.ndarray,
  labels: np.ndarray,
  groups: np.ndarray | None,
  *,
  k: int = 5,
) -> float:
  """Leave-one-out accuracy of a k-nearest-neighbours classifier.

  It predicts the majority class of the k nearest other images by Euclidean
  distance; of classes in a tie, that of the nearest image.

  Args:
    features: f32[n, channels].
    labels: i32[n].
    groups: str[n], such as patients; images of the same group are not
      neighbours. None: all other images may be.
    k: number of neighbours.

  Returns:
    Accuracy in [0, 1]; NaN if an image has fewer than k possible neighbours.
  """
  values = features.astype(np.float64)
  values = values - values.mean(axis=0)
  squares = (values**2).sum(axis=1)
  if groups is None:
    group = np.arange(len(values))
  else:
    group = np.unique(groups, return_inverse=True)[1]
  if len(values) - np.bincount(group).max() < k:
    return float("nan")
  # Above 1 for each neighbour; the rest breaks ties and never adds up to 1.
  weights = 1 + 0.5 ** (2 + np.arange(k))
  correct = 0
  step = max(1, _MAX_DISTANCES // len(values))
  for start in range(0, len(values), step):
    block = slice(start, start + step)
    distances = squares - 2 * values[block] @ values.T
    distances[group[block, None] == group] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(nearest), labels.max() + 1))
    for rank in range(k):
      votes[np.arange(len(nearest)), labels[nearest[:, rank]]] += weights[rank]
    correct += (votes.argmax(axis=1) == labels[block]).sum()
  return float(correct / len(values))


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
  """Computes the mean silhouette coefficient (Rousseeuw 1987) of the classes.

  It is near 1 where images are much closer to their own class than to the next
  one, and near 0 where classes overlap.

  Args:
    features: f32[n, channels].
    labels: i32[n].

  Returns:
    The mean over images, in [-1, 1]; NaN where there are fewer than two
    classes, or as many as images.
  """
  if not 2 <= len(np.unique(labels)) < len(labels):
    return float("nan")
  return float(
    sklearn.metrics.silhouette_score(features.astype(np.float64), labels)
  )
