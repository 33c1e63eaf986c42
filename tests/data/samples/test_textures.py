"""Tests of the textures that stand for classes."""

import hashlib

import numpy as np
import pytest
from numpy.random import Generator, Philox
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mn_jax.data.samples import textures

_COUNT = 20


def _draw(label, number, classes=10, side=64, look=(1.0, 1.0, 1.0, 1.0)):
  key = np.array([label, number], np.uint64)
  return textures.draw(
    Generator(Philox(key=key)),
    label,
    classes,
    height=side,
    width=side,
    look=np.array(look),
  )


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
  return np.repeat(np.arange(10), _COUNT)


@pytest.fixture(scope="module")
def images(labels) -> np.ndarray:
  """u8[n, 64, 64, 3]."""
  return np.stack([_draw(label, number) for number, label in enumerate(labels)])


def _roughness(images: np.ndarray) -> np.ndarray:
  """f64[n, 3]: how steep grey levels are along the flattest direction, the
  steepest, and their ratio; the same for a turned image."""
  grey = images.astype(np.float64).mean(-1)
  gradient = np.stack(np.gradient(grey, axis=(1, 2)), -1)
  tensor = np.einsum("nijk,nijl->nkl", gradient, gradient)
  low, high = np.linalg.eigvalsh(tensor).T
  return np.log(np.stack([low, high, low / high], -1))


def _accuracy(features: np.ndarray, labels: np.ndarray) -> float:
  """Of five nearest neighbours, trained on every other image."""
  model = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
  model.fit(features[::2], labels[::2])
  return model.score(features[1::2], labels[1::2])


def test_colour_tells_the_pair_and_texture_the_class(images, labels):
  colour = images.mean((1, 2))
  both = np.hstack([colour, _roughness(images)])
  chance = 0.1
  assert 2 * chance < _accuracy(colour, labels) < 0.6
  assert _accuracy(colour, labels) + 0.1 < _accuracy(both, labels) < 0.95
  assert _accuracy(colour, labels % 5) > 0.5


def test_pixels_never_change(images):
  digest = hashlib.sha256(images.tobytes())
  for classes, side in ((2, 64), (8, 48), (10, 32), (5, 64)):
    for label in range(classes):
      image = _draw(label, 3, classes, side, look=(0.5, 1, 1.1, 2))
      digest.update(image.tobytes())
  assert digest.hexdigest()[:16] == "ba5c08a4f9921495"
