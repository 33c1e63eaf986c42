"""Tests of prediction sets, beside MAPIE, by brute force and by simulation."""

import fractions
import math

import mapie.classification
import numpy as np
import pytest
import sklearn.base

from mn_jax.errors import InputError
from mn_jax.metrics import conformal
from mn_jax.metrics.predictions import NamedPredictions
from tests.metrics import toy_predictions as toy

CLASSES = ("a", "b", "c", "d")


def named(predictions, groups=None):
  count = predictions.logits.shape[1]
  return NamedPredictions(
    predictions=predictions,
    names=np.array([f"{i}.png" for i in predictions.ids]),
    groups=groups,
    classes=CLASSES[:count],
    positive=None,
  )


class Identity(sklearn.base.ClassifierMixin, sklearn.base.BaseEstimator):
  """A fitted classifier whose input is the probabilities."""

  def __init__(self, classes=4):
    self.classes = classes
    self.classes_ = np.arange(classes)
    self.is_fitted_ = True

  def fit(self, x, y):
    return self

  def predict_proba(self, x):
    return x

  def predict(self, x):
    return x.argmax(axis=1)


def mapie_sets(probabilities, labels, new, alpha):
  classifier = mapie.classification.SplitConformalClassifier(
    Identity(), confidence_level=1 - alpha, conformity_score="lac"
  )
  classifier.conformalize(probabilities, labels)
  return classifier.predict_set(new)[1][:, :, 0]


@pytest.fixture(scope="module")
def validation():
  return toy.random(397, 4)


@pytest.fixture(scope="module")
def new():
  return toy.random(211, 4, seed=1).probabilities()


# MAPIE would rather see all classes. None of (397 + 1) alpha is close to an
# integer, where MAPIE's ceil rounds.
@pytest.mark.filterwarnings("ignore:WARNING. your conformalization:UserWarning")
@pytest.mark.parametrize("alpha", [0.031, 0.1, 0.2, 0.333, 0.7])
def test_single_images_get_the_sets_of_mapie(validation, new, alpha):
  probabilities, labels = validation.probabilities(), validation.labels
  marginal = conformal.calibrate(
    named(validation), alpha=alpha, class_conditional=False
  )
  sets = marginal.sets(new)
  assert 0.05 < sets.mean() < 0.95
  np.testing.assert_array_equal(
    sets, mapie_sets(probabilities, labels, new, alpha)
  )
  assert (marginal.units == 397).all()
  # Each class's column is that of MAPIE with the images of the class alone.
  by_class = conformal.calibrate(named(validation), alpha=alpha)
  for i in range(4):
    chosen = labels == i
    expected = mapie_sets(probabilities[chosen], labels[chosen], new, alpha)
    np.testing.assert_array_equal(by_class.sets(new)[:, i], expected[:, i])
    assert by_class.units[i] == chosen.sum()
  assert len(set(by_class.least)) > 1


def by_hand(own, groups, alpha):
  """The greatest threshold of Lee, Barber and Willett, in exact fractions."""
  count = len(set(groups))
  weight = {
    g: fractions.Fraction(1, (count + 1) * groups.count(g)) for g in groups
  }
  allowed = fractions.Fraction(str(alpha)) - fractions.Fraction(1, count + 1)
  assert allowed >= 0

  def missed(threshold):
    below = (
      weight[g] for p, g in zip(own, groups, strict=True) if p < threshold
    )
    return sum(below, fractions.Fraction(0))

  return max(p for p in own if missed(p) <= allowed)


@pytest.mark.parametrize("seed", range(5))
def test_groups_share_their_weight_exactly(seed):
  """With levels that are multiples of 1 / (groups + 1), too."""
  draw = np.random.default_rng(seed)
  predictions = toy.random(150, 3, seed)
  groups = draw.choice(19, 150, p=np.arange(1, 20) / 190)
  groups[:19] = range(19)
  shown = named(predictions, groups.astype(str))
  own = predictions.probabilities()[np.arange(150), predictions.labels]
  for alpha in (0.05, 0.1, 0.15, 0.2, 0.29, 0.5, 0.95):
    found = conformal.calibrate(shown, alpha=alpha, class_conditional=False)
    expected = by_hand(own.tolist(), groups.tolist(), alpha)
    assert set(found.least.tolist()) == {expected}
  least = max(conformal.smallest_alpha(shown))
  for alpha in (math.ceil(least * 100) / 100, 0.3, 0.5):
    found = conformal.calibrate(shown, alpha=alpha)
    for i in range(3):
      of_class = predictions.labels == i
      assert found.least[i] == by_hand(
        own[of_class].tolist(), groups[of_class].tolist(), alpha
      )
      assert found.units[i] == len(set(groups[of_class]))


