"""Classifiers of given features, cross-validated: what the features can tell.

A probe of a network's features says how much of its accuracy is in them, and
published features are a baseline for networks. Tuned on what it is tested on,
or tested on images of slides that it has seen, a probe promises too much: here
parameters are chosen by folds within the training images alone, which keep
groups apart whenever the test does (Varma and Simon, "Bias in error estimation
when using cross-validation for model selection", BMC Bioinformatics 7, 2006).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import sklearn.base
import sklearn.discriminant_analysis
import sklearn.impute
import sklearn.linear_model
import sklearn.model_selection
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
import threadpoolctl

from mn_jax.data import strata
from mn_jax.errors import InputError
from mn_jax.metrics.feature_table import FeatureTable
from mn_jax.metrics.predictions import Predictions, losses

# Folds within the training images, by which parameters are chosen.
_INNER_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Classifier:
  """A classifier, and the values of its parameters that are tried.

  Attributes:
    title: what it is.
    build: makes an untrained one.
    grid: number of features -> values by parameter; may be empty.
  """

  title: str
  build: Callable[[], sklearn.base.ClassifierMixin]
  grid: Callable[[int], Mapping[str, tuple[float, ...]]]


CLASSIFIERS = {
  "lda": Classifier(
    "linear discriminant analysis, covariance shrunk (Ledoit and Wolf 2004)",
    lambda: sklearn.discriminant_analysis.LinearDiscriminantAnalysis(
      solver="lsqr", shrinkage="auto"
    ),
    lambda features: {},
  ),
  "logistic": Classifier(
    "logistic regression, L2",
    lambda: sklearn.linear_model.LogisticRegression(max_iter=10_000),
    lambda features: {"C": (1e-3, 1e-2, 1e-1, 1.0)},
  ),
  "svm": Classifier(
    "support vector machine, radial basis functions",
    lambda: sklearn.svm.SVC(break_ties=True),
    lambda features: {
      "C": (1.0, 10.0, 100.0),
      # Features have unit variance.
      "gamma": tuple(x / features for x in (0.1, 0.3, 1.0)),
    },
  ),
}


@dataclasses.dataclass(frozen=True)
class Probe:
  """A cross-validated classifier.

  Attributes:
    predictions: of all n images in order, each by the fold that did not train
      on it. Logits are log-probabilities; of a support vector machine scores,
      whose loss and calibration mean nothing.
    folds: i64[n], the fold that tested an image.
    chosen: of each fold, the values of the parameters.
  """

  predictions: Predictions
  folds: np.ndarray
  chosen: tuple[Mapping[str, float], ...]


def random_folds(table: FeatureTable, *, seed: int, count: int) -> np.ndarray:
  """Returns i64[n], folds of images at random, every class in proportion.

  Raises:
    InputError: for more folds than images.
  """
  if not 2 <= count <= len(table.labels):
    raise InputError(
      f"--folds: got {count}; valid: 2 to {len(table.labels)}, the images"
    )
  return strata.class_folds(table.names, table.labels, seed, count)


def group_folds(table: FeatureTable, *, seed: int, count: int) -> np.ndarray:
  """Returns i64[n], folds of whole groups; `count` 0: one for each group.

  Raises:
    InputError: if there are no two groups, or fewer than folds.
  """
  if table.groups is None or len(np.unique(table.groups)) < 2:
    raise InputError("--groups: got no two groups; valid: two or more")
  return strata.group_folds(table.groups, table.labels, seed, count)


def cross_validate(
  table: FeatureTable,
  features: np.ndarray,
  classifier: Classifier,
  folds: np.ndarray,
  *,
  by_group: bool,
  seed: int = 0,
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> Probe:
  """Trains a classifier on all folds but one in turn, and tests it on that.

  Missing values become the median of the training images, and features are
  scaled to their mean and standard deviation.

  Args:
    table: labels, names and groups of n images.
    features: f64[n, c]; NaN where a value is not known.
    classifier: what is trained.
    folds: i64[n], from 0.
    by_group: whether parameters are chosen by folds of whole groups too.
    seed: of the folds by which they are chosen.
    progress: called with (folds done, folds).

  Raises:
    InputError: if a fold leaves a single class to train on, or a feature
      without a value.
  """
  logits = np.zeros((len(folds), len(table.classes)))
  chosen, count = [], int(folds.max()) + 1
  for fold in range(count):
    train = np.flatnonzero(folds != fold)
    test = np.flatnonzero(folds == fold)
    _check(features[train], table.labels[train], fold)
    splits = list(_inner_splits(table.take(train), by_group, seed))
    # Small products in many threads wait for each other more than they compute.
    with threadpoolctl.threadpool_limits(1):
      model, values = _fit(
        classifier, features[train], table.labels[train], splits
      )
      scores = _scores(model, features[test], len(train), len(table.classes))
    logits[test] = scores
    chosen.append(values)
    progress(fold + 1, count)
  predictions = Predictions(
    ids=np.arange(len(folds), dtype=np.int32),
    labels=table.labels,
    logits=logits.astype(np.float32),
    losses=losses(logits, table.labels),
  )
  return Probe(predictions, folds, tuple(chosen))


def _check(features: np.ndarray, labels: np.ndarray, fold: int) -> None:
  if len(np.unique(labels)) < 2:
    raise InputError(
      f"--folds: got fold {fold}, which leaves a single class to train on; "
      "valid: other folds"
    )
  if np.isnan(features).all(axis=0).any():
    raise InputError(
      f"--sets: got a feature without a value in the training images of fold "
      f"{fold}; valid: sets without it"
    )


def _inner_splits(
  table: FeatureTable, by_group: bool, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields i64 rows to train and to validate on, of training images."""
  if by_group:
    groups = len(np.unique(table.groups))
    count = min(_INNER_FOLDS, groups) if groups > 1 else 0
    fold = group_folds(table, seed=seed, count=count) if count else None
  else:
    count = min(_INNER_FOLDS, len(table.labels))
    fold = random_folds(table, seed=seed, count=count)
  for each in range(count):
    train, val = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
    if len(val) and len(np.unique(table.labels[train])) > 1:
      yield train, val


