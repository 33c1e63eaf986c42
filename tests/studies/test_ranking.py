"""Tests of what is gathered from a sweep, and of what is kept back."""

import contextlib
import io
import json

import numpy as np
import pytest

from mn_jax.config import Config
from mn_jax.observe.console import Console
from mn_jax.studies import ranking, study
from mn_jax.studies.sweep_plan import SweepPlan, SweepPoint
from tests import toy_summary

# Numbers of the test that nothing else looks like.
TEST = {"a": 0.91234, "b": 0.92345, "c": 0.93456}


def make_plan(folder, *, metric="accuracy", seeds=2) -> SweepPlan:
  """Three points, of which nothing has been run."""
  model = type(Config().model)
  points = tuple(
    SweepPoint(name, {"model.width": width}, Config(model=model(width=width)))
    for name, width in (("a", 0.25), ("b", 0.5), ("c", 1.0))
  )
  runs = tuple(
    study.StudyRun(
      study.Member(point.name, "none"), seed, folder / f"{point.name}{seed}", ()
    )
    for seed in range(seeds)
    for point in points
  )
  return SweepPlan("A toy", "none", metric, folder, points, runs)


def finish(plan: SweepPlan, values: dict[str, list[float | None]]) -> None:
  """Completes runs: point -> what each seed has in validation."""
  for run in plan.runs:
    found = values.get(run.member.name, [])
    if run.seed >= len(found):
      continue
    value = found[run.seed]
    run.workdir.mkdir()
    summary = {
      **toy_summary.FIELDS,
      f"val/{plan.metric}": value,
      f"test/{plan.metric}": TEST[run.member.name] + run.seed,
    }
    (run.workdir / "summary.json").write_text(json.dumps(summary))


def finished(plan: SweepPlan) -> tuple[dict, str]:
  """What is written, and what is said."""
  with contextlib.redirect_stdout(io.StringIO()) as printed:
    ranking.finish(Console(), plan)
  written = (plan.folder / "sweep.json").read_text()
  return json.loads(written), written + printed.getvalue()


def order(results: dict) -> list[tuple]:
  return [(point["name"], point["rank"]) for point in results["points"]]


def test_the_best_mean_of_validation_comes_first(tmp_path):
  plan = make_plan(tmp_path)
  finish(plan, {"a": [0.5, 0.9], "b": [0.75, 0.7], "c": [0.6, 0.6]})
  results, said = finished(plan)
  assert order(results) == [("b", 1), ("a", 2), ("c", 3)]
  best = results["points"][0]
  np.testing.assert_allclose(
    [best["mean"], best["std"]], [0.725, np.std([0.75, 0.7], ddof=1)]
  )
  assert best["fields"] == {"model.width": 0.5}
  assert best["values"] == {"0": 0.75, "1": 0.7}
  assert results["chosen"]["arguments"] == ["model.width=0.5"]
  np.testing.assert_allclose(
    results["chosen"]["test"]["accuracy"]["mean"], TEST["b"] + 0.5
  )
  assert "│ width=0.5  │    1 │  2/2 │ 0.725 ± 0.035 │" in said
  assert "│ accuracy │ 0.725 ± 0.035 │ 1.423 ± 0.707 │" in said


def test_the_lowest_loss_comes_first_and_it_alone_shows_its_test(tmp_path):
  plan = make_plan(tmp_path, metric="loss", seeds=1)
  finish(plan, {"a": [0.5], "b": [0.4], "c": [0.6]})
  results, said = finished(plan)
  assert order(results) == [("b", 1), ("a", 2), ("c", 3)]
  assert "0.923" in said
  for name in ("a", "c"):
    assert f"{TEST[name]:.3f}" not in said


def test_no_test_is_shown_before_all_runs_are_complete(tmp_path):
  plan = make_plan(tmp_path)
  finish(plan, {"a": [0.8, 0.8], "b": [0.9], "c": [0.6, 0.6]})
  results, said = finished(plan)
  # One seed of two is no rank.
  assert order(results) == [("a", 1), ("c", 2), ("b", None)]
  assert results["chosen"] is None
  assert "5 of 6 runs are complete. The test of the best point is" in said
  assert "test/" not in said
  for number in TEST.values():
    assert f"{number:.3f}" not in said
    assert f"{number + 1:.3f}" not in said


@pytest.mark.parametrize(
  ("metric", "undefined"), [("accuracy", None), ("loss", float("nan"))]
)
def test_diverged_points_come_last(tmp_path, metric, undefined):
  plan = make_plan(tmp_path, metric=metric)
  finish(plan, {"a": [9.0, undefined], "b": [0.5, 0.5], "c": [0.5, 0.5]})
  results, said = finished(plan)
  assert order(results) == [("b", 1), ("c", 2), ("a", 3)]
  assert results["chosen"]["name"] == "b"
  assert results["points"][2]["values"] == {"0": 9.0, "1": None}
  assert results["points"][2]["mean"] is None
  assert "diverged │" in said
  assert "Diverged, so ranked last: a, 1 of 2 runs" in said


def test_no_point_is_chosen_if_all_diverged_or_none_has_run(tmp_path):
  plan = make_plan(tmp_path, seeds=1)
  finish(plan, {"a": [None], "b": [None], "c": [None]})
  results, said = finished(plan)
  assert results["complete"]
  assert results["chosen"] is None
  assert "All points diverged: none is chosen." in said
  # Nor without runs.
  results, said = finished(make_plan(tmp_path / "new"))
  assert order(results) == [("a", None), ("b", None), ("c", None)]
  assert "0 of 6 runs are complete" in said
