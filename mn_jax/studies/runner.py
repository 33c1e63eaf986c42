"""Runs of a study, one after the other, in processes of their own."""

import pathlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from mn_jax.data import atomic
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import interval, mean_std, metric_name, number
from mn_jax.studies import results as collect
from mn_jax.studies.study import Run, RunsTogether, Study

# As many metrics as a terminal of 80 columns has room for.
_SHOWN = 3


Job = Run | RunsTogether


def run_all(console: Console, runs: Sequence[Job]) -> list[Job]:
  """Runs what is not complete; returns what failed.

  Raises:
    KeyboardInterrupt: after the run in progress has saved.
  """
  failed = []
  for position, run in enumerate(runs, 1):
    where = f"[{position}/{len(runs)}] {run.title()}"
    if run.is_complete():
      console.line(f"{where}: complete")
      continue
    console.line(f"{where}: running, log in {run.workdir / 'run.log'}")
    code = _run(run)
    if code == 130:
      raise KeyboardInterrupt
    if code != 0 or not run.is_complete():
      failed.append(run)
      console.line(f"{where}: failed ({_last_line(run.workdir / 'run.log')})")
  return failed


def _run(run: Job) -> int:
  """Runs one to its end; Ctrl-C reaches it too, and it saves."""
  run.workdir.mkdir(parents=True, exist_ok=True)
  command = [sys.executable, "-m", "mn_jax.main", *run.arguments]
  with (run.workdir / "run.log").open("a") as log:
    process = subprocess.Popen(
      [*command, f"--workdir={run.workdir}"],
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
    )
    try:
      return process.wait()
    except KeyboardInterrupt:
      process.send_signal(signal.SIGINT)
      process.wait()
      raise


def _last_line(log: pathlib.Path) -> str:
  lines = log.read_text(errors="replace").split("\n")
  said = [line for line in lines if line.strip()]
  return said[-1].strip()[:200] if said else "it said nothing"


def show(console: Console, results: dict[str, Any]) -> None:
  """Prints the table of a study, and its comparisons."""
  metrics = results["metrics"][:_SHOWN]
  rows = []
  for member in results["members"]:
    cells = [member["name"], f"{len(member['seeds'])}/{member['wanted']}"]
    for name in metrics:
      found = member["metrics"][name]
      cells.append(mean_std(found["mean"], found["std"]))
    rows.append(tuple(cells))
  titles = map(metric_name, metrics)
  console.table(results["title"], ("member", "runs", *titles), rows)
  for pair in results["pairs"]:
    found = pair["metrics"][metrics[0]]
    if found["mean"] is None:
      continue
    one, other = pair["members"]
    line = f"{metric_name(metrics[0])}, {one} minus {other}: "
    line += number(found["mean"], signed=True)
    if found["low"] is not None:
      line += f" ({interval(found['low'], found['high'], signed=True)})"
    console.line(line)


def finish(console: Console, study: Study, runs: Sequence[Run]) -> None:
  """Gathers what is complete, writes `results.json` beside it and shows it."""
  results = collect.collect(study, runs)
  path = runs[0].workdir.parents[1] / "results.json"
  atomic.write_json(path, results)
  show(console, results)
  console.line(f"Results: {path}")
