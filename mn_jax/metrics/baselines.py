"""Baselines without a network: majority class, and linear models of colour.

A network that is no better than a linear model of colour has not learnt to
look at shapes, and one that is no better than the majority class has not learnt
anything. All baselines are deterministic.
"""

from collections.abc import Callable

import numpy as np
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing

from mn_jax.metrics.predictions import Predictions, losses

_BLOCK_BYTES = 4 << 20
# Colours fall into this many bins along red, green and blue.
_SIDE = 4


def predict(
  images: np.ndarray,
  labels: np.ndarray,
  *,
  train: np.ndarray,
  rows: np.ndarray,
  classes: int,
) -> dict[str, Predictions]:
  """Fits every baseline to the training part, and predicts other images.

  Args:
    images: u8[n, h, w, 3], may be memory-mapped: read in blocks.
    labels: i32[n]; or u8[n, classes] where an image may have several.
    train: i64[m], rows of the training part.
    rows: i64[k], rows to predict.
    classes: number of classes.

  Returns:
    'majority class', the class shares of the training part whatever the image;
    'mean colour', logistic regression on the mean of an image's pixels; and
    'colour histogram', logistic regression on the shares of 4 x 4 x 4 colours
    (after Swain and Ballard, "Color indexing", 1991). Of several labels the
    first is 'label shares', and each label has a regression of its own.
  """
  if labels.ndim == 2:
    return _predict_labels(images, labels, train, rows)
  counts = np.bincount(labels[train], minlength=classes)
  shares = np.tile(counts / len(train), (len(rows), 1))
  probabilities = {"majority class": shares}
  known = np.flatnonzero(counts)
  for name, describe in _descriptions().items():
    probabilities[name] = shares
    if len(known) > 1:  # otherwise there is nothing to tell apart
      model = _model()
      model.fit(_in_blocks(describe, images, train), labels[train])
      probabilities[name] = np.zeros((len(rows), classes))
      probabilities[name][:, known] = model.predict_proba(
        _in_blocks(describe, images, rows)
      )
  return {
    name: _predictions(labels, rows, values, len(train))
    for name, values in probabilities.items()
  }


def _predict_labels(
  images: np.ndarray, labels: np.ndarray, train: np.ndarray, rows: np.ndarray
) -> dict[str, Predictions]:
  """The baselines of images with several labels, as `predict` returns them."""
  truth = labels[train]
  shares = np.tile(truth.mean(axis=0), (len(rows), 1))
  probabilities = {"label shares": shares}
  # Of a label that no image has, or that all have, there is nothing to learn.
  known = np.flatnonzero((truth.any(axis=0)) & (~truth.all(axis=0)))
  for name, describe in _descriptions().items():
    probabilities[name] = shares.copy()
    seen, new = (_in_blocks(describe, images, x) for x in (train, rows))
    for label in known:
      model = _model().fit(seen, truth[:, label])
      probabilities[name][:, label] = model.predict_proba(new)[:, 1]
  found = {}
  for name, values in probabilities.items():
    # By the rule of succession, as in `_predictions`, between yes and no.
    seen = len(train)
    logits = np.log((seen * values + 1) / (seen * (1 - values) + 1))
    found[name] = Predictions(
      ids=rows.astype(np.int32),
      labels=labels[rows],
      logits=logits.astype(np.float32),
      losses=losses(logits, labels[rows]),
    )
  return found


def _descriptions() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
  return {
    "mean colour": _mean_colours,
    "colour histogram": _colour_histograms,
  }


def _model() -> sklearn.pipeline.Pipeline:
  return sklearn.pipeline.make_pipeline(
    sklearn.preprocessing.StandardScaler(),
    sklearn.linear_model.LogisticRegression(max_iter=10_000),
  )


def _predictions(
  labels: np.ndarray, rows: np.ndarray, probabilities: np.ndarray, seen: int
) -> Predictions:
  """Predictions like those of a network, from f64[k, classes].

  By Laplace's rule of succession, as if each class had been seen once more, so
  that a class without training images has a finite loss too. The order of the
  probabilities stays.
  """
  classes = probabilities.shape[1]
  logits = np.log((seen * probabilities + 1) / (seen + classes))
  return Predictions(
    ids=rows.astype(np.int32),
    labels=labels[rows].astype(np.int32),
    logits=logits.astype(np.float32),
    losses=losses(logits, labels[rows]),
  )


def _in_blocks(
  describe: Callable[[np.ndarray], np.ndarray],
  images: np.ndarray,
  rows: np.ndarray,
) -> np.ndarray:
  """f64[rows, features], of a few images at a time."""
  size = max(1, _BLOCK_BYTES // images[:1].nbytes)
  return np.concatenate(
    [
      describe(images[rows[start : start + size]])
      for start in range(0, len(rows), size)
    ]
  )


def _mean_colours(images: np.ndarray) -> np.ndarray:
  pixels = images.shape[1] * images.shape[2]
  return images.sum(axis=(1, 2), dtype=np.int64) / (255 * pixels)


def _colour_histograms(images: np.ndarray) -> np.ndarray:
  """f64[n, 64], each row with the sum 1."""
  count, pixels = len(images), images.shape[1] * images.shape[2]
  levels = (images // (256 // _SIDE)).astype(np.int64).reshape(count, pixels, 3)
  colours = levels @ np.array([_SIDE**2, _SIDE, 1])
  colours += _SIDE**3 * np.arange(count)[:, None]
  counts = np.bincount(colours.ravel(), minlength=count * _SIDE**3)
  return counts.reshape(count, -1) / pixels
