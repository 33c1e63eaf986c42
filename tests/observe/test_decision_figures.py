"""Figures of decisions, as arrays."""

import numpy as np
import sklearn.metrics

from mn_jax.metrics import bands, calibration
from mn_jax.observe import decision_figures
from mn_jax.observe.decision_figures import Curve, Mark
from tests.metrics import toy_predictions as toy
from tests.observe.test_report_figures import lines


def curve_of(predictions, k, name="yes", shade=None):
  hits = predictions.labels == k
  return Curve(name, hits, predictions.probabilities()[:, k], shade)


def draw(curves, marks=(), reliability=None):
  return decision_figures.decisions(curves, marks, reliability, "title")


def legend(figure):
  return [text.get_text() for box in figure.legends for text in box.texts]


def test_curves_are_those_of_scikit_learn(drawn):
  predictions = toy.random(150, 2)
  curve = curve_of(predictions, 1)
  image = draw([curve], (), calibration.reliability(predictions))
  assert image.dtype == np.uint8
  assert image.shape[2] == 3
  roc, pr, reliability = drawn[0].axes
  ((name, points),) = lines(roc).items()
  area = sklearn.metrics.roc_auc_score(curve.positive, curve.scores)
  assert name == f"AUROC {area:.3f}"
  fpr, tpr, _ = sklearn.metrics.roc_curve(
    curve.positive, curve.scores, drop_intermediate=False
  )
  np.testing.assert_allclose(points, np.stack([fpr, tpr], 1), atol=1e-12)
  precision, recall, _ = sklearn.metrics.precision_recall_curve(
    curve.positive, curve.scores
  )
  area = sklearn.metrics.average_precision_score(curve.positive, curve.scores)
  points = lines(pr)[f"AP {area:.3f}"]
  np.testing.assert_allclose(points[1:, 0], recall[-2::-1], atol=1e-12)
  np.testing.assert_allclose(points[1:, 1], precision[-2::-1], atol=1e-12)
  assert f"chance {curve.positive.mean():.3f}" in lines(pr)
  (points,) = lines(reliability).values()
  filled = calibration.reliability(predictions).counts > 0
  assert len(points) == filled.sum()
  assert not legend(drawn[0])


def test_marks_are_on_both_curves_and_named_once(drawn):
  predictions = toy.binary([0, 0, 1, 1, 1], [0.1, 0.6, 0.4, 0.7, 0.9])
  marks = [
    Mark("fixed", 2 / 3, 0.5, 2 / 3),
    Mark("own", 1 / 3, 1, 1, hollow=True, shape=1),
    Mark("undefined", np.nan, np.nan, np.nan),
  ]
  draw([curve_of(predictions, 1)], marks)
  roc, pr = drawn[0].axes
  assert legend(drawn[0]) == ["fixed", "own", "undefined"]
  shown = {x.get_marker(): x for x in roc.lines if x.get_marker() != "None"}
  np.testing.assert_allclose(shown["D"].get_xydata()[-1:], [[np.nan] * 2])
  (own,) = shown["^"].get_xydata()
  np.testing.assert_allclose(own, [0, 1 / 3])
  assert shown["^"].get_markerfacecolor() == "white"
  fixed = next(x for x in pr.lines if x.get_marker() == "D")
  np.testing.assert_allclose(fixed.get_xydata(), [[2 / 3, 2 / 3]])


def test_bands_are_shaded(drawn):
  predictions = toy.random(150, 2)
  curve = curve_of(predictions, 1)
  found = bands.measure(
    curve.positive, curve.scores, np.arange(150), resamples=50
  )
  draw([curve_of(predictions, 1, shade=found)])
  roc, pr = drawn[0].axes
  for axes, ends in ((roc, found.sensitivity), (pr, found.precision)):
    (shade,) = axes.collections
    corners = shade.get_paths()[0].vertices
    assert corners[:, 1].min() == ends[0].min()
    assert corners[:, 1].max() == ends[1].max()


def test_every_class_against_the_rest_has_a_curve(drawn):
  predictions = toy.random(200, 4)
  draw([curve_of(predictions, k, f"class{k}") for k in range(4)])
  area = sklearn.metrics.roc_auc_score(
    predictions.labels == 2, predictions.probabilities()[:, 2]
  )
  names = legend(drawn[0])
  assert [name.split(":")[0] for name in names] == [
    f"class{k}" for k in range(4)
  ]
  assert f"AUROC {area:.3f}" in names[2]


def test_one_class_and_numbers_that_are_not_finite_have_no_curves(drawn):
  half = np.array([True, False, True])
  for curve in (
    Curve("all", np.full(3, True), np.ones(3)),
    Curve("none", np.full(3, False), np.ones(3)),
    Curve("nan", half, np.array([0.1, np.nan, 0.2])),
  ):
    draw([curve])
    assert not lines(drawn[-1].axes[0])
    assert not lines(drawn[-1].axes[1])
