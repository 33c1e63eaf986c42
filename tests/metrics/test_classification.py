"""Tests of the metrics against scikit-learn."""

import warnings

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.metrics import calibration, classification
from tests.metrics import toy_predictions as toy


def _close(expected: float):
  return pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)


def test_confusion_matrix_has_true_classes_in_rows():
  labels, predicted = np.array([0, 0, 1, 3]), np.array([0, 2, 1, 0])
  matrix = classification.confusion_matrix(labels, predicted, 4)
  np.testing.assert_array_equal(
    matrix, sklearn.metrics.confusion_matrix(labels, predicted, labels=range(4))
  )
  assert matrix[3, 0] == 1


def _undefined(metrics) -> set[str]:
  return {name for name, value in metrics.items() if np.isnan(value)}


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_metrics_are_scikit_learns(positive):
  predictions = toy.random(300, 2)
  labels = predictions.labels == positive
  found = predictions.logits.argmax(1) == positive
  scores = predictions.probabilities()[:, positive]
  result = classification.summarize(predictions, positive=positive)
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
    "average_precision": _close(
      sklearn.metrics.average_precision_score(labels, scores)
    ),
    "mcc": _close(sklearn.metrics.matthews_corrcoef(labels, found)),
    "brier": _close(sklearn.metrics.brier_score_loss(labels, scores)),
    "ece": _close(calibration.reliability(predictions).ece()),
    "count": 300,
  }
  assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_macro_metrics_are_scikit_learns(classes):
  predictions = toy.random(400, classes)
  labels, found = predictions.labels, predictions.logits.argmax(1)
  result = classification.summarize(predictions, positive=None)
  precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
    labels, found, average="macro"
  )
  probabilities = predictions.probabilities()
  areas, average_precisions = (
    [area(labels == c, scores) for c, scores in enumerate(probabilities.T)]
    for area in (
      sklearn.metrics.roc_auc_score,
      sklearn.metrics.average_precision_score,
    )
  )
  assert result == {
    "loss": _close(np.float64(predictions.losses).mean()),
    "accuracy": _close(sklearn.metrics.accuracy_score(labels, found)),
    "balanced_accuracy": _close(recall),
    "majority_rate": _close(np.bincount(labels).max() / 400),
    "macro_precision": _close(precision),
    "macro_f1": _close(f1),
    "macro_auroc": _close(np.mean(areas)),
    "macro_average_precision": _close(np.mean(average_precisions)),
    "mcc": _close(sklearn.metrics.matthews_corrcoef(labels, found)),
    "brier": _close(
      sklearn.metrics.brier_score_loss(
        labels, probabilities, labels=range(classes)
      )
    ),
    "ece": _close(calibration.reliability(predictions).ece()),
    "count": 400,
  }
  assert all(type(value) is float for value in result.values())


def test_macro_averages_are_over_the_classes_that_occur():
  logits = np.eye(4)[[0, 0, 1, 2, 1]]
  predictions = toy.of([0, 0, 1, 1, 1], logits)
  result = classification.summarize(predictions, positive=None)
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


def test_auroc_counts_ties_as_half():
  # Positives 2 and 1, negatives 1 and 0: of four pairs one is a tie.
  logits = [[0, 2], [0, 1], [0, 1], [0, 0]]
  result = classification.summarize(toy.of([1, 1, 0, 0], logits), positive=1)
  assert result["auroc"] == _close(3.5 / 4)
  constant = toy.of([1, 1, 0, 0], np.zeros((4, 2)))
  assert classification.summarize(constant, positive=1)["auroc"] == _close(0.5)
  # Probabilities that in float32 would both be 1.
  logits = [[0, 40], [0, 30]]
  with np.errstate(over="raise"):
    result = classification.summarize(toy.of([1, 0], logits), positive=1)
  assert result["auroc"] == 1


def test_undefined_is_nan_without_a_warning():
  no_positive = {"sensitivity", "f1", "auroc", "average_precision"}
  one_class = {"balanced_accuracy", "mcc"}
  for labels, found, positive, undefined in (
    ([0, 0, 0], [0, 0, 0], 1, {"precision"} | no_positive | one_class),
    ([0, 0, 0], [0, 1, 0], 1, no_positive | one_class),
    (
      [1, 1, 1],
      [1, 0, 1],
      1,
      {"precision", "f1", "specificity", "auroc"} | one_class,
    ),
    ([0, 1, 1], [0, 0, 0], 1, {"precision", "mcc"}),
    ([0, 1, 1], [0, 0, 1], 1, set()),
    ([0, 1, 2], [0, 1, 1], None, {"macro_precision"}),
    (
      [1, 1],
      [1, 1],
      None,
      {"macro_auroc", "macro_precision", "macro_f1"} | one_class,
    ),
  ):
    classes = 2 if positive else 3
    predictions = toy.of(labels, np.eye(classes)[found])
    with warnings.catch_warnings():
      warnings.simplefilter("error")
      result = classification.summarize(predictions, positive=positive)
    assert _undefined(result) == undefined


