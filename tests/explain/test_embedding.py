"""Features of images, their projections, and how classes lie in them."""

import jax
import numpy as np
import pytest
import sklearn.neighbors

from mn_jax.augment import inputs
from mn_jax.errors import InputError
from mn_jax.explain import embedding
from mn_jax.models import registry, variables


def clusters(count=60, classes=3, width=6):
  """(features, labels): a cloud for each class."""
  rng = np.random.default_rng(0)
  labels = (np.arange(count) % classes).astype(np.int32)
  centres = 4 * rng.normal(size=(classes, width))
  return (centres[labels] + rng.normal(size=(count, width))).astype(
    "f4"
  ), labels


@pytest.fixture(scope="module")
def network():
  made = registry.describe("simple_cnn", num_classes=4, width=0.25)
  module = registry.build(made)
  return module, made.conventions, variables.initial_values(module, 16, seed=0)


def extract(network, images, layer="pooled", **options):
  module, conventions, values = network
  return embedding.features(
    module,
    conventions,
    values,
    images,
    layer=layer,
    **{
      "resolution": 0,
      "batch_size": 4,
      "progress": lambda *_: None,
      **options,
    },
  )


def make_images(count=6, size=16):
  shape = (count, size, size, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_features_are_means_of_the_map(network):
  module, conventions, values = network
  names = embedding.layers(module, 16)
  assert len(names) > 2
  assert (names[0], names[-1]) == ("block0", "pooled")
  images, seen = make_images(), []
  x = inputs.to_input(
    images, resolution=0, mean=conventions.mean, std=conventions.std
  )
  maps = jax.jit(lambda v, x: module.apply(v, x, False)[1])(values, x)
  found = extract(network, images, progress=lambda *step: seen.append(step))
  np.testing.assert_allclose(found, maps["pooled"], atol=1e-6)
  assert seen == [(i, 6) for i in range(1, 7)]
  found = extract(network, images, layer="block0", batch_size=6)
  np.testing.assert_allclose(
    found, np.asarray(maps["block0"]).mean(axis=(1, 2)), atol=1e-6
  )


def test_neighbours_are_those_of_brute_force():
  features, labels = clusters(count=50)
  # Noise, or every answer would be right.
  features += np.random.default_rng(1).normal(0, 6, features.shape).astype("f4")
  right = []
  for i in range(len(labels)):
    others = np.delete(np.arange(len(labels)), i)
    known = sklearn.neighbors.KNeighborsClassifier(1).fit(
      features[others], labels[others]
    )
    right.append(known.predict(features[i : i + 1])[0] == labels[i])
  expected = np.mean(right)
  assert 0.4 < expected < 0.95
  assert embedding.knn_accuracy(features, labels, None, k=1) == expected


def test_images_of_a_group_are_no_neighbours():
  """Copies within a group would answer all; other groups answer wrongly."""
  features = np.repeat(np.arange(4.0), 3)[:, None].astype("f4") * [[1, 0]]
  labels = np.repeat([0, 1, 0, 1], 3).astype(np.int32)
  groups = np.repeat(["a", "b", "c", "d"], 3)
  assert embedding.knn_accuracy(features, labels, None, k=2) == 1
  assert embedding.knn_accuracy(features, labels, groups, k=3) == 0


def test_of_equally_common_classes_the_nearest_answers():
  # Two far pairs of groups, of which only the images at 0 and 4 have neighbours
  # that differ: 1, 2, 2, 1 of the first, in order of distance.
  features = np.array([[0], [1], [2], [3], [4]], "f4")
  for first, others in ((1, [1, 2, 2, 1]), (2, [2, 1, 1, 2])):
    labels = np.array([first, *others], np.int32)
    whole = embedding.knn_accuracy(features, labels, None, k=4)
    # Each by hand: the others in order of distance, of equal ones the earlier.
    right = []
    for i in range(5):
      near = sorted(set(range(5)) - {i}, key=lambda j, i=i: (abs(i - j), j))
      votes = [labels[j] for j in near]
      best = max(set(votes), key=lambda c: (votes.count(c), -votes.index(c)))
      right.append(best == labels[i])
    assert 0 < np.mean(right) < 1
    assert whole == np.mean(right)


def test_what_is_not_defined_is_nan():
  features, labels = clusters(count=6)
  one_group = np.array(["a"] * 6)
  assert np.isnan(embedding.knn_accuracy(features, labels, one_group))
  assert np.isnan(embedding.silhouette(features, np.zeros(6, np.int32)))
  assert np.isnan(embedding.silhouette(features, np.arange(6, dtype=np.int32)))


def test_the_silhouette_tells_clusters_from_noise():
  features, labels = clusters()
  shuffled = np.random.default_rng(0).permutation(labels)
  assert embedding.silhouette(features, labels) > 0.4
  assert abs(embedding.silhouette(features, shuffled)) < 0.1


def test_planes_show_what_there_is():
  features, labels = clusters()
  projections = embedding.project(features, seed=0)
  assert projections.pca.shape == projections.tsne.shape == (60, 2)
  singular = np.linalg.svd(features - features.mean(axis=0))[1] ** 2
  np.testing.assert_allclose(
    projections.explained_variance, singular[:2] / singular.sum(), rtol=1e-4
  )
  for points in (projections.pca, projections.tsne):
    assert embedding.knn_accuracy(points, labels, None) > 0.95
  again = embedding.project(features, seed=0)
  np.testing.assert_array_equal(projections.tsne, again.tsne)


def test_planes_of_equal_images_are_a_point():
  projections = embedding.project(np.ones((8, 3), np.float32), seed=0)
  assert not projections.pca.any()
  assert not projections.tsne.any()
  assert np.isnan(projections.explained_variance).all()
  with pytest.raises(InputError, match="--count: got 3 images with 5 features"):
    embedding.project(np.ones((3, 5), np.float32), seed=0)