def test_copies_within_a_group_change_nothing(validation):
  """Three copies of everything are no more information."""
  copies = toy.take(validation, np.tile(np.arange(397), 3))
  groups = np.tile(np.arange(397), 3)
  for class_conditional in (True, False):
    options = {"alpha": 0.13, "class_conditional": class_conditional}
    once = conformal.calibrate(named(validation), **options)
    thrice = conformal.calibrate(named(copies, groups), **options)
    np.testing.assert_array_equal(once.least, thrice.least)
    np.testing.assert_array_equal(once.units, thrice.units)


def patients(draw, count):
  """Groups that differ: half are large and easy, half small and hard."""
  hard = draw.random(count) < 0.5
  sizes = np.where(hard, 2, 40)
  groups = np.repeat(np.arange(count), sizes)
  n = len(groups)
  labels = draw.integers(0, 3, n)
  logits = draw.normal(size=(n, 3))
  # A shift that all images of a group share, and that may be wrong.
  shift = draw.normal(size=(count, 3)) * np.where(hard, 3, 0.5)[:, None]
  logits[np.arange(n), labels] += 3
  logits += shift[groups]
  return named(toy.of(labels, logits), groups)


def coverage_of_new_groups(draw, *, groups, class_conditional, alpha):
  """Mean coverage of images of new groups, [of groups, of classes]."""
  rounds = []
  for _ in range(120):
    validation, new = patients(draw, 40), patients(draw, 60)
    if not groups:
      validation = named(validation.predictions)
    thresholds = conformal.calibrate(
      validation, alpha=alpha, class_conditional=class_conditional
    )
    sets = thresholds.sets(new.predictions.probabilities())
    overall, by_class = conformal.measure(
      sets, new.predictions, groups=new.groups, resamples=2
    )
    rounds.append(
      [overall.coverage.value, *(x.coverage.value for x in by_class)]
    )
  return np.mean(rounds, axis=0)


@pytest.mark.parametrize("class_conditional", [False, True])
def test_coverage_holds_by_group_and_fails_by_image(class_conditional):
  """Images as units promise 90 %; of a new patient's they reach far less."""
  draw = np.random.default_rng(0)
  options = {"class_conditional": class_conditional, "alpha": 0.1}
  held = coverage_of_new_groups(draw, groups=True, **options)
  failed = coverage_of_new_groups(draw, groups=False, **options)
  promised = slice(1, None) if class_conditional else 0
  # Above 1 - alpha + 2 / (K + 1) the sets would be larger than need be; K, the
  # groups that have a class, is 25 at least.
  assert np.all(held[promised] > 0.89)
  assert np.all(held[promised] < 0.9 + 2 / 26 + 0.01)
  assert np.all(failed[promised] < 0.86)


def test_a_rare_hard_class_needs_its_own_threshold():
  draw = np.random.default_rng(0)

  def images(count):
    labels = (draw.random(count) < 0.1).astype(int)
    logits = draw.normal(size=(count, 2))
    logits[:, 0] += 1.5
    logits[np.arange(count), labels] += np.where(labels == 1, 1, 2)
    return toy.of(labels, logits)

  validation, new = images(1000), images(4000)
  found = {}
  for class_conditional in (True, False):
    sets = conformal.calibrate(
      named(validation), alpha=0.1, class_conditional=class_conditional
    ).sets(new.probabilities())
    overall, (_, rare) = conformal.measure(
      sets, new, groups=None, resamples=100
    )
    found[class_conditional] = rare.coverage.value
    assert overall.coverage.value == pytest.approx(0.9, abs=0.03)
  assert found[False] < 0.4
  assert found[True] == pytest.approx(0.9, abs=0.07)


