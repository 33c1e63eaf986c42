"""Tests of the metrics of several labels per image against scikit-learn."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import sklearn.calibration
import sklearn.metrics

from mn_jax.metrics import (
  bootstrap,
  calibration,
  classification,
  comparison,
  ensemble,
  multilabel,
  thresholds,
)
from mn_jax.metrics import predictions as predictions_lib
from tests.metrics import toy_predictions as toy


def _close(expected):
  return pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)


def _expected(labels, found, scores, losses):
  """The metrics by scikit-learn, of labels of both kinds."""
  recall, of_absent = (
    sklearn.metrics.recall_score(truth, answer, average="macro")
    for truth, answer in ((labels, found), (1 - labels, 1 - found))
  )
  share = labels.mean(0)
  return {
    "loss": np.float64(losses).mean(),
    "macro_auroc": sklearn.metrics.roc_auc_score(labels, scores),
    "macro_average_precision": sklearn.metrics.average_precision_score(
      labels, scores
    ),
    "micro_average_precision": sklearn.metrics.average_precision_score(
      labels, scores, average="micro"
    ),
    "macro_f1": sklearn.metrics.f1_score(labels, found, average="macro"),
    "micro_f1": sklearn.metrics.f1_score(labels, found, average="micro"),
    "macro_sensitivity": recall,
    "macro_specificity": of_absent,
    "label_accuracy": 1 - sklearn.metrics.hamming_loss(labels, found),
    "exact_match": sklearn.metrics.accuracy_score(labels, found),
    "majority_rate": np.maximum(share, 1 - share).mean(),
    "brier": np.square(labels - scores).mean(),
    "ece": np.mean([_ece(*x) for x in zip(labels.T, scores.T, strict=True)]),
    "count": len(labels),
  }


def _ece(labels, scores):
  counts, _ = np.histogram(scores, np.linspace(0, 1, 16))
  true, mean = sklearn.calibration.calibration_curve(labels, scores, n_bins=15)
  return (np.abs(true - mean) * counts[counts > 0]).sum() / len(labels)


def test_metrics_are_scikit_learns():
  predictions = toy.multi_label(300, 5)
  labels, scores = predictions.labels, predictions.probabilities()
  for predicted in (None, (scores >= 0.3).astype(np.uint8)):
    found = scores >= 0.5 if predicted is None else predicted
    result = classification.summarize(
      predictions, positive=None, predicted=predicted
    )
    expected = _expected(labels, found, scores, predictions.losses)
    assert result == {name: _close(x) for name, x in expected.items()}
    assert all(type(value) is float for value in result.values())


def test_weights_are_repeated_images():
  predictions = toy.multi_label(60, 3)
  weights = np.random.default_rng(1).integers(0, 4, 60)
  weighted = classification.weighted(predictions, positive=None)(weights)
  rows = np.repeat(np.arange(60), weights)
  repeated = classification.summarize(
    toy.take(predictions, rows), positive=None
  )
  assert weighted == {name: _close(x) for name, x in repeated.items()}


def test_a_label_without_images_of_both_kinds_is_left_out_of_means():
  predictions = toy.multi_label(200, 5)
  labels = predictions.labels.copy()
  labels[:, 1], labels[:, 3] = 0, 1
  predictions = dataclasses.replace(predictions, labels=labels)
  of_label = classification.per_class(predictions)
  undefined = np.array([False, True, False, True, False])
  for name in ("auroc", "average_precision", "f1", "recall", "specificity"):
    np.testing.assert_array_equal(np.isnan(of_label[name]), undefined)
  np.testing.assert_array_equal(of_label["support"], labels.sum(0))
  result = classification.summarize(predictions, positive=None)
  rest = classification.summarize(
    toy.of(labels[:, ~undefined], predictions.logits[:, ~undefined]),
    positive=None,
  )
  for name, value in rest.items():
    if name.startswith("macro_"):
      assert result[name] == _close(value)
  nothing = toy.of(np.zeros((4, 2)), np.ones((4, 2)))
  result = classification.summarize(nothing, positive=None)
  undefined = {name for name, value in result.items() if np.isnan(value)}
  assert undefined == {
    *(f"macro_{x}" for x in ("auroc", "average_precision", "f1")),
    *("macro_sensitivity", "macro_specificity"),
    *("micro_average_precision", "micro_f1"),
  }


def test_metrics_per_label_are_scikit_learns():
  predictions = toy.multi_label(300, 4)
  labels, scores = predictions.labels, predictions.probabilities()
  found = scores >= 0.5
  of_label = classification.per_class(predictions)
  expected = sklearn.metrics.precision_recall_fscore_support(labels, found)
  for name, values in zip(
    ("precision", "recall", "f1", "support"), expected, strict=True
  ):
    np.testing.assert_allclose(of_label[name], values, atol=1e-12)
  for name, area in (
    ("auroc", sklearn.metrics.roc_auc_score),
    ("average_precision", sklearn.metrics.average_precision_score),
  ):
    expected = area(labels, scores, average=None)
    np.testing.assert_allclose(of_label[name], expected, atol=1e-12)


def test_intervals_by_group_are_those_of_each_label_alone():
  predictions = toy.multi_label(200, 3)
  groups = np.arange(200) // 8
  found = bootstrap.label_intervals(predictions, groups=groups, resamples=80)
  for label in range(3):
    pair = toy.binary(
      predictions.labels[:, label], predictions.probabilities()[:, label]
    )
    alone = bootstrap.intervals(pair, positive=1, groups=groups, resamples=80)
    for name, intervals in found.items():
      ours, expected = intervals[label], alone[name]
      for field in ("value", "low", "high", "undefined", "resamples"):
        assert getattr(ours, field) == _close(getattr(expected, field))
  # Those of macro means are of the means, resample by resample.
  of_means = bootstrap.intervals(
    predictions, positive=None, groups=groups, resamples=80
  )["macro_auroc"]
  assert of_means.low < of_means.value < of_means.high
  assert of_means.value == _close(np.mean([x.value for x in found["auroc"]]))


def test_a_network_that_diverged_has_no_metric():
  predictions = toy.multi_label(50, 3)
  predictions.logits[4, 1] = np.nan
  result = classification.summarize(predictions, positive=None)
  defined = {name for name, value in result.items() if not np.isnan(value)}
  assert defined == set(multilabel.DEFINED)
  of_label = classification.per_class(predictions)
  defined = {name for name, x in of_label.items() if not np.isnan(x).all()}
  assert defined == {"support"}


def test_losses_are_binary_cross_entropies():
  predictions = toy.multi_label(50, 3)
  losses = predictions_lib.losses(predictions.logits, predictions.labels)
  expected = [
    np.mean(
      [
        sklearn.metrics.log_loss([y], [p], labels=[0, 1])
        for y, p in zip(*pairs, strict=True)
      ]
    )
    for pairs in zip(
      predictions.labels, predictions.probabilities(), strict=True
    )
  ]
  np.testing.assert_allclose(losses, expected, rtol=1e-6)
  assert losses.dtype == np.float32


def test_temperature_minimises_the_loss():
  predictions = toy.multi_label(400, 3)
  predictions = dataclasses.replace(predictions, logits=3 * predictions.logits)

  def loss(log_temperature):
    scaled = calibration.scale(predictions, np.exp(log_temperature))
    return float(scaled.losses.astype(np.float64).mean())

  found = calibration.fit_temperature(predictions)
  best = scipy.optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded")
  assert found == pytest.approx(np.exp(best.x), rel=1e-2)
  assert found > 1.5


def test_reliability_is_of_all_labels_together():
  predictions = toy.multi_label(200, 3)
  diagram = calibration.reliability(predictions)
  assert diagram.counts.sum() == 600
  expected, mean = sklearn.calibration.calibration_curve(
    predictions.labels.ravel(), predictions.probabilities().ravel(), n_bins=15
  )
  filled = diagram.counts > 0
  np.testing.assert_allclose(diagram.accuracy[filled], expected)
  np.testing.assert_allclose(diagram.confidence[filled], mean)


def test_each_label_has_a_threshold_of_its_own():
  predictions = toy.multi_label(300, 4)
  labels = predictions.labels.copy()
  labels[:, 2] = 0
  predictions = dataclasses.replace(predictions, labels=labels)
  scores = predictions.probabilities()
  found = thresholds.of_labels(predictions)
  for label in (0, 1, 3):
    fpr, tpr, at = sklearn.metrics.roc_curve(
      labels[:, label], scores[:, label], drop_intermediate=False
    )
    assert found[label] == _close(at[np.argmax(np.round(tpr - fpr, 12))])
  assert np.isnan(found[2])
  predicted = thresholds.decide_labels(predictions, found)
  expected = scores >= [found[0], found[1], 0.5, found[3]]
  np.testing.assert_array_equal(predicted, expected)


def test_worst_groups_are_by_the_share_of_right_labels():
  predictions = toy.multi_label(60, 3)
  groups = np.array([f"g{i % 4}" for i in range(60)])
  for name, count, share in classification.accuracy_by_group(
    predictions, groups
  ):
    mine = toy.take(predictions, np.flatnonzero(groups == name))
    wrong = sklearn.metrics.hamming_loss(mine.labels, mine.predicted())
    assert (count, share) == (15, _close(1 - wrong))


def test_agreement_and_ensembles():
  first, second = (toy.multi_label(80, 3, seed=seed) for seed in range(2))
  second = dataclasses.replace(second, labels=first.labels)
  result = comparison.agreement(first, second)
  changed = (first.predicted() != second.predicted()).any(axis=1)
  assert result.changed_share == changed.mean()
  mean = ensemble.mean([first, second])
  expected = (first.probabilities() + second.probabilities()) / 2
  np.testing.assert_allclose(mean.probabilities(), expected, rtol=1e-5)
