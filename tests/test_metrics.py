"""Tests of the metrics against scikit-learn."""

import warnings

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from mn_jax import config as config_lib
from mn_jax import metrics
from mn_jax.errors import InputError


def _predictions(
  labels: np.ndarray, logits: np.ndarray, losses: np.ndarray | None = None
) -> metrics.Predictions:
  n = len(labels)
  return metrics.Predictions(
    ids=np.arange(n, dtype=np.int32),
    labels=np.asarray(labels, np.int32),
    logits=np.asarray(logits, np.float32),
    losses=np.ones(n, np.float32) if losses is None else losses,
  )


def _random(n: int, classes: int, seed: int = 0) -> metrics.Predictions:
  """Better than chance, unbalanced, with many ties."""
  rng = np.random.default_rng(seed)
  labels = rng.choice(
    classes, n, p=np.arange(1, classes + 1) * 2 / classes / (classes + 1)
  )
  logits = np.round(rng.normal(size=(n, classes)), 1)
  logits[np.arange(n), labels] += 0.5
  return _predictions(labels, logits, rng.random(n).astype(np.float32))


def _close(expected: float):
  return pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_are_the_softmax(classes):
  predictions = _random(40, classes)
  np.testing.assert_allclose(
    predictions.probabilities(),
    scipy.special.softmax(predictions.logits.astype(np.float64), axis=1),
    rtol=1e-12,
  )


def test_probabilities_of_extreme_logits():
  predictions = _predictions([0, 1], [[1e30, -1e30], [0, 1e4]])
  np.testing.assert_array_equal(predictions.probabilities(), [[1, 0], [0, 1]])


def test_confusion_matrix_has_true_classes_in_rows():
  labels, predicted = np.array([0, 0, 1, 3]), np.array([0, 2, 1, 0])
  matrix = metrics.confusion_matrix(labels, predicted, 4)
  np.testing.assert_array_equal(
    matrix,
    sklearn.metrics.confusion_matrix(labels, predicted, labels=range(4)),
  )
  assert matrix[3, 0] == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("positive", [0, 1])
def test_binary_metrics_are_scikit_learns(seed, positive):
  predictions = _random(300, 2, seed)
  labels = predictions.labels == positive
  found = predictions.logits.argmax(1) == positive
  scores = predictions.probabilities()[:, positive]
  result = metrics.summarize(predictions, positive=positive)
  assert result == {
    "loss": _close(np.float64(predictions.losses).mean()),
    "accuracy": _close(sklearn.metrics.accuracy_score(labels, found)),
    "balanced_accuracy": _close(
      sklearn.metrics.balanced_accuracy_score(labels, found)
    ),
    "majority_rate": _close(max(labels.mean(), 1 - labels.mean())),
    "precision": _close(sklearn.metrics.precision_score(labels, found)),
    "sensitivity": _close(sklearn.metrics.recall_score(labels, found)),
    "specificity": _close(
      sklearn.metrics.recall_score(labels, found, pos_label=False)
    ),
    "f1": _close(sklearn.metrics.f1_score(labels, found)),
    "auroc": _close(sklearn.metrics.roc_auc_score(labels, scores)),
    "count": 300,
  }
  assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize("classes", [2, 4, 10])
@pytest.mark.parametrize("seed", range(3))
def test_macro_metrics_are_scikit_learns(classes, seed):
  predictions = _random(400, classes, seed)
  labels, found = predictions.labels, predictions.logits.argmax(1)
  result = metrics.summarize(predictions, positive=None)
  precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
    labels, found, average="macro"
  )
  areas = [
    sklearn.metrics.roc_auc_score(labels == c, scores)
    for c, scores in enumerate(predictions.probabilities().T)
  ]
  assert result == {
    "loss": _close(np.float64(predictions.losses).mean()),
    "accuracy": _close(sklearn.metrics.accuracy_score(labels, found)),
    "balanced_accuracy": _close(recall),
    "majority_rate": _close(np.bincount(labels).max() / 400),
    "macro_precision": _close(precision),
    "macro_f1": _close(f1),
    "macro_auroc": _close(np.mean(areas)),
    "count": 400,
  }
  assert all(type(value) is float for value in result.values())


