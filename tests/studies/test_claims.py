"""Tests of verdicts on claims, and of the numbers of seeds they need."""

import json

import pytest

from mn_jax.studies import claims
from mn_jax.studies.evidence import Evidence
from mn_jax.studies.study import Claim
from tests.studies import toy_evidence as toy

KEY = "last/train/auroc"


def judged(
  relation, value, first, second=None, *, others=0, key=KEY, **changes
):
  """The verdict on a claim of two rows, among other claims just as sure."""
  rows = {
    name: {
      seed: toy.bare(key, number, **changes)
      for seed, number in enumerate(numbers or ())
    }
    for name, numbers in (("a", first), ("b", second))
  }
  claim = Claim("text", "a", "b" if second else "", key, relation, value)
  found = claims.judge([claim] * (1 + others), Evidence(rows), {})
  json.dumps(found, allow_nan=False)
  return found[0]


ONE, LOWER, CLOSE = [0.8, 0.81, 0.82], [0.7, 0.71, 0.73], [0.8, 0.812, 0.819]


@pytest.mark.parametrize(
  ("relation", "value", "first", "second", "verdict"),
  [
    (">", 0.0, ONE, LOWER, claims.HOLDS),
    ("<", 0.0, ONE, LOWER, claims.FAILS),
    (">", 0.2, ONE, LOWER, claims.FAILS),
    (">", 0.0, [0.8, 0.6, 0.82], LOWER, claims.OPEN),
    (">", 0.0, ONE[:2], LOWER[:2], claims.OPEN),
    (">", 0.0, [0.8], [0.7], claims.OPEN),
    (">", 0.0, [], [0.7], claims.NOT_RUN),
    (">", 0.75, ONE, None, claims.HOLDS),
    ("<", 0.75, ONE, None, claims.FAILS),
    ("=", 0.05, ONE, CLOSE, claims.HOLDS),
    ("=", 0.05, ONE, LOWER, claims.FAILS),
    ("=", 0.001, ONE, CLOSE, claims.OPEN),
    # A network that always predicts one class.
    ("<", 0.55, [0.5] * 3, None, claims.HOLDS),
  ],
)
def test_claims_are_decided_by_their_interval(
  relation, value, first, second, verdict
):
  found = judged(relation, value, first, second)
  assert found["verdict"] == verdict
  assert bool(found["reason"]) == (verdict in (claims.OPEN, claims.NOT_RUN))
  if verdict in (claims.HOLDS, claims.FAILS):
    assert found["p"] <= 0.05
    low, high = found["low"], found["high"]
    ends = (-value, value) if relation == "=" else (value, value)
    outside = low > ends[1] or high < ends[0]
    inside = relation == "=" and ends[0] <= low and high <= ends[1]
    assert outside or inside


def test_two_seeds_decide_nothing_however_far_apart():
  found = judged(">", 0.0, [0.9, 0.9001], [0.5, 0.5001])
  assert found["verdict"] == claims.OPEN
  assert found["reason"] == "3 seeds are the least that decide"
  assert found["p"] is None


def test_other_claims_make_a_verdict_harder():
  """By hand: t = 0.02 / (0.0055 / sqrt(3)); p = 0.024, of three 0.072."""
  alone = judged(">", 0.0, [0.82, 0.825, 0.814], [0.8, 0.8, 0.8])
  assert alone["verdict"] == claims.HOLDS
  assert 0.02 < alone["p"] == alone["p_holm"] < 0.03
  among = judged(">", 0.0, [0.82, 0.825, 0.814], [0.8, 0.8, 0.8], others=2)
  assert among["verdict"] == claims.OPEN
  assert among["p_holm"] == pytest.approx(3 * alone["p"])
  assert among["reason"] == "after Holm's adjustment for all claims"
  # So it is for what does not hold.
  against = judged("<", 0.0, [0.82, 0.825, 0.814], [0.8] * 3, others=2)
  assert against["verdict"] == claims.OPEN
  # Those that were not run count, so that no verdict depends on them.
  rows = {
    "a": {i: toy.bare(KEY, x) for i, x in enumerate([0.82, 0.825, 0.814])}
  }
  claim = Claim("text", "a", "", KEY, ">", 0.8)
  never = Claim("text", "b", "", KEY, ">", 0.8)
  found = claims.judge([claim, never, never], Evidence(rows), {})
  assert found[0]["p_holm"] == pytest.approx(3 * found[0]["p"])
  assert found[1]["p_holm"] is None


def test_an_undefined_metric_decides_nothing():
  rows = {"a": {i: toy.bare(KEY, x) for i, x in enumerate([0.9, 0.91, 0.92])}}
  rows["a"][3] = toy.bare(KEY, None)
  (found,) = claims.judge(
    [Claim("text", "a", "", KEY, ">", 0.8)], Evidence(rows), {}
  )
  assert (found["verdict"], found["p"]) == (claims.OPEN, None)
  assert found["reason"] == f"{KEY} is undefined of seed 3"
  assert (found["seeds"], found["undefined"]) == ([0, 1, 2], [3])


def test_a_test_without_its_predictions_decides_nothing():
  found = judged(">", 0.0, ONE, LOWER, key="test/auroc")
  assert found["verdict"] == claims.OPEN
  assert found["reason"] == "the predictions of a run are not there"


def test_seeds_are_planned_before_and_after():
  claim = Claim("text", "a", "", KEY, ">", 0.8, margin=0.02, spread=0.013)
  nothing = Evidence({})
  (found,) = claims.judge([claim], nothing, {})
  assert found["verdict"] == claims.NOT_RUN
  assert (found["spread_from"], found["seeds_needed"]) == ("expected", 6)
  more = claims.judge([claim] * 8, nothing, {})[0]
  assert more["seeds_alone"] == 6 < more["seeds_needed"]
  anew = claims.judge([claim], nothing, {"a": 0.1})[0]
  assert anew["seeds_needed"] > 6
  # A third of the variance stays, however many splits there are.
  anew = claims.judge([claim], nothing, {"a": 0.33})[0]
  assert (anew["spread_from"], anew["seeds_needed"]) == ("expected", None)
  unknown = Claim("text", "a", "", KEY, ">", 0.8)
  (found,) = claims.judge([unknown], nothing, {})
  assert (found["spread_from"], found["seeds_needed"]) == ("", None)
  rows = {"a": {i: toy.bare(KEY, x) for i, x in enumerate(ONE)}}
  (found,) = claims.judge([claim], Evidence(rows), {})
  assert found["spread_from"] == "measured"
  assert found["spread"] == pytest.approx(0.01)
