"""Tests of the decisions that a report shows."""

import dataclasses
import json

import numpy as np
import pytest

from mn_jax.metrics import by_attribute, operating_point, predictions
from mn_jax.observe import formatting
from mn_jax.report import (
  decision_curves,
  decisions,
  page,
  run_analysis,
  run_report,
)
from tests.report import toy_runs as toy
from tests.report.test_study_report import NOTHING


def with_sites(named):
  sites = np.array([f"site{i // 10 % 2}" for i in range(len(named.names))])
  return dataclasses.replace(named, attributes={"site": sites})


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
  """Of a run whose test has sites."""
  folder = toy.write(tmp_path_factory.mktemp("runs") / "run")
  path = folder / "predictions" / "test.npz"
  with_sites(predictions.read(path)).write(path)
  return run_analysis.analyze(folder)


def test_a_report_has_points_of_both_kinds(analysis):
  val = predictions.read(analysis.path / "predictions" / "val.npz")
  text = page.markdown(run_report.build(analysis, NOTHING), "figures")
  for target in decisions.TARGETS:
    for point, how in (
      (
        operating_point.from_validation(
          val.predictions,
          analysis.test.predictions,
          target,
          positive=1,
          groups=analysis.test.groups,
          resamples=1000,
        ),
        "threshold of validation",
      ),
      (
        operating_point.from_own_roc(
          analysis.test.predictions,
          target,
          positive=1,
          groups=analysis.test.groups,
          resamples=1000,
        ),
        "read off this ROC",
      ),
    ):
      found = point.sensitivity
      cells = (
        f"| {target.title()} | {how} | {formatting.number(point.threshold)} | "
        f"{formatting.number(found.value)} "
      )
      if not np.isnan(found.low):
        cells += f"({formatting.interval(found.low, found.high)})"
      assert cells.strip() in text
  assert "so it promises more than a fixed threshold keeps" in text


def test_subsets_are_in_the_page_and_the_numbers(analysis):
  document = run_report.build(analysis, NOTHING)
  text = page.markdown(document, "figures")
  expected = by_attribute.measure(analysis.test, "site", resamples=1000)
  numbers = run_report.numbers([analysis], NOTHING)["runs"]
  (of_run,) = numbers.values()
  json.dumps(of_run, allow_nan=False)
  for subset, shown in zip(
    expected.subsets, of_run["by_attribute"]["site"]["subsets"], strict=True
  ):
    accuracy = subset.metrics["accuracy"]
    row = f"| {subset.value} | {subset.images} | {subset.groups} | "
    row += f"{', '.join(subset.flags)} | "
    assert row + formatting.number(accuracy.value) in text
    assert shown["metrics"]["accuracy"]["low"] == accuracy.low
    assert shown["flags"] == list(subset.flags)
  points = of_run["operating_points"]["yes"]
  assert [x["at_least"] for x in points] == [0.9, 0.9, 0.95, 0.95, 0.95, 0.95]
  assert "Not ranked, with fewer: 1 group." in text


def test_classes_are_read_against_the_rest(tmp_path):
  folder = toy.write(tmp_path / "run", classes=("a", "b", "c"))
  analysis = run_analysis.analyze(folder)
  text = page.markdown(run_report.build(analysis, NOTHING), "figures")
  assert "| class | operating point |" in text
  for name in "abc":
    assert f"| {name} | sensitivity at specificity 0.9 | threshold of" in text
  assert "each class against the rest" in text


def test_too_few_images_are_said(tmp_path):
  folder = toy.write(tmp_path / "run")
  path = folder / "predictions" / "val.npz"
  val = predictions.read(path)
  rows = np.flatnonzero(val.predictions.labels == 1)
  rows = np.append(rows, np.flatnonzero(val.predictions.labels == 0)[:9])
  few = dataclasses.replace(
    val,
    predictions=type(val.predictions)(
      **{k: x[rows] for k, x in vars(val.predictions).items()}
    ),
    names=val.names[rows],
    groups=val.groups[rows],
  )
  few.write(path)
  analysis = run_analysis.analyze(folder)
  text = page.markdown(run_report.build(analysis, NOTHING), "figures")
  assert (
    "| sensitivity at specificity 0.9 | threshold of validation | - | - | - |"
  ) in text
  assert "validation has 9 images without the positive class" in text


def test_many_classes_have_curves_of_the_worst(monkeypatch):
  shown = []
  monkeypatch.setattr(
    decision_curves.decision_figures,
    "decisions",
    lambda curves, *_: shown.extend(curves) or np.zeros((2, 2, 3), np.uint8),
  )
  names = tuple(f"class{i}" for i in range(25))
  test = toy.predictions(400, 1, names)
  found = decisions.measure(test, test, resamples=10)
  assert not found.points
  assert not found.bands
  figure = decision_curves.figure("f", "title", test, found, None)
  assert "12 classes with the lowest AUROC" in figure.caption
  outputs = test.predictions
  areas = {
    curve.name: decision_curves._auroc(
      test, outputs.probabilities(), names.index(curve.name)
    )
    for curve in shown
  }
  others = [
    decision_curves._auroc(test, outputs.probabilities(), k)
    for k in range(25)
    if names[k] not in areas
  ]
  assert len(areas) == 12
  assert max(areas.values()) <= min(others)
