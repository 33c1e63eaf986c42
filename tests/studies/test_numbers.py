"""Tests of the numbers of a row, and of their form in a report."""

import json
import math

from mn_jax.metrics.estimates import Estimate
from mn_jax.studies import numbers
from mn_jax.studies.numbers import Numbers


def test_one_seed_has_a_mean_alone():
  nothing = Estimate(0.8, (math.nan,), (math.nan,))
  found = Numbers([2], [0.8], nothing, undefined=[0])
  assert math.isnan(found.spread)
  report = found.for_json()
  json.dumps(report, allow_nan=False)
  assert (report["mean"], report["std"], report["low"]) == (0.8, None, None)
  assert (report["seeds"], report["undefined"]) == ([2], [0])
  assert (report["unit"], report["holds"]) == ("", numbers.SEEDS)
  assert report["over_groups"] == [None, None]


def test_the_interval_is_that_of_the_estimate():
  """By hand: the spread of 0.7, 0.8 and 0.9 is 0.1."""
  estimate = Estimate(0.8, (0.1 / math.sqrt(3),), (2,))
  found = Numbers([0, 1, 2], [0.7, 0.8, 0.9], estimate, holds=numbers.OWN)
  assert math.isclose(found.spread, 0.1)
  report = found.for_json()
  assert (report["low"], report["high"]) == estimate.interval()
  assert report["holds"] == "seeds that split anew"
