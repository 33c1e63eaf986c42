"""Tests of running a study, as its users do."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STUDY = """
from mn_jax.studies.study import Member, Study

def get_study():
  return Study(
    title="Widths",
    source="nobody",
    members=(
      Member("broken", "idc_v1:test", {"train.batch_size": 100000}),
      Member("narrow", "idc_v1:test", {"model.width": 0.1}),
    ),
    sample={
      "data.image_size": 16,
      "train.epochs": 0.0,
      "train.steps": 2,
      "eval.every_epochs": 0.0,
      "eval.every_steps": 2,
      "checkpoint.every_epochs": 0.0,
      "checkpoint.every_steps": 2,
    },
    pairs=(("narrow", "broken"),),
  )
"""


def run(tmp_path, *arguments):
  (tmp_path / "widths.py").write_text(STUDY)
  return subprocess.run(
    [
      sys.executable,
      "-m",
      "mn_jax.tools.study",
      str(tmp_path / "widths.py"),
      f"--workdir={tmp_path / 'runs'}",
      "--sample",
      *arguments,
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(folder, what was said) of a study with one member that fails."""
  folder = tmp_path_factory.mktemp("study")
  return folder, run(folder, "--seeds=1")


def test_one_that_fails_stops_no_other(finished):
  folder, done = finished
  assert done.returncode == 1, done.stderr
  assert "[1/2] broken seed 0: failed (mn_jax: train.batch_size: got" in (
    done.stdout
  )
  results = json.loads((folder / "runs" / "results.json").read_text())
  assert [m["seeds"] for m in results["members"]] == [[], [0]]
  assert (folder / "runs/narrow/seed0/summary.json").exists()


def test_a_second_time_only_the_failed_one_runs(finished):
  folder, _ = finished
  done = run(folder, "--seeds=1")
  assert "[2/2] narrow seed 0: complete" in done.stdout
  assert "[1/2] broken seed 0: running" in done.stdout
  assert done.returncode == 1


def test_collecting_runs_nothing(finished):
  folder, _ = finished
  done = run(folder, "--seeds=2", "--collect")
  assert done.returncode == 0
  assert "running" not in done.stdout
  assert "│ narrow │  1/2 │" in done.stdout
  assert not (folder / "runs/narrow/seed1").exists()


def test_one_run_of_an_array(finished):
  folder, _ = finished
  done = run(folder, "--seeds=1", "--index=1")
  assert done.stdout.splitlines() == ["[1/1] narrow seed 0: complete"]
  assert done.returncode == 0


def test_seeds_of_a_member_in_one_program(tmp_path):
  done = run(tmp_path, "--seeds=2", "--replicas", "--index=1")
  assert done.returncode == 0, done.stdout
  assert done.stdout.startswith("[1/1] narrow seeds 0 to 1: running, log in")
  folder = tmp_path / "runs" / "narrow"
  assert "Trained together: seeds 0, 1" in (folder / "run.log").read_text()
  done = run(tmp_path, "--seeds=2", "--replicas", "--index=1")
  assert done.stdout.splitlines() == [
    "[1/2] narrow seed 0: complete",
    "[2/2] narrow seed 1: complete",
  ]
  done = run(tmp_path, "--seeds=2", "--collect")
  assert "│ narrow │  2/2 │" in done.stdout


def test_seeds_that_split_anew_are_not_trained_together(tmp_path, monkeypatch):
  resplit = STUDY.replace("pairs=(", "resplit=True, pairs=(")
  monkeypatch.setitem(globals(), "STUDY", resplit)
  done = run(tmp_path, "--replicas")
  assert done.returncode == 2
  assert "widths.py splits the data anew for every seed" in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--seeds=0"], "--seeds: got 0"),
    (["--index=9"], "--index: got 9; valid: 0 to 5"),
    (["--index=2", "--replicas"], "--index: got 2; valid: 0 to 1"),
    (["--only=none"], "--only: got 'none'; valid: broken, narrow"),
    (["train.epoch=1"], "train.epoch: unknown field"),
    (["nonsense"], "got 'nonsense'; valid: SECTION.FIELD=VALUE"),
  ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
  done = run(tmp_path, *arguments)
  assert done.returncode == 2
  assert message in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1