def _fit(
  classifier: Classifier,
  features: np.ndarray,
  labels: np.ndarray,
  splits: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[sklearn.base.ClassifierMixin, Mapping[str, Any]]:
  """Returns a trained pipeline, and the values of its parameters."""
  model = sklearn.pipeline.Pipeline(
    [
      ("known", sklearn.impute.SimpleImputer(strategy="median")),
      ("scaled", sklearn.preprocessing.StandardScaler()),
      ("model", classifier.build()),
    ]
  )
  grid = classifier.grid(features.shape[1])
  if not grid or not splits:
    return model.fit(features, labels), {}
  search = sklearn.model_selection.GridSearchCV(
    model,
    {f"model__{name}": values for name, values in grid.items()},
    scoring="accuracy",
    cv=splits,
    error_score="raise",
  ).fit(features, labels)
  values = {
    name.removeprefix("model__"): float(value)
    for name, value in search.best_params_.items()
  }
  return search.best_estimator_, values


def _scores(
  model: sklearn.base.ClassifierMixin,
  features: np.ndarray,
  seen: int,
  classes: int,
) -> np.ndarray:
  """Returns f64[m, classes], the highest for the class that is predicted.

  By the rule of succession each class counts as seen once more, so that one
  without training images has a finite score, below those of all others.
  """
  if hasattr(model, "predict_proba"):
    found = model.predict_proba(features)
    floor = np.log(1 / (seen + classes))
    found = np.log((seen * found + 1) / (seen + classes))
  else:
    found = model.decision_function(features)
    if found.ndim == 1:  # of two classes
      found = np.stack([-found, found], axis=1)
    floor = found.min() - 1
  scores = np.full((len(features), classes), floor)
  scores[:, model.classes_] = found
  return scores
