"""Carries out trials one after another in one process, a line for each.

  python -m tests.reliability.worker BASE TRIALS.json RESULTS.jsonl

It resumes behind the last line of the results. Whoever starts it records what
ends the process itself, and starts it again.
"""

import contextlib
import dataclasses
import gc
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from tests.reliability import damages, subjects

# Seconds and speeds differ from run to run.
_TIMES = (
  "images_per_sec",
  "data_wait_share",
  "mfu",
  "compile_seconds",
  "wall_seconds",
)
# Of what has times, and the time of a line.
_DIGESTS = ("metrics_sha256", "checksum", "time")
# Written by a run and no part of its end: what was set aside, what a reader
# redraws, and events whose names and times differ.
_APART = ("checkpoints", "checkpoints_damaged", "tensorboard")


@dataclasses.dataclass
class Ended:
  """What an action did.

  Attributes:
    code: its exit code; None after an exception.
    out, err: what it printed.
    state: what it left or answered, by name.
  """

  code: int | None
  out: str
  err: str
  state: dict[str, Any]


def perform(trial: damages.Trial, base: pathlib.Path) -> Ended:
  """Does a trial's action in its folder."""
  if trial.kind == damages.COMPILED:
    jax.clear_caches()
    compilation_cache.reset_cache()
  workdir = base / "trial" / "run"
  program, arguments = subjects.action(
    trial.action, trial.subject, base, workdir
  )
  code: int | None = None
  with _captured() as printed:
    try:
      code = program(arguments)
    except SystemExit as end:
      code = end.code
    except BaseException:
      traceback.print_exc()
    # What was left to others may complain when it goes.
    gc.collect()
  out, err = printed
  state: dict[str, Any] = {}
  if trial.action == "train" and trial.subject == "finished":
    state = _summary(workdir)  # nothing else is looked at, or written
  elif trial.action == "train":
    state = end_of(workdir)
  elif trial.action == "report":
    state = _contents(workdir / "report")
  else:
    state = {"answer": out}
  return Ended(code, out, err, state)


def end_of(workdir: pathlib.Path) -> dict[str, Any]:
  """Everything that a run leaves and that must not depend on its course."""
  state = _contents(workdir) | _summary(workdir)
  state.pop("summary.json", None)
  for line in state.pop("metrics.jsonl", b"").splitlines():
    try:
      values = json.loads(line)
      step = values["step"]
    except (ValueError, KeyError, TypeError):
      values, step = {"not a line": str(line)}, 0
    state |= {
      f"metrics.jsonl {step} {key}": value
      for key, value in values.items()
      if not key.startswith("speed/") and key not in ("step", *_DIGESTS)
    }
  # The time is in the file, the arrays are not.
  for path in (workdir / "predictions").glob("*.npz"):
    with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile):
      with np.load(path, allow_pickle=False) as arrays:
        content = {key: arrays[key].tobytes() for key in arrays}
      state[f"predictions/{path.name}"] = content
  return state


def compare(trial: damages.Trial, ended: Ended, intact: Ended) -> dict:
  """The outcome of a trial beside the same action on an intact run."""
  differ = sorted(
    key
    for key in ended.state.keys() | intact.state.keys()
    if ended.state.get(key) != intact.state.get(key)
  )
  known = {_shape(line) for line in (intact.out + intact.err).splitlines()}
  out = "" if "answer" in ended.state else ended.out
  said = [
    line
    for line in (ended.err + out).splitlines()
    if _shape(line) not in known and "epoch " not in line
  ]
  lines = [line for line in ended.err.splitlines() if line.strip()]
  if ended.code is None or "Traceback (most recent" in ended.out + ended.err:
    outcome = "traceback"
  elif ended.code == 0 and not differ:
    outcome = "identical"
  elif ended.code in (1, 2):
    outcome = "detected" if len(lines) == 1 else "several lines"
  elif ended.code == 0 and said:
    outcome = "detected"
  else:
    outcome = "silent"
  return {
    "outcome": outcome,
    "code": ended.code,
    "said": [line[:300] for line in said[:3] + said[3:][-3:]],
    "differ": differ[:6],
  }


def main(base: pathlib.Path, plan: pathlib.Path, results: pathlib.Path) -> None:
  """Carries out what is left of a plan."""
  base = base.absolute()
  trials = [damages.Trial(**x) for x in json.loads(plan.read_text())]
  done = len(results.read_text().splitlines()) if results.exists() else 0
  subjects.set_up(base / "trial" / "cache")
  intact: dict[tuple[str, str], Ended] = {}
  with results.open("a") as lines:
    for trial in trials[done:]:
      key = trial.subject, trial.action
      if key not in intact:
        damages.copy(base, trial.subject, base / "trial")
        intact[key] = perform(dataclasses.replace(trial, kind=""), base)
        assert intact[key].code == 0, intact[key].err
      damages.copy(
        base,
        trial.subject,
        base / "trial",
        compiled=trial.kind == damages.COMPILED,
      )
      how = damages.apply(trial, base / "trial")
      before = time.monotonic()
      ended = perform(trial, base)
      line = {
        **dataclasses.asdict(trial),
        "how": how,
        **compare(trial, ended, intact[key]),
        "seconds": round(time.monotonic() - before, 2),
      }
      lines.write(json.dumps(line) + "\n")
      lines.flush()


def _summary(workdir: pathlib.Path) -> dict[str, Any]:
  """The fields of summary.json without times."""
  path = workdir / "summary.json"
  try:
    values = json.loads(path.read_bytes())
  except (OSError, ValueError):
    return {"summary": "none"}
  return {
    f"summary.json {key}": value
    for key, value in values.items()
    if key not in _TIMES and key not in _DIGESTS
  }


def _contents(folder: pathlib.Path) -> dict[str, Any]:
  """The bytes of a run's files."""
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
    and path.name != ".lock"
    and path.relative_to(folder).parts[0] not in _APART
  }


def _shape(line: str) -> str:
  """A line without its numbers, which differ anyway."""
  return re.sub(r"[\d.,:%-]+", "#", line).strip()


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
  """Takes all that the process prints, libraries in C++ included."""
  printed: list[str] = []
  with contextlib.ExitStack() as stack:
    files = [
      stack.enter_context(tempfile.TemporaryFile("w+b")) for _ in range(2)
    ]
    sys.stdout.flush()
    sys.stderr.flush()
    before = [os.dup(1), os.dup(2)]
    for number, file in enumerate(files, 1):
      os.dup2(file.fileno(), number)
    try:
      yield printed
    finally:
      sys.stdout.flush()
      sys.stderr.flush()
      for number, saved in enumerate(before, 1):
        os.dup2(saved, number)
        os.close(saved)
      for file in files:
        file.seek(0)
        printed.append(file.read().decode(errors="replace"))


if __name__ == "__main__":
  main(*map(pathlib.Path, sys.argv[1:]))
