"""Tests of running a study, as its users do."""

import contextlib
import io
import json
import pathlib
import signal

import pytest

from mn_jax.studies import runner
from mn_jax.tools import study
from tests import programs
from tests.tools.short_runs import TWO_STEPS

ROOT = pathlib.Path(__file__).parents[2]
STUDY = f"""
SAMPLE = {TWO_STEPS}
from mn_jax.studies.study import Member, Study

def get_study():
  return Study(
    title="Widths",
    source="nobody",
    members=(
      Member("broken", "idc_v1:test", {{"train.batch_size": 100000}}),
      Member("narrow", "idc_v1:test", {{"model.width": 0.1}}),
      Member(
        "rare", "idc_v1:test", weights="mobilenet_v1_1.0_224", optional=True
      ),
    ),
    sample=SAMPLE,
    pairs=(("narrow", "broken"),),
  )
"""


def run(folder, *arguments, text=STUDY):
  """Runs the program here, trainings in forked processes.

  Returns (exit code, stdout, stderr).
  """
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
  return code, out.getvalue(), err.getvalue()


def _train(job: runner.Job) -> int:
  """Stands in for a new process, which would import JAX for seconds."""
  done = programs.run(*runner.command(job))
  job.workdir.mkdir(parents=True, exist_ok=True)
  with (job.workdir / "run.log").open("a") as log:
    log.write(done.stdout + done.stderr)
  return done.returncode


def test_a_failed_run_stops_no_other_and_is_run_again(tmp_path):
  """Then one run of an array, and gathering alone."""
  code, out, err = run(tmp_path, "--seeds=1")
  assert code == 1, err
  failed = "[1/2] broken seed 0: failed (mn_jax: train.batch_size: got"
  assert failed in out
  results = json.loads((tmp_path / "runs" / "results.json").read_text())
  assert [m["seeds"] for m in results["members"]] == [[], [0], []]
  assert (tmp_path / "runs/narrow/seed0/summary.json").exists()

  code, out, _ = run(tmp_path, "--seeds=1")
  assert code == 1
  assert "[1/2] broken seed 0: running" in out
  assert "[2/2] narrow seed 0: complete" in out

  code, out, _ = run(tmp_path, "--seeds=1", "--index=1")
  assert (code, out) == (0, "[1/1] narrow seed 0: complete\n")

  # An optional row needs its weights, and is run, where it is named alone.
  code, out, _ = run(tmp_path, "--seeds=2", "--only=rare", "--plan")
  assert (code, "rare" in out, "narrow" in out) == (0, True, False)
  code, out, _ = run(tmp_path, "--seeds=2", "--plan")
  assert (code, "rare" in out, "narrow" in out) == (0, False, True)

  code, out, _ = run(tmp_path, "--seeds=2", "--collect")
  assert code == 0
  assert "running" not in out
  assert "│ narrow │  1/2 │" in out
  assert not (tmp_path / "runs/narrow/seed1").exists()


@pytest.mark.extended
@pytest.mark.extended
def test_what_stops_a_study_stops_its_training(tmp_path):
  path = tmp_path / "widths.py"
  path.write_text(STUDY.replace("100000", "32"))
  for number in (signal.SIGTERM, signal.SIGINT):
    errors = programs.interrupt(
      "mn_jax.tools.study",
      *(path, f"--workdir={tmp_path / 'runs'}", "--sample"),
      number=number,
    )
    assert errors == "study: stopped; the same command resumes\n"


def test_seeds_of_a_member_in_one_program(tmp_path):
  options = ("--seeds=2", "--replicas", "--index=1")
  code, out, _ = run(tmp_path, *options)
  assert code == 0, out
  assert out.startswith("[1/1] narrow seeds 0 to 1: running, log in")
  folder = tmp_path / "runs" / "narrow"
  assert "Trained together: seeds 0, 1" in (folder / "run.log").read_text()
  _, out, _ = run(tmp_path, *options)
  assert out.splitlines() == [
    "[1/2] narrow seed 0: complete",
    "[2/2] narrow seed 1: complete",
  ]
  _, out, _ = run(tmp_path, "--seeds=2", "--collect")
  assert "│ narrow │  2/2 │" in out


def test_mistakes_are_one_line(tmp_path):
  resplit = STUDY.replace("pairs=(", "resplit=True, pairs=(")
  for arguments, message, text in (
    (["--seeds=0"], "--seeds: got 0", STUDY),
    (["--index=9"], "--index: got 9; valid: 0 to 5", STUDY),
    (["--index=2", "--replicas"], "--index: got 2; valid: 0 to 1", STUDY),
    (["--replicas"], "widths.py splits the data anew for every seed", resplit),
    (["--only=none"], "--only: got 'none'; valid: broken, narrow", STUDY),
    (["train.epoch=1"], "train.epoch: unknown field", STUDY),
    (["nonsense"], "got 'nonsense'; valid: SECTION.FIELD=VALUE", STUDY),
  ):
    code, _, err = run(tmp_path, *arguments, text=text)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


MEAN = f"""
SAMPLE = {TWO_STEPS}
from mn_jax.studies.study import Member, Study

def get_study():
  return Study(
    title="A mean",
    source="nobody",
    members=(
      Member("one", "idc_v1:test"),
      Member("mean", "idc_v1:test", ensemble=("one",), views="horizontal"),
    ),
    sample=SAMPLE,
    pairs=(("mean", "one"),),
    folds=2,
  )
"""


def test_an_ensemble_of_folds_is_run_and_compared(tmp_path):
  code, _, err = run(tmp_path, "--seeds=2", text=MEAN)
  assert code == 0, err
  results = json.loads((tmp_path / "runs" / "results.json").read_text())
  one, mean = results["members"]
  assert one["seeds"] == mean["seeds"] == [0, 1]
  assert one["split_sha256"] == mean["split_sha256"]
  assert len(one["split_sha256"]) == 2
  assert mean["macs"] == 2 * one["macs"]
  assert results["pairs"][0]["metrics"]["accuracy"]["seeds"] == [0, 1]
