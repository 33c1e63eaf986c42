"""Tests of numbers and names as people read them."""

import dataclasses
import json
import math

import numpy as np

from mn_jax.observe import formatting


def test_durations():
  for seconds, text in (
    (0, "0 s"),
    (0.4, "0 s"),
    (59.4, "59 s"),
    (59.6, "1:00"),
    (185, "3:05"),
    (3599.7, "1:00:00"),
    (7385, "2:03:05"),
    (100 * 3600, "100:00:00"),
  ):
    assert formatting.duration(seconds) == text


def test_undefined_numbers_are_a_dash():
  for undefined in (None, math.nan, math.inf):
    assert formatting.number(undefined) == "-"
    assert formatting.mean_std(undefined, 0.1) == "-"
    assert formatting.mean_std(0.5, undefined) == "0.500"


def test_numbers_have_a_real_minus_sign():
  assert formatting.number(0.12345) == "0.123"
  assert formatting.number(1) == "1.000"
  assert formatting.number(-0.5) == "\N{MINUS SIGN}0.500"
  assert formatting.number(0.5, signed=True) == "+0.500"
  assert formatting.number(1234.5) == "1,234"
  assert formatting.mean_std(696.875, 54.736) == "697 ± 55"
  assert formatting.mean_std(99.5, 120.25) == "100 ± 120"
  assert formatting.interval(-3.25, 101.75) == "\N{MINUS SIGN}3 to 102"
  assert formatting.interval(-3.25, 99.75, signed=True) == (
    "\N{MINUS SIGN}3.250 to +99.750"
  )
  assert formatting.compact(-0.74) == "\N{MINUS SIGN}0.74"
  text = formatting.interval(-0.5, 0.125, signed=True)
  assert text == "\N{MINUS SIGN}0.500 to +0.125"
  assert formatting.interval(None, None) == "-"
  assert formatting.percent(0.12345) == "12.3%"
  assert formatting.percent(None) == "-"


def test_mean_and_standard_deviation():
  assert formatting.mean_std_of([0.5]) == "0.500"
  assert formatting.mean_std_of([0.5, 0.6]) == "0.550 ± 0.071"
  assert formatting.mean_std_of([0.5, math.nan]) == "-"
  assert formatting.mean_std_of([0.5, None]) == "-"


def test_names_and_counts():
  assert formatting.metric_name("test/macro_auroc") == "test macro AUROC"
  assert formatting.metric_name("balanced_accuracy") == "balanced accuracy"
  name = formatting.metric_name("last/val/auroc")
  assert name == "val AUROC, last epoch"
  assert formatting.count(1, "seed") == "1 seed"
  assert formatting.count(2000, "image") == "2,000 images"


def test_jsonable_keeps_what_json_can_hold():
  values = {"a": 1.5, "b": math.nan, "c": "nan", "d": None, "e": {"f": 1}}
  assert formatting.jsonable(values) == {**values, "b": None}


def test_jsonable_makes_plain_values_of_arrays_and_dataclasses():
  @dataclasses.dataclass
  class Counts:
    rows: np.ndarray
    mean: np.float64

  values = {
    "a": Counts(np.array([[1, 2]]), np.float64("nan")),
    "b": (np.str_("x"),),
  }
  found = formatting.jsonable(values)
  assert (
    json.dumps(found) == '{"a": {"rows": [[1, 2]], "mean": null}, "b": ["x"]}'
  )
