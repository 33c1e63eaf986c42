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


def test_pixels_never_change(images):
  digest = hashlib.sha256(images.tobytes()).hexdigest()
  assert digest[:16] == "6c6e9c04a3a499cc"


def test_colour_tells_the_pair_and_texture_the_class(images, labels):
  colour = images.mean((1, 2))
  both = np.hstack([colour, _roughness(images)])
  chance = 0.1
  assert 2 * chance < _accuracy(colour, labels) < 0.6
  assert _accuracy(colour, labels) + 0.1 < _accuracy(both, labels) < 0.95
  assert _accuracy(colour, labels % 5) > 0.5


@pytest.mark.parametrize(
  ("classes", "side"), [(2, 64), (8, 48), (10, 32), (5, 64)]
)
def test_textures_are_told_apart_at_any_size(classes, side):
  # Streaks are flat along one direction.
  flatness = [
    _roughness(
      np.stack([_draw(label, n, classes, side) for n in range(2 * _COUNT)])
    )[:, 2]
    for label in (0, (classes + 1) // 2)
  ]
  scores = np.concatenate(flatness)
  is_streak = np.repeat([False, True], 2 * _COUNT)
  order = (scores[is_streak][:, None] < scores[~is_streak]).mean()  # AUROC
  assert 0.75 < order < 0.995


def test_a_look_changes_colour_and_scale():
  plain = [_draw(0, n) for n in range(20)]
  red = [_draw(0, n, look=(0.5, 1, 1, 1)) for n in range(20)]
  ratio = np.mean(red, (0, 1, 2)) / np.mean(plain, (0, 1, 2))
  assert ratio == pytest.approx([0.5, 1, 1], abs=0.02)
  large = [_draw(0, n, look=(1, 1, 1, 2)) for n in range(20)]
  steep = [_roughness(np.stack(many))[:, 1].mean() for many in (plain, large)]
  assert steep[1] < steep[0] - 0.5
