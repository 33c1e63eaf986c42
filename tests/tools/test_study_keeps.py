"""Tests of keeping a study's runs, as its users do."""

import contextlib
import io
import json
import pathlib
import shutil

import pytest

from mn_jax.studies import runner
from mn_jax.tools import study
from tests.studies import test_kept

ROOT = pathlib.Path(__file__).parents[2]
STUDY = """
from mn_jax.studies.study import Claim, Member, Study

def get_study():
  return Study(
    title="Two networks",
    source="nobody",
    members=(Member("a", "idc_v1"), Member("b", "idc_v2")),
    sample={},
    metrics=("accuracy", "auroc"),
    claims=(Claim("b beats a", "b", "a", "test/accuracy"),),
  )
"""


def run(folder, *arguments, finish=test_kept.finish):
  """Runs the program; `finish` stands in for a training.

  Returns (exit code, stdout, stderr).
  """
  path = folder / "pair.py"
  path.write_text(STUDY)

  def train(job: runner.Job) -> int:
    finish(job)
    return 0

  argv = [str(path), f"--workdir={folder / 'runs'}", *arguments]
  argv.append(f"--keep={folder / 'results'}")
  out, err = io.StringIO(), io.StringIO()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(runner, "_run", train)
    patch.chdir(ROOT)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      code = study.main(argv)
  return code, out.getvalue(), err.getvalue()


def test_a_second_machine_runs_what_is_not_kept(tmp_path):
  kept = tmp_path / "results" / "pair" / "runs"
  seen = []

  def finish(job):
    seen.append([path.parent.name for path in kept.glob("*/seed*")])
    test_kept.finish(job)

  code, out, err = run(tmp_path, "--seeds=1", finish=finish)
  assert code == 0, err
  assert "[2/2] b seed 0: running" in out
  assert seen == [[], ["a"]]  # each is kept before the next one starts
  # Another machine has no workdirs.
  shutil.rmtree(tmp_path / "runs")
  code, out, err = run(tmp_path, "--seeds=2", "--plan")
  assert code == 0, err
  assert "│ b      │        0 │       1 │ 1 min │ 1 min │" in out
  assert not (tmp_path / "runs").exists()
  code, out, err = run(tmp_path, "--seeds=2")
  assert code == 0, err
  assert "[1/4] a seed 0: complete" in out
  assert "[3/4] a seed 1: running" in out
  names = sorted(path.name for path in (tmp_path / "runs").glob("*/*"))
  assert names == ["seed1", "seed1"]
  shutil.rmtree(tmp_path / "runs")
  # All that are kept are shown, however many are asked for.
  code, out, err = run(tmp_path, "--seeds=1", "--collect")
  assert code == 0, err
  assert "running" not in out
  assert "│ a      │  2/2 │" in out
  assert not (tmp_path / "runs").exists()
  folder = tmp_path / "results" / "pair"
  assert "b beats a" in (folder / "report.md").read_text()
  report = json.loads((folder / "report.json").read_text())
  assert [member["seeds"] for member in report["members"]] == [[0, 1]] * 2
  assert (folder / "figures" / "a_curves.webp").exists()


def test_what_is_complete_is_kept_when_the_command_starts(tmp_path):
  code, _, err = run(tmp_path, "--seeds=1")
  assert code == 0, err
  shutil.rmtree(tmp_path / "results")
  code, _, err = run(tmp_path, "--seeds=1", "--collect")
  assert code == 0, err
  kept = sorted((tmp_path / "results" / "pair" / "runs").glob("*/seed0"))
  assert [path.parent.name for path in kept] == ["a", "b"]


def test_a_run_that_cannot_be_kept_has_failed(tmp_path):
  def finish(job):
    test_kept.finish(job)
    if job.member.name == "a":
      path = job.workdir / "summary.json"
      test_kept.edit(path, **{"val/accuracy": 0.5})

  code, out, _ = run(tmp_path, "--seeds=1", finish=finish)
  assert code == 1
  assert "[1/2] a seed 0: failed (a seed 0 is not kept: by its predict" in out
  assert "Failed: a seed 0" in out
  assert "b seed 0: failed" not in out


def test_mistakes_are_one_line(tmp_path):
  code, _, err = run(tmp_path, "--seeds=1")
  assert code == 0, err
  shutil.rmtree(tmp_path / "runs")
  stale = tmp_path / "results" / "pair" / "runs" / "old_row"
  for arguments, message in (
    (["--sample"], "--keep: got it with --sample, whose numbers mean nothing"),
    (["train.epochs=9.0"], "which is of another config (train.epochs: "),
    (["--seeds=1"], "old_row', which is of no row of the study; valid: one"),
  ):
    if arguments == ["--seeds=1"]:
      stale.mkdir()
    code, _, err = run(tmp_path, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
