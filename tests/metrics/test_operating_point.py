"""Tests of sensitivity at a fixed specificity, and the reverse."""

import math

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.errors import InputError
from mn_jax.metrics import operating_point, thresholds
from mn_jax.metrics.operating_point import Target
from tests.metrics import toy_predictions as toy

TARGETS = [
  Target(fixed, value)
  for fixed in ("specificity", "sensitivity")
  for value in (0.5, 0.8, 0.9, 0.95)
]


def by_scikit_learn(predictions, target, positive):
  """The best of the other among the points that reach the target."""
  hits = predictions.labels == positive
  scores = predictions.probabilities()[:, positive]
  fpr, tpr, cuts = sklearn.metrics.roc_curve(
    hits, scores, drop_intermediate=False
  )
  # As counts, because 1 - fpr rounds.
  tnr = np.round((1 - fpr) * (~hits).sum()) / (~hits).sum()
  fixed, other = (tnr, tpr) if target.fixed == "specificity" else (tpr, tnr)
  reached = fixed >= target.value
  best = np.flatnonzero(reached)[np.argmax(other[reached])]
  return tpr[best], tnr[best], cuts[best], other[reached].max()


@pytest.mark.parametrize("target", TARGETS, ids=Target.title)
@pytest.mark.parametrize("seed", range(3))
def test_points_are_on_the_curve_of_scikit_learn(target, seed):
  predictions = toy.random(211, 2, seed)  # with many ties
  point = operating_point.from_own_roc(
    predictions, target, positive=1, resamples=10
  )
  sensitivity, specificity, _, best = by_scikit_learn(predictions, target, 1)
  other = getattr(point, target.read).value
  assert other == best
  assert getattr(point, target.fixed).value >= target.value
  if target.fixed == "sensitivity":
    assert point.specificity.value == specificity
    assert point.sensitivity.value >= target.value
  else:
    assert point.sensitivity.value == sensitivity
  decided = thresholds.decide(predictions, point.threshold, positive=1)
  hits = predictions.labels == 1
  assert (decided[hits] == 1).mean() == point.sensitivity.value
  assert (decided[~hits] == 0).mean() == point.specificity.value


def test_equal_scores_pass_together():
  labels = [0] * 10 + [1] * 4
  scores = [0.1] * 8 + [0.7, 0.9] + [0.9, 0.9, 0.7, 0.2]
  predictions = toy.binary(labels, scores)
  point = operating_point.from_own_roc(
    predictions, Target("specificity", 0.9), positive=1
  )
  # The threshold of 0.7 would let two of ten negatives pass.
  assert point.threshold == pytest.approx(0.9, abs=1e-6)
  assert point.specificity.value == 0.9
  assert point.sensitivity.value == 0.5


def test_a_target_no_score_reaches_predicts_nothing_positive():
  predictions = toy.binary([0] * 20 + [1] * 5, [0.5] * 25)
  point = operating_point.from_own_roc(
    predictions, Target("specificity", 0.9), positive=1
  )
  assert point.threshold == math.inf
  assert (point.sensitivity.value, point.specificity.value) == (0, 1)
  decided = thresholds.decide(predictions, math.inf, positive=1)
  assert not decided.any()


def test_decimals_of_a_target_are_not_lost_to_rounding():
  for negatives, value in ((10, 0.9), (20, 0.95), (100, 0.99), (30, 0.9)):
    scores = [*np.linspace(0.1, 0.9, negatives), 0.89]
    predictions = toy.binary([0] * negatives + [1], scores)
    target = Target("specificity", value)
    point = operating_point.from_own_roc(predictions, target, positive=1)
    assert point.specificity.value == value


@pytest.mark.parametrize(
  ("negatives", "value", "enough"),
  [(19, 0.95, False), (20, 0.95, True), (9, 0.9, False), (10, 0.9, True)],
)
def test_too_few_images_have_no_threshold(negatives, value, enough):
  labels = [0] * negatives + [1] * 30
  few = toy.binary(labels, np.linspace(0.1, 0.9, len(labels)))
  many = toy.random(300, 2)
  target = Target("specificity", value)
  point = operating_point.from_own_roc(few, target, positive=1)
  assert math.isnan(point.sensitivity.value) is not enough
  applied = operating_point.from_validation(few, many, target, positive=1)
  assert math.isnan(applied.threshold) is not enough
  if not enough:
    text = f"validation has {negatives} images without the positive class"
    assert applied.note.startswith(text)
    assert math.isnan(applied.sensitivity.value)
    assert point.note.startswith(f"the test has {negatives} images without")
  # A small test is measured all the same, with a threshold of validation.
  measured = operating_point.from_validation(many, few, target, positive=1)
  assert not math.isnan(measured.specificity.value)
  # And the reverse, of the other class.
  swapped = operating_point.from_own_roc(
    few, Target("sensitivity", value), positive=0
  )
  assert math.isnan(swapped.specificity.value) is not enough


