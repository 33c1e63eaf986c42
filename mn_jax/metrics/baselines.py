"""Baselines without a network: majority class, and linear models of colour.

A network that is no better than a linear model of colour has not learnt to
look at shapes, and one that is no better than the majority class has not learnt
anything. All baselines are deterministic.
"""

from collections.abc import Callable, Iterator

import numpy as np
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing

from mn_jax.metrics.predictions import Predictions

_BLOCK_BYTES = 4 << 20
# Colours fall into so many bins along red, green and blue.
_SIDE = 4


def majority(
  labels: np.ndarray, *, train: np.ndarray, rows: np.ndarray, classes: int
) -> Predictions:
  """Predicts the class shares of the training part, whatever the image.

  Args:
    labels: i32[n], of all images.
    train: i64[m], rows of the training part.
    rows: i64[k], rows to predict.
    classes: number of classes.
  """
  counts = np.bincount(labels[train], minlength=classes)
  shares = np.tile(counts / len(train), (len(rows), 1))
  return _predictions(labels, rows, shares, len(train))


def mean_colour(
  images: np.ndarray,
  labels: np.ndarray,
  *,
  train: np.ndarray,
  rows: np.ndarray,
  classes: int,
) -> Predictions:
  """Predicts by logistic regression on the mean colour of an image.

  Args:
    images: u8[n, h, w, 3], may be memory-mapped: read in blocks.
    labels: i32[n].
    train: i64[m], rows of the training part.
    rows: i64[k], rows to predict.
    classes: number of classes.
  """
  return _regress(_means, images, labels, train, rows, classes)


def colour_histogram(
  images: np.ndarray,
  labels: np.ndarray,
  *,
  train: np.ndarray,
  rows: np.ndarray,
  classes: int,
) -> Predictions:
  """Predicts by logistic regression on the shares of 4 x 4 x 4 colours.

  After Swain and Ballard, "Color indexing", 1991.

  Args:
    images: u8[n, h, w, 3], may be memory-mapped: read in blocks.
    labels: i32[n].
    train: i64[m], rows of the training part.
    rows: i64[k], rows to predict.
    classes: number of classes.
  """
  return _regress(_histograms, images, labels, train, rows, classes)


def _regress(
  describe: Callable[[np.ndarray], np.ndarray],
  images: np.ndarray,
  labels: np.ndarray,
  train: np.ndarray,
  rows: np.ndarray,
  classes: int,
) -> Predictions:
  known = np.unique(labels[train])
  if len(known) == 1:  # nothing to tell apart
    return majority(labels, train=train, rows=rows, classes=classes)
  model = sklearn.pipeline.make_pipeline(
    sklearn.preprocessing.StandardScaler(),
    sklearn.linear_model.LogisticRegression(max_iter=10_000),
  )
  model.fit(_features(describe, images, train), labels[train])
  probabilities = np.zeros((len(rows), classes))
  probabilities[:, known] = model.predict_proba(
    _features(describe, images, rows)
  )
  return _predictions(labels, rows, probabilities, len(train))


def _predictions(
  labels: np.ndarray, rows: np.ndarray, probabilities: np.ndarray, seen: int
) -> Predictions:
  """As of a network, from f64[k, classes].

  By Laplace's rule of succession, as if each class had been seen once more, so
  that a class without training images has a finite loss too. The order of the
  probabilities stays.
  """
  classes = probabilities.shape[1]
  logits = np.log((seen * probabilities + 1) / (seen + classes))
  own = logits[np.arange(len(rows)), labels[rows]]
  return Predictions(
    ids=rows.astype(np.int32),
    labels=labels[rows].astype(np.int32),
    logits=logits.astype(np.float32),
    losses=-own.astype(np.float32),
  )


def _features(
  describe: Callable[[np.ndarray], np.ndarray],
  images: np.ndarray,
  rows: np.ndarray,
) -> np.ndarray:
  """f64[rows, features]."""
  return np.concatenate([describe(block) for block in _blocks(images, rows)])


def _blocks(images: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
  size = max(1, _BLOCK_BYTES // images[:1].nbytes)
  for start in range(0, len(rows), size):
    yield images[rows[start : start + size]]


def _means(images: np.ndarray) -> np.ndarray:
  """f64[n, 3], 0 to 1."""
  pixels = images.shape[1] * images.shape[2]
  return images.sum(axis=(1, 2), dtype=np.int64) / (255 * pixels)


def _histograms(images: np.ndarray) -> np.ndarray:
  """f64[n, 64], each row with the sum 1."""
  count, pixels = len(images), images.shape[1] * images.shape[2]
  levels = (images // (256 // _SIDE)).astype(np.int64).reshape(count, pixels, 3)
  colours = levels @ np.array([_SIDE**2, _SIDE, 1])
  colours += _SIDE**3 * np.arange(count)[:, None]
  counts = np.bincount(colours.ravel(), minlength=count * _SIDE**3)
  return counts.reshape(count, -1) / pixels
