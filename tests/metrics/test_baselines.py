"""Tests of baselines on images whose classes are colours, or are not."""

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.metrics import baselines, classification

_SIZE = (5, 7)


def _images(colours: np.ndarray, noise: int = 30, seed: int = 0) -> np.ndarray:
  """u8[n, h, w, 3] around colours f[n, 3]."""
  rng = np.random.default_rng(seed)
  shape = (len(colours), *_SIZE, 3)
  values = colours[:, None, None] + rng.integers(-noise, noise + 1, shape)
  return np.clip(values, 0, 255).astype(np.uint8)


def _coloured(n: int = 120, classes: int = 2):
  labels = (np.arange(n) * 7 % classes).astype(np.int32)
  palette = np.array([[200, 60, 90], [90, 60, 200], [60, 200, 90]])
  return _images(palette[labels]), labels


def _chequered(n: int = 120):
  """One mean colour, two textures: all grey, or black and white."""
  rng = np.random.default_rng(1)
  labels = (np.arange(n) % 2).astype(np.int32)
  white = rng.integers(0, 2, (n, *_SIZE, 1)) * 255
  grey = 255 * rng.binomial(35, 0.5, (n, 1, 1, 1)) / 35
  images = np.where(labels[:, None, None, None], white, grey + 0 * white)
  return images.repeat(3, axis=3).astype(np.uint8), labels


def _parts(n: int = 120):
  rows = np.random.default_rng(3).permutation(n)
  return {"train": rows[:70], "rows": rows[70:]}


@pytest.mark.parametrize("classes", [2, 3])
def test_colour_baselines_learn_colours(classes):
  images, labels = _coloured(classes=classes)
  parts = _parts()
  predictions = baselines.predict(images, labels, classes=classes, **parts)
  for name, found in predictions.items():
    np.testing.assert_array_equal(found.ids, parts["rows"])
    np.testing.assert_array_equal(found.labels, labels[parts["rows"]])
    assert found.logits.shape == (50, classes)
    assert found.ids.dtype == found.labels.dtype == np.int32
    assert found.logits.dtype == found.losses.dtype == np.float32
    result = classification.summarize(found, positive=None)
    expected = sklearn.metrics.log_loss(
      found.labels, found.probabilities(), labels=range(classes)
    )
    assert result["loss"] == pytest.approx(expected, abs=1e-6)
    majority = name == "majority class"
    assert result["accuracy"] < 0.65 if majority else result["accuracy"] > 0.99


def test_majority_class_of_the_training_part():
  labels = np.array([0, 1, 1, 1, 2, 2, 0, 0, 0, 0], np.int32)
  found = baselines.predict(
    _images(np.zeros((10, 3))),
    labels,
    train=np.arange(6),
    rows=np.arange(6, 10),
    classes=4,
  )["majority class"]
  # One more of each class than there is.
  np.testing.assert_allclose(
    found.probabilities(), [[0.2, 0.4, 0.3, 0.1]] * 4, atol=1e-7
  )
  result = classification.summarize(found, positive=None)
  assert result["accuracy"] == 0
  assert result["majority_rate"] == 1


def test_histogram_separates_images_of_equal_mean():
  images, labels = _chequered()
  found = baselines.predict(images, labels, classes=2, **_parts())
  mean, histogram = (
    classification.summarize(found[name], positive=1)["auroc"]
    for name in ("mean colour", "colour histogram")
  )
  assert abs(mean - 0.5) < 0.2
  assert histogram > 0.95


def test_features_are_means_and_shares_of_colours():
  images = _images(np.array([[10, 130, 250], [60, 70, 200]]), noise=60)
  np.testing.assert_allclose(
    baselines._mean_colours(images), images.mean(axis=(1, 2)) / 255, atol=1e-12
  )
  expected = [
    np.histogramdd(image.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)[0]
    for image in images
  ]
  np.testing.assert_allclose(
    baselines._colour_histograms(images), np.reshape(expected, (2, 64)) / 35
  )


def test_images_are_read_in_blocks(tmp_path, monkeypatch):
  images, labels = _coloured()
  whole = baselines.predict(images, labels, classes=2, **_parts())
  np.save(tmp_path / "images.npy", images)
  mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
  sizes = []
  describe = baselines._colour_histograms

  def watched(block):
    sizes.append(len(block))
    return describe(block)

  monkeypatch.setattr(baselines, "_BLOCK_BYTES", 8 * images[0].nbytes)
  monkeypatch.setattr(baselines, "_colour_histograms", watched)
  blocks = baselines.predict(mapped, labels, classes=2, **_parts())
  assert sizes == [8] * 8 + [6] + [8] * 6 + [2]
  name = "colour histogram"
  assert blocks[name].logits.tobytes() == whole[name].logits.tobytes()


def test_a_class_without_training_images_has_a_finite_loss():
  images, labels = _coloured(classes=3)
  train = np.flatnonzero(labels < 2)[:40]
  rows = np.arange(120)
  for found in baselines.predict(
    images, labels, classes=3, train=train, rows=rows
  ).values():
    assert np.isfinite(found.losses).all()
    assert found.logits.argmax(1).max() < 2
    # As if seen once in 40 + 3 images.
    np.testing.assert_allclose(found.probabilities()[:, 2], 1 / 43, rtol=1e-5)
  # With one class there is nothing but its share.
  images, labels = _coloured()
  train = np.flatnonzero(labels == 1)[:20]
  found = baselines.predict(
    images, labels, classes=2, train=train, rows=np.arange(9)
  )
  for name in ("mean colour", "colour histogram"):
    np.testing.assert_array_equal(
      found[name].logits, found["majority class"].logits
    )


def test_each_label_has_a_regression_of_its_own():
  """Red and blue are in the colour; a third label is of every image."""
  rng = np.random.default_rng(5)
  labels = rng.integers(0, 2, (160, 4), np.uint8)
  labels[:, 2], labels[:, 3] = 1, 0
  images = _images(60 + 120 * labels[:, [0, 3, 1]])
  parts = {"train": np.arange(100), "rows": np.arange(100, 160)}
  found = baselines.predict(images, labels, classes=4, **parts)
  assert list(found) == ["label shares", "mean colour", "colour histogram"]
  for name, outputs in found.items():
    np.testing.assert_array_equal(outputs.labels, labels[100:])
    assert outputs.logits.dtype == outputs.losses.dtype == np.float32
    assert np.isfinite(outputs.logits).all()
    result = classification.summarize(outputs, positive=None)
    expected = sklearn.metrics.log_loss(
      outputs.labels[:, :2].ravel(),
      outputs.probabilities()[:, :2].ravel(),
    )
    # Of the last two labels nothing is left to be told.
    assert result["loss"] == pytest.approx(expected / 2, abs=0.01)
    area = result["macro_auroc"]
    assert area == (0.5 if name == "label shares" else 1.0)
  shares = found["label shares"].probabilities()[0]
  np.testing.assert_allclose(shares, labels[:100].mean(0), atol=0.01)
