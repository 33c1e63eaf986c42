"""What a network makes of images before its head, and how classes lie in it."""

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
from mn_jax.models.registry import Conventions
from mn_jax.parallel import buckets

# Of the features, for t-SNE.
_COMPONENTS = 50
# Distances in memory at once.
_DISTANCES = 1 << 24


@dataclasses.dataclass(frozen=True)
class Planes:
  """Features in two dimensions.

  Attributes:
    pca: f64[n, 2], the two principal components.
    shares: of the variance that each has; NaN where there is none.
    tsne: f64[n, 2].
  """

  pca: np.ndarray
  shares: tuple[float, float]
  tsne: np.ndarray


def layers(module: Classifier, resolution: int) -> tuple[str, ...]:
  """The names of a network's feature maps, 'pooled' last.

  Args:
    module: the network.
    resolution: of its input in pixels.
  """
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  shapes = variables_lib.shapes(module, resolution)
  names: list[str] = []

  def apply(values, x):
    # Traced, for the order of names, which a dictionary loses that leaves JAX.
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
  """A feature map of every image, averaged over its pixels.

  Args:
    module: the network.
    conventions: its input's.
    variables: its parameters and statistics.
    images: u8[n, h, w, 3].
    layer: a name in `layers`; 'pooled' is the last map.
    resolution: of the network's input in pixels; 0: as the images are.
    batch_size: images at once, at most.
    progress: called with (images done, images in all).

  Returns:
    f32[n, c].
  """

  @jax.jit
  def apply(values: dict, batch: jax.Array) -> jax.Array:
    x = inputs.to_input(
      batch,
      resolution=resolution,
      mean=conventions.mean,
      std=conventions.std,
    )
    found = module.apply(values, x, False)[1][layer].astype(jnp.float32)
    return found if found.ndim == 2 else found.mean(axis=(1, 2))

  program = functools.partial(apply, jax.device_put(variables))
  found = []
  for row in buckets.stream(program, images, largest=batch_size):
    found.append(row)
    progress(len(found), len(images))
  return np.stack(found)


def planes(features: np.ndarray, *, seed: int) -> Planes:
  """Projects features onto planes.

  t-SNE (van der Maaten and Hinton 2008) takes the first 50 principal components
  and begins at the first two; its distances between clusters and the sizes of
  clusters mean nothing.

  Args:
    features: f32[n, c].
    seed: of t-SNE.

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
    nowhere = np.zeros((len(values), 2))
    return Planes(nowhere, (np.nan, np.nan), nowhere)
  pca = sklearn.decomposition.PCA(
    min(_COMPONENTS, *values.shape), svd_solver="full"
  )
  components = pca.fit_transform(values)
  tsne = sklearn.manifold.TSNE(
    perplexity=min(30.0, (len(values) - 1) / 3),
    init="pca",
    random_state=seed,
  )
  first, second = pca.explained_variance_ratio_[:2].tolist()
  # Its threads wait for each other in loops: where other programs use the
  # processors too, one is ten times as fast as two.
  with threadpoolctl.threadpool_limits(1):
    embedded = tsne.fit_transform(components)
  return Planes(components[:, :2].copy(), (first, second), embedded)


def knn_accuracy(
  features: np.ndarray,
  labels: np.ndarray,
  groups: np.ndarray | None,
  *,
  k: int = 5,
) -> float:
  """Share of images whose nearest others, by Euclid's distance, are right.

  The commonest class of the nearest k answers, of equally common ones that
  with the nearest image.

  Args:
    features: f32[n, c].
    labels: i32[n].
    groups: str[n]; images of the same group are no neighbours. None where
      nothing is known of what belongs together.
    k: neighbours.

  Returns:
    NaN if an image has fewer than k possible neighbours.
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
  right = 0
  step = max(1, _DISTANCES // len(values))
  for start in range(0, len(values), step):
    some = slice(start, start + step)
    distances = squares - 2 * values[some] @ values.T
    distances[group[some, None] == group] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(nearest), labels.max() + 1))
    for rank in range(k):
      found = labels[nearest[:, rank]]
      votes[np.arange(len(nearest)), found] += weights[rank]
    right += (votes.argmax(axis=1) == labels[some]).sum()
  return float(right / len(values))


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
  """How much nearer images are to their own class than to the next one.

  Rousseeuw 1987: the mean over images, in [-1, 1]. NaN where there are fewer
  than two classes, or as many as images.

  Args:
    features: f32[n, c].
    labels: i32[n].
  """
  if not 2 <= len(np.unique(labels)) < len(labels):
    return float("nan")
  return float(
    sklearn.metrics.silhouette_score(features.astype(np.float64), labels)
  )
