"""Tests of running a study, as its users do."""

import contextlib
import dataclasses
import io
import json
import pathlib

import pytest

from mn_jax.studies import runner
from mn_jax.tools import study
from tests import programs

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
      "model.name": "simple_cnn",  # compiled fast
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


@dataclasses.dataclass
class Done:
  """What a program printed, and its exit code."""

  returncode: int
  stdout: str
  stderr: str


def run(folder, *arguments, text=STUDY) -> Done:
  """Runs the program in this process, and trainings in forked ones."""
  (folder / "widths.py").write_text(text)
  argv = [
    str(folder / "widths.py"),
    f"--workdir={folder / 'runs'}",
    "--sample",
    *arguments,
  ]
  out, err = io.StringIO(), io.StringIO()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(runner, "_run", _train)
    patch.chdir(ROOT)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      code = study.main(argv)
  return Done(code, out.getvalue(), err.getvalue())


def _train(job: runner.Job) -> int:
  """Stands in for a new process, which would import JAX for seconds."""
  done = programs.run("mn_jax.main", *job.arguments, f"--workdir={job.workdir}")
  job.workdir.mkdir(parents=True, exist_ok=True)
  with (job.workdir / "run.log").open("a") as log:
    log.write(done.stdout + done.stderr)
  return done.returncode


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(folder, what was said) of a study with one member that fails."""
  folder = tmp_path_factory.mktemp("study")
  return folder, run(folder, "--seeds=1")


def test_a_failed_run_does_not_stop_the_others(finished):
  folder, done = finished
  assert done.returncode == 1, done.stderr
  assert "[1/2] broken seed 0: failed (mn_jax: train.batch_size: got" in (
    done.stdout
  )
  results = json.loads((folder / "runs" / "results.json").read_text())
  assert [m["seeds"] for m in results["members"]] == [[], [0]]
  assert (folder / "runs/narrow/seed0/summary.json").exists()


def test_the_same_command_repeats_only_failed_runs(finished):
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


@pytest.mark.extended
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


def test_seeds_with_different_splits_are_not_trained_together(tmp_path):
  resplit = STUDY.replace("pairs=(", "resplit=True, pairs=(")
  done = run(tmp_path, "--replicas", text=resplit)
  assert done.returncode == 2
  assert "widths.py splits the data anew for every seed" in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


def test_mistakes_are_one_line(tmp_path):
  for arguments, message in (
    (["--seeds=0"], "--seeds: got 0"),
    (["--index=9"], "--index: got 9; valid: 0 to 5"),
    (["--index=2", "--replicas"], "--index: got 2; valid: 0 to 1"),
    (["--only=none"], "--only: got 'none'; valid: broken, narrow"),
    (["train.epoch=1"], "train.epoch: unknown field"),
    (["nonsense"], "got 'nonsense'; valid: SECTION.FIELD=VALUE"),
  ):
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