def test_macro_averages_are_over_the_classes_that_occur():
  logits = np.eye(4)[[0, 0, 1, 2, 1]]
  predictions = _predictions([0, 0, 1, 1, 1], logits)
  result = metrics.summarize(predictions, positive=None)
  labels, found = predictions.labels, logits.argmax(1)
  precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
    labels, found, labels=[0, 1], average="macro"
  )
  assert result["balanced_accuracy"] == _close(recall)
  assert result["macro_precision"] == _close(precision)
  assert result["macro_f1"] == _close(f1)
  # Of the six pairs with class 0 all are right by its own scores; by those of
  # class 1 four are, and its image that was taken for class 2 has two ties.
  assert result["macro_auroc"] == _close((1 + 5 / 6) / 2)


def test_macro_auroc_is_scikit_learns_of_many_classes():
  predictions = _random(400, 10)
  expected = sklearn.metrics.roc_auc_score(
    predictions.labels, predictions.probabilities(), multi_class="ovr"
  )
  result = metrics.summarize(predictions, positive=None)
  assert result["macro_auroc"] == _close(expected)


def test_auroc_counts_ties_as_half():
  # Positives 2 and 1, negatives 1 and 0: of four pairs one is a tie.
  logits = [[0, 2], [0, 1], [0, 1], [0, 0]]
  result = metrics.summarize(_predictions([1, 1, 0, 0], logits), positive=1)
  assert result["auroc"] == _close(3.5 / 4)
  constant = _predictions([1, 1, 0, 0], np.zeros((4, 2)))
  assert metrics.summarize(constant, positive=1)["auroc"] == _close(0.5)


def test_auroc_tells_probabilities_apart_that_are_nearly_1():
  # In float32 both would be 1.
  logits = [[0, 40], [0, 30]]
  with np.errstate(over="raise"):
    result = metrics.summarize(_predictions([1, 0], logits), positive=1)
  assert result["auroc"] == 1


@pytest.mark.parametrize(
  ("labels", "found", "undefined"),
  [
    ([0, 0, 0], [0, 0, 0], {"precision", "sensitivity", "f1", "auroc"}),
    ([0, 0, 0], [0, 1, 0], {"sensitivity", "auroc"}),
    ([1, 1, 1], [1, 0, 1], {"specificity", "auroc"}),
    ([0, 1, 1], [0, 0, 0], {"precision"}),
    ([0, 1, 1], [0, 0, 1], set()),
  ],
)
def test_undefined_is_nan_without_a_warning(labels, found, undefined):
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    result = metrics.summarize(
      _predictions(labels, np.eye(2)[found]), positive=1
    )
  assert {k for k, v in result.items() if np.isnan(v)} == undefined


def test_undefined_macro_averages():
  never_found = _predictions([0, 1, 2], np.eye(3)[[0, 1, 1]])
  result = metrics.summarize(never_found, positive=None)
  assert {k for k, v in result.items() if np.isnan(v)} == {"macro_precision"}
  one_class = _predictions([1, 1], np.eye(3)[[1, 0]])
  result = metrics.summarize(one_class, positive=None)
  assert {k for k, v in result.items() if np.isnan(v)} == {"macro_auroc"}


@pytest.mark.parametrize("positive", [None, 1])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_network_that_diverged_has_no_auroc(positive, broken):
  logits = np.full((4, 2), broken)
  predictions = _predictions(
    [0, 1, 1, 0], logits, np.full(4, np.nan, np.float32)
  )
  with np.errstate(invalid="ignore"):
    result = metrics.summarize(predictions, positive=positive)
  undefined = {name for name, value in result.items() if np.isnan(value)}
  assert undefined == set(result) - {"count", "majority_rate"}


@pytest.mark.parametrize("positive", [None, 0, 1])
def test_a_metric_can_be_chosen_where_it_exists(positive):
  result = metrics.summarize(_random(40, 2), positive=positive)
  choices = config_lib.EvalConfig.__dataclass_fields__["best_metric"].metadata[
    "choices"
  ]
  for metric in choices:
    if metric in result:
      metrics.check_choice(metric, positive=positive)
      continue
    with pytest.raises(InputError) as caught:
      metrics.check_choice(metric, positive=positive)
    message = str(caught.value)
    assert message.startswith(f"eval.best_metric: got {metric!r} for a data")
    assert "\n" not in message
    valid = message.partition("valid: ")[2].split(", ")
    assert set(valid) == set(choices) & set(result)


@pytest.mark.parametrize(
  ("metric", "value", "score"),
  [("loss", 0.3, -0.3), ("accuracy", 0.3, 0.3), ("auroc", 0.0, 0.0)],
)
def test_more_of_a_score_is_better(metric, value, score):
  assert metrics.score(metric, value) == score


@pytest.mark.parametrize("metric", ["loss", "auroc"])
def test_an_undefined_metric_has_no_score(metric):
  assert metrics.score(metric, np.nan) is None
