"""Runs the trainings of a study in turn, each in a process of its own."""

import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence

from mn_jax.errors import InputError, RunError
from mn_jax.observe.console import Console
from mn_jax.run import ensemble_record
from mn_jax.studies.study import ReplicatedRuns, StudyRun

Job = StudyRun | ReplicatedRuns


def run_all(
  console: Console,
  jobs: Sequence[Job],
  finish: Callable[[StudyRun], None] = lambda run: None,
) -> list[Job]:
  """Runs all jobs that are not complete; returns those that failed.

  Args:
    console: for people.
    jobs: to run, in order.
    finish: called with every run that is complete, at once. A job whose run it
      refuses, by an InputError or a RunError, counts as failed.

  Raises:
    KeyboardInterrupt: after the run in progress has saved.
  """
  failed = []
  for position, job in enumerate(jobs, 1):
    where = f"[{position}/{len(jobs)}] {job.title()}"
    if job.is_complete():
      console.line(f"{where}: complete")
    else:
      console.line(f"{where}: running, log in {job.workdir / 'run.log'}")
      code = _run(job)
      if code == 130:
        raise KeyboardInterrupt
      if code != 0 or not job.is_complete():
        failed.append(job)
        console.line(f"{where}: failed ({_last_line(job.workdir / 'run.log')})")
        continue
    try:
      for run in _runs(job):
        finish(run)
    except (InputError, RunError) as error:
      failed.append(job)
      console.line(f"{where}: failed ({error})")
  return failed


def _runs(job: Job) -> Sequence[StudyRun]:
  return (job,) if isinstance(job, StudyRun) else job.runs


def command(job: Job) -> tuple[str, ...]:
  """Returns the module that runs a job, and its arguments."""
  if isinstance(job, StudyRun) and job.parts:
    made = ensemble_record.arguments(job.workdir, job.parts, job.member.views)
    return ("mn_jax.tools.ensemble", *made)
  return ("mn_jax.main", *job.arguments, f"--workdir={job.workdir}")


def _run(job: Job) -> int:
  """Runs one job to its end; it saves before this process is stopped."""
  job.workdir.mkdir(parents=True, exist_ok=True)
  with (job.workdir / "run.log").open("ab") as log:
    process = subprocess.Popen(
      [sys.executable, "-m", *command(job)],
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
    )
    try:
      return process.wait()
    except KeyboardInterrupt:
      # A terminal has sent Ctrl-C to both, and a second one would not wait for
      # the checkpoint.
      process.terminate()
      process.wait()
      raise


def _last_line(log: pathlib.Path) -> str:
  lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
  written = [line for line in lines if line.strip()]
  return written[-1].strip()[:200] if written else "no output"