def test_what_is_undefined_is_said():
  target = Target("specificity", 0.5)
  both = toy.random(60, 2)
  nothing = toy.of([0] * 30, both.logits[:30])
  point = operating_point.from_validation(both, nothing, target, positive=1)
  assert math.isnan(point.sensitivity.value)
  assert point.specificity.value > 0
  assert point.note == "the test has no image of the positive class"
  own = operating_point.from_own_roc(nothing, target, positive=1)
  assert own.note == point.note
  broken = toy.of(both.labels, np.full((60, 2), np.nan))
  for found in (
    operating_point.from_validation(broken, both, target, positive=1),
    operating_point.from_validation(both, broken, target, positive=1),
    operating_point.from_own_roc(broken, target, positive=1),
  ):
    assert "not finite" in found.note
    assert math.isnan(found.sensitivity.value)


def test_the_threshold_of_validation_ignores_the_test():
  val, test = toy.random(200, 2, 1), toy.random(150, 2, 2)
  target = Target("specificity", 0.9)
  point = operating_point.from_validation(val, test, target, positive=1)
  other = operating_point.from_validation(val, val, target, positive=1)
  assert point.threshold == other.threshold
  assert other.specificity.value >= 0.9
  decided = thresholds.decide(test, point.threshold, positive=1)
  hits = test.labels == 1
  assert point.sensitivity.value == (decided[hits] == 1).mean()
  assert point.specificity.value == (decided[~hits] == 0).mean()


def test_intervals_resample_groups():
  val, test = toy.random(400, 2, 1), toy.random(400, 2, 2)
  groups = np.array([f"patient{i // 40}" for i in range(400)])
  # In some patients all is found, in others nothing, which a bootstrap over
  # images misses.
  shift = np.repeat(np.random.default_rng(0).normal(0, 3, 10), 40)
  shift *= test.labels
  test = toy.of(test.labels, test.logits + np.stack([0 * shift, shift], 1))
  target = Target("specificity", 0.9)
  for measure in (
    lambda **k: operating_point.from_validation(val, test, target, **k),
    lambda **k: operating_point.from_own_roc(test, target, **k),
  ):
    by_image = measure(positive=1).sensitivity
    by_group = measure(positive=1, groups=groups).sensitivity
    assert by_image.value == by_group.value
    assert by_group.low <= by_group.value <= by_group.high
    wider = (by_group.high - by_group.low) / (by_image.high - by_image.low)
    assert wider > 1.5
  again = measure(positive=1, groups=groups).sensitivity
  assert again == by_group


def test_coverage_of_the_interval_by_group():
  """The 95 % interval has the true sensitivity about that often."""
  target = Target("specificity", 0.8)
  rng = np.random.default_rng(3)

  def sample(groups):
    labels = rng.integers(0, 2, (groups, 8)).ravel()
    effect = np.repeat(rng.normal(0, 0.7, groups), 8)
    scores = labels + effect + rng.normal(size=8 * groups)
    return toy.of(labels, np.stack([0 * scores, scores], 1))

  val, infinite = sample(2000), sample(20000)
  truth = operating_point.from_validation(
    val, infinite, target, positive=1, resamples=1
  ).sensitivity.value
  codes, inside = np.repeat(np.arange(40), 8), 0
  for _ in range(100):
    found = operating_point.from_validation(
      val, sample(40), target, positive=1, groups=codes, resamples=200
    ).sensitivity
    inside += found.low <= truth <= found.high
  assert 85 <= inside <= 100


def test_several_labels_and_classes_are_read_one_against_the_rest():
  many = toy.random(300, 4)
  target = Target("specificity", 0.9)
  point = operating_point.from_own_roc(many, target, positive=2, resamples=5)
  expected = by_scikit_learn(many, target, 2)
  assert point.sensitivity.value == expected[0]
  hot = np.eye(4, dtype=np.uint8)[many.labels]
  labelled = type(many)(many.ids, hot, many.logits, many.losses)
  found = operating_point.from_own_roc(
    labelled, target, positive=2, resamples=5
  )
  hits, scores = hot[:, 2] == 1, many.logits[:, 2]
  fpr, tpr, _ = sklearn.metrics.roc_curve(hits, scores)
  allowed = math.floor(0.1 * (~hits).sum()) / (~hits).sum()
  assert found.sensitivity.value == tpr[fpr <= allowed + 1e-12].max()


@pytest.mark.parametrize("value", [0, 1, -0.5, 2, math.nan])
def test_targets_are_shares(value):
  with pytest.raises(InputError, match="above 0 and below 1"):
    Target("specificity", value)


def test_targets_have_names():
  assert Target("specificity", 0.9).title() == "sensitivity at specificity 0.9"
  with pytest.raises(InputError, match="valid: specificity or sensitivity"):
    Target("recall", 0.9)
