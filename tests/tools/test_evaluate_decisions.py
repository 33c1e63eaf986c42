"""Operating points and attributes, as `tools.evaluate` shows them."""

import dataclasses
import json

import numpy as np
import pytest

from mn_jax.metrics import by_attribute, operating_point, predictions
from mn_jax.metrics.operating_point import Target
from mn_jax.run import reopen, split_data

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_points_are_those_of_the_predictions(start, run):
  code, out, _ = start(
    "evaluate", "--part=test", "--at-specificity=0.8,0.9", "--json"
  )
  assert code == 0
  points = json.loads(out)["operating_points"]["idc"]
  assert "by_attribute" not in json.loads(out)
  val, test = (
    predictions.read(run / "predictions" / f"{part}.npz")
    for part in ("val", "test")
  )
  assert [(x["at_least"], x["threshold_from"]) for x in points] == [
    (share, source)
    for share in (0.8, 0.9)
    for source in ("validation", "own ROC")
  ]
  expected = operating_point.from_validation(
    val.predictions,
    test.predictions,
    Target("specificity", 0.9),
    positive=1,
    groups=test.groups,
  )
  assert points[2]["threshold"] == pytest.approx(expected.threshold, abs=1e-6)
  assert points[2]["sensitivity"] == vars(expected.sensitivity)
  assert points[2]["specificity"] == vars(expected.specificity)


def test_validation_has_points_of_its_own_roc_alone(start):
  code, out, _ = start("evaluate", "--part=val", "--at-sensitivity=0.8")
  assert code == 0
  assert "sensitivity 0.8, own ROC" in out
  assert "on validation" not in out
  assert all(len(line) <= 80 for line in out.splitlines() if "│" in line)


def test_attributes_have_a_row_for_each_value(start, run, monkeypatch):
  saved = reopen.open_run(run)
  data = saved.data(lambda *_: None)
  original = split_data.SplitData.named_predictions

  def with_sites(self, outputs):
    named = original(self, outputs)
    sites = np.where(np.arange(len(named.names)) % 3, "north", "south")
    return dataclasses.replace(named, attributes={"site": sites})

  monkeypatch.setattr(split_data.SplitData, "named_predictions", with_sites)
  code, out, _ = start("evaluate", "--part=test", "--by-attribute=site")
  assert code == 0
  assert "By site" in out
  for name in ("north", "south", "sensitivity", "patients of each value"):
    assert name in out
  assert all(len(line) <= 80 for line in out.splitlines() if "│" in line)
  code, out, _ = start(
    "evaluate", "--part=test", "--by-attribute=site", "--json"
  )
  assert code == 0
  test = with_sites(data, saved.predict(data, data.part("test")))
  expected = by_attribute.measure(test, "site", resamples=2000)
  shown = json.loads(out)["by_attribute"]["site"]
  assert shown["shared_groups"] == expected.shared_groups > 0
  for subset, found in zip(expected.subsets, shown["subsets"], strict=True):
    auroc = subset.metrics["auroc"]
    assert found["value"] == subset.value
    assert found["metrics"]["auroc"] == vars(auroc)


def test_mistakes_are_one_line(start):
  for argument, message in (
    ("--at-specificity=1", "specificity: got 1; valid: above 0 and below 1"),
    ("--at-specificity=0.9,", "--at-specificity: got ; valid: 0 to 1"),
    ("--at-sensitivity=x", "--at-sensitivity: got x"),
    ("--by-attribute=site", "attribute: got 'site'; valid: none"),
  ):
    code, _, err = start("evaluate", "--part=test", argument)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