def test_metrics_of_sets_are_means_over_groups():
  predictions = toy.of([0, 0, 1, 1, 0], np.zeros((5, 3)))
  sets = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]], bool)
  groups = np.array(["x", "x", "x", "y", "z"])
  overall, by_class = conformal.measure(sets, predictions, groups=groups)
  assert (overall.images, overall.units) == (5, 3)
  assert overall.coverage.value == pytest.approx((2 / 3 + 0 + 1) / 3)
  assert overall.image_coverage.value == pytest.approx(3 / 5)
  assert overall.size.value == pytest.approx((4 / 3 + 0 + 3) / 3)
  assert overall.empty.value == pytest.approx(1 / 3)
  assert overall.single.value == pytest.approx((2 / 3) / 3)
  assert overall.coverage.low == 0
  assert overall.coverage.high == 1
  first, second, third = by_class
  assert (first.images, first.units) == (3, 2)
  assert first.coverage.value == pytest.approx((1 / 2 + 1) / 2)
  assert second.coverage.value == pytest.approx((1 + 0) / 2)
  assert (third.images, third.units) == (0, 0)
  assert math.isnan(third.coverage.value)
  alone, _ = conformal.measure(sets, predictions, groups=np.array(["x"] * 5))
  assert math.isnan(alone.coverage.low)
  assert alone.coverage.value == alone.image_coverage.value


def test_intervals_are_bootstrap_percentiles_over_groups():
  draw = np.random.default_rng(3)
  groups = draw.integers(0, 30, 300)
  sets = draw.random((300, 2)) < 0.8
  predictions = toy.of(draw.integers(0, 2, 300), np.zeros((300, 2)))
  overall, _ = conformal.measure(sets, predictions, groups=groups)
  hit = sets[np.arange(300), predictions.labels]
  means = np.array([hit[groups == g].mean() for g in np.unique(groups)])
  samples = draw.choice(means, (4000, len(means))).mean(axis=1)
  for end, share in (
    (overall.coverage.low, 0.025),
    (overall.coverage.high, 0.975),
  ):
    assert end == pytest.approx(np.quantile(samples, share), abs=0.01)


def test_too_few_units_are_said_with_the_smallest_level():
  predictions = toy.of([0] * 6 + [1] * 4, np.zeros((10, 2)))
  shown = named(predictions, np.array(list("uvwwwwuvuv")))
  np.testing.assert_allclose(conformal.smallest_alpha(shown), [1 / 4, 1 / 3])
  np.testing.assert_allclose(
    conformal.smallest_alpha(shown, class_conditional=False), [1 / 4, 1 / 4]
  )
  with pytest.raises(InputError) as error:
    conformal.calibrate(shown, alpha=0.1)
  assert str(error.value) == (
    "conformal: got 0.1 with 2 groups of class 'b' in validation; valid: "
    "0.3334 or more, or marginal sets, for all classes together"
  )
  assert conformal.calibrate(shown, alpha=0.3334).units.tolist() == [3, 2]
  with pytest.raises(
    InputError, match=r"with 3 groups in validation; valid: 0\.25 "
  ):
    conformal.calibrate(shown, alpha=0.1, class_conditional=False)
  with pytest.raises(InputError, match="with 4 images of class 'b' in val"):
    conformal.calibrate(named(predictions), alpha=0.1)
  missing = named(toy.of([0] * 20, np.zeros((20, 2))))
  with pytest.raises(
    InputError,
    match="0 images of class 'b' in validation; valid: marginal sets",
  ):
    conformal.calibrate(missing, alpha=0.9)
  assert conformal.smallest_alpha(missing).tolist() == [1 / 21, 1]


def test_what_has_no_sets_is_refused(validation):
  for alpha in (0, 1, -0.1, 1.5, math.nan):
    with pytest.raises(InputError, match=r"conformal: got .*; valid: between"):
      conformal.calibrate(named(validation), alpha=alpha)
  several = toy.of(np.ones((5, 2)), np.zeros((5, 2)))
  for attempt in (
    lambda: conformal.calibrate(named(several), alpha=0.1),
    lambda: conformal.smallest_alpha(named(several)),
    lambda: conformal.measure(np.ones((5, 2), bool), several, groups=None),
  ):
    with pytest.raises(InputError, match="several labels each; valid: data"):
      attempt()
  diverged = toy.of([0, 1], [[0, np.nan], [1, 2]])
  with pytest.raises(InputError, match="that are not finite; valid"):
    conformal.calibrate(named(diverged), alpha=0.5)
