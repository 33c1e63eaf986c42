"""Tests of what is left of a study."""

import json

from mn_jax.observe.console import Console
from mn_jax.studies import budget
from mn_jax.studies.study import StudyRun
from tests import toy_summary
from tests.report import toy_runs


def runs(folder, seconds: dict[str, dict[int, float]], seeds: int, **fields):
  """Of the toy study, those complete that took some seconds."""
  made = [
    StudyRun(member, seed, folder / member.name / f"seed{seed}", ())
    for seed in range(seeds)
    for member in toy_runs.STUDY.members
  ]
  for run in made:
    took = seconds.get(run.member.name, {}).get(run.seed)
    if took is not None:
      run.workdir.mkdir(parents=True)
      summary = {**toy_summary.FIELDS, "wall_seconds": took, **fields}
      (run.workdir / "summary.json").write_text(json.dumps(summary))
  return made


def test_the_time_left_is_that_of_runs_of_the_same_row(tmp_path):
  took = {"a": {0: 50.0, 1: 60.0, 3: 1000.0}, "b": dict.fromkeys(range(5), 5.0)}
  a, b, never = budget.measure(runs(tmp_path, took, 5))
  assert (a.complete, a.missing) == ((0, 1, 3), (2, 4))
  assert (a.seconds, a.left) == (60.0, 120.0)  # not the pause of seed 3
  assert (b.missing, b.left) == ((), 0.0)
  assert never == budget.RowBudget("never", (), (0, 1, 2, 3, 4), None)
  assert never.left is None


def test_seeds_of_one_program_share_its_time(tmp_path):
  took = {"a": {0: 90.0, 1: 90.0, 2: 90.0}}
  a, *_ = budget.measure(runs(tmp_path, took, 4, replicas=3))
  assert (a.seconds, a.left) == (30.0, 30.0)


def test_the_table_says_what_is_not_known(tmp_path, capsys):
  took = {"a": {0: 50.0, 1: 60.0, 3: 3700.0}, "b": dict.fromkeys(range(5), 5.0)}
  budget.show(Console(), "Toy", budget.measure(runs(tmp_path, took, 5)))
  lines = capsys.readouterr().out.splitlines()
  rows = [[x.strip() for x in line.split("│")[1:-1]] for line in lines]
  assert ["a", "0-1, 3", "2, 4", "1 min", "2 min"] in rows
  assert ["b", "0-4", "", "5 s", ""] in rows
  assert ["never", "", "0-4", "-", "-"] in rows
  assert lines[-1] == (
    "Left: 7 runs, 2 min without 5 runs of rows that none is complete of; by "
    "the median of complete runs, one after the other"
  )