@pytest.mark.parametrize(("positive", "broken"), [(None, np.nan), (1, np.inf)])
def test_a_network_that_diverged_has_no_auroc(positive, broken):
  logits = np.full((4, 2), broken)
  predictions = toy.of([0, 1, 1, 0], logits, np.full(4, np.nan, np.float32))
  result = classification.summarize(predictions, positive=positive)
  assert _undefined(result) == set(result) - {"count", "majority_rate"}


@pytest.mark.parametrize("name", toy.extremes())
def test_mcc_and_brier_at_the_extremes_are_scikit_learns(name):
  predictions = toy.extremes()[name]
  labels, found = predictions.labels, predictions.logits.argmax(1)
  classes = predictions.logits.shape[1]
  result = classification.summarize(predictions, positive=None)
  # scikit-learn calls it 0 where it is undefined.
  expected = np.nan
  if len(set(labels)) > 1 and len(set(found)) > 1:
    expected = sklearn.metrics.matthews_corrcoef(labels, found)
  assert result["mcc"] == _close(expected)
  expected = sklearn.metrics.brier_score_loss(
    labels, predictions.probabilities(), labels=range(classes)
  )
  assert result["brier"] == _close(expected)


def test_mcc_of_more_images_than_integers_of_64_bits_can_multiply():
  matrix = np.array([[3, 1], [1, 5]]) * 10**6
  result = classification.from_confusion_matrix(matrix, positive=1)
  small = classification.from_confusion_matrix(matrix // 10**6, positive=1)
  assert result["mcc"] == _close(small["mcc"])


@pytest.mark.parametrize("positive", [None, 1])
def test_predicted_classes_can_be_passed(positive):
  predictions, options = toy.random(200, 3), {"positive": positive}
  found = np.random.default_rng(1).integers(0, 3, 200)
  result = classification.summarize(predictions, predicted=found, **options)
  usual = classification.summarize(predictions, **options)
  matrix = classification.confusion_matrix(predictions.labels, found, 3)
  decided = classification.from_confusion_matrix(matrix, **options)
  assert decided["accuracy"] == _close((found == predictions.labels).mean())
  assert result == usual | decided
  assert result != usual


@pytest.mark.parametrize("name", [*toy.extremes(), "random"])
def test_per_class_metrics_are_scikit_learns(name):
  predictions = (toy.extremes() | {"random": toy.random(300, 5)})[name]
  labels, found = predictions.labels, predictions.logits.argmax(1)
  classes = predictions.logits.shape[1]
  table = classification.per_class(predictions)
  for c, scores in enumerate(predictions.probabilities().T):
    own, taken = labels == c, found == c
    some, all_ = own.any(), own.all()
    skl = sklearn.metrics
    expected = {"support": own.sum()} | {
      metric: function(*arguments) if defined else np.nan
      for metric, function, arguments, defined in (
        (
          "precision",
          skl.precision_score,
          (own, taken),
          taken.any() and not all_,
        ),
        ("recall", skl.recall_score, (own, taken), some),
        ("specificity", skl.recall_score, (~own, ~taken), not all_),
        ("f1", skl.f1_score, (own, taken), some and not all_),
        ("auroc", skl.roc_auc_score, (own, scores), some and not all_),
        ("average_precision", skl.average_precision_score, (own, scores), some),
      )
    }
    row = {name: column[c] for name, column in table.items()}
    assert row == {name: _close(x) for name, x in expected.items()}
  assert all(len(column) == classes for column in table.values())


def test_per_class_metrics_of_a_diverged_network():
  table = classification.per_class(toy.of([0, 1, 1], np.full((3, 2), np.nan)))
  assert table.keys() == classification.per_class(toy.random(9, 2)).keys()
  np.testing.assert_array_equal(table.pop("support"), [1, 2])
  assert all(np.isnan(column).all() for column in table.values())


GROUPS = np.array(["b", "a", "b", "c", "c", "d", "d", "a"])
LABELS = [0, 0, 1, 1, 1, 0, 1, 1]
SCORES = [0.1, 0.9, 0.2, 0.7, 0.9, 0.8, 0.9, 0.1]


def test_the_worst_and_largest_groups_come_first():
  groups = np.where(np.arange(8) == 5, "b", GROUPS)
  predictions = toy.binary(LABELS, SCORES)
  assert classification.accuracy_by_group(predictions, groups) == [
    ("a", 2, 0.0),
    ("b", 3, 1 / 3),
    ("c", 2, 1.0),
    ("d", 1, 1.0),
  ]
  accuracies = classification.accuracy_by_group(
    predictions, GROUPS, predicted=np.array(LABELS)
  )
  assert [share for _, _, share in accuracies] == [1.0] * 4
  predictions = toy.of(LABELS, np.full((8, 2), np.nan))
  accuracies = classification.accuracy_by_group(predictions, GROUPS)
  assert np.isnan([share for _, _, share in accuracies]).all()
