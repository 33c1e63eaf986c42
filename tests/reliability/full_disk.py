"""Fills the disk at every write of a run, and then makes room.

  python -m tests.reliability.full_disk --trials=100 --output=DIR

A trial starts a small run, or resumes one, on a disk that is full from the k-th
call on that needs room: a file made, written, synced, renamed. The run must end
with one line and exit code 1 (2 where a folder could not be made for it), or
complete as if nothing had been; the same command with room must then end like a
run that had room all the time. Every program is a process with an end of its
own, a copy of one that has imported JAX.

Without `--trials` every call of both runs has its turn, which takes an hour or
two. DIR gets `trials.jsonl`, a line for each.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from tests.reliability import damages, subjects, worker

SOURCE = pathlib.Path(__file__).with_name("full_disk.c")
SUBJECTS = ("fresh", "halfway")
_NAMED_ANEW = re.compile(r"/d/[0-9a-f]{32}|/events\.")
_PATIENCE = 120.0  # seconds until a program has ended, on a busy machine
GOOD = ("stopped and resumed", "completed")


def compile_library(folder: pathlib.Path) -> pathlib.Path | None:
  """The library that fills the disk; None without a C compiler."""
  if shutil.which("cc") is None or sys.platform != "linux":
    return None
  library = folder / "full_disk.so"
  flags = ["-O1", "-shared", "-fPIC"]
  subprocess.run(["cc", *flags, "-o", library, SOURCE, "-ldl"], check=True)
  return library


def run(folder: pathlib.Path, *, trials: int | None, seed: int) -> list[dict]:
  """Fills the disk again and again; returns a record of each trial.

  Args:
    folder: for runs and results.
    trials: their number; None for every call.
    seed: of the choice of calls.
  """
  base = folder / "base"
  if not (base / "finished" / "summary.json").exists():
    made, _, err = _in_a_process(lambda: subjects.make(base), folder, {})
    assert made == 0, err
  records = []
  clean = {}
  for subject in SUBJECTS:
    _copy(base, subject)
    code, _, err = _train(base, subject, folder)
    assert code == 0, err
    clean[subject] = worker.end_of(base / "trial" / "run")
  points = list(_points(folder, trials, seed))
  with (folder / "trials.jsonl").open("w") as lines:
    for subject, at, call in points:
      record = {"subject": subject, "at": at, "call": call}
      record |= _trial(base, subject, folder, at, call, clean[subject])
      lines.write(json.dumps(record) + "\n")
      lines.flush()
      records.append(record)
  return records


def _trial(
  base: pathlib.Path,
  subject: str,
  folder: pathlib.Path,
  at: int,
  call: str,
  clean: dict,
) -> dict:
  """Fills the disk at a call, then makes room; says what came of it."""
  _copy(base, subject)
  workdir = base / "trial" / "run"
  code, out, err = _train(base, subject, folder, at=at, call=call)
  said = [line[:300] for line in err.splitlines() if line.strip()]
  complete = code == 0 and worker.end_of(workdir) == clean
  left = [
    str(path.relative_to(base / "trial"))
    for path in (base / "trial").rglob("*.partial*")
  ]
  record = {"code": code, "said": said[:6], "partial": left}
  if code is None:
    return record | {"outcome": "hang"}
  if "Traceback (most recent" in out + err or code not in (0, 1, 2):
    record["outcome"] = "traceback"
  elif code and len(said) != 1:
    record["outcome"] = "several lines"
  elif not code and not complete:
    record["outcome"] = "silent"
  else:
    record["outcome"] = "completed" if complete else "stopped and resumed"
  code, _, err = _train(base, subject, folder)
  ended = worker.end_of(workdir)
  if code != 0 or ended != clean:
    differ = [key for key in clean if ended.get(key) != clean[key]]
    record |= {"outcome": "lost", "then": err[-300:], "differ": differ[:6]}
  return record


def _points(
  folder: pathlib.Path, trials: int | None, seed: int
) -> Iterator[tuple[str, int, str]]:
  """Yields subject, number and name of the calls to fail; every kind first.

  The number is that among the calls of this name, or of all without a name:
  their order differs between runs, and the names of some files.
  """
  kinds: dict[tuple[str, str], list[tuple[str, int, str]]] = {}
  for subject in SUBJECTS:
    lines = (folder / f"{subject}.log").read_text().splitlines()
    counts: collections.Counter = collections.Counter()
    for number, line in enumerate(lines, 1):
      counts[line] += 1
      point = subject, counts[line], line
      if _NAMED_ANEW.search(line):
        point = subject, number, ""
      shape = re.sub(r"[0-9a-f]{8,}|\d+", "#", line)
      kinds.setdefault((subject, shape), []).append(point)
  if trials is None:
    yield from (point for of_kind in kinds.values() for point in of_kind)
    return
  rng = np.random.default_rng(seed)
  for of_kind in kinds.values():
    rng.shuffle(of_kind)
  order = rng.permutation(len(kinds))
  lists = [list(kinds.values())[i] for i in order]
  while trials and any(lists):
    for of_kind in lists:
      if of_kind and trials:
        subject, number, name = of_kind.pop()
        yield subject, int(number), name
        trials -= 1


def _copy(base: pathlib.Path, subject: str) -> None:
  """Makes the trial's folder anew: of 'fresh' with compiled programs alone."""
  damages.copy(base, "halfway", base / "trial")
  if subject == "fresh":
    shutil.rmtree(base / "trial" / "run")
    for name in ("packed", "features"):
      shutil.rmtree(base / "trial" / "cache" / name)
    (base / "trial" / "cache" / "idc.json").unlink()


def _train(
  base: pathlib.Path,
  subject: str,
  folder: pathlib.Path,
  *,
  at: int = 0,
  call: str = "",
) -> tuple[int | None, str, str]:
  """Trains a trial's run; returns the exit code and what it printed.

  Args:
    base: of `subjects.make`.
    subject: 'fresh' or 'halfway'.
    folder: of the results.
    at: number of the call from which on the disk is full; 0: it is not, and
      the calls are logged.
    call: what is counted, as the log has it; '' for all.
  """
  cache = base / "trial" / "cache"
  workdir = base / "trial" / "run"
  more = [f"data.path={base / 'images'}"] if subject == "fresh" else []

  def train() -> int:
    subjects.set_up(cache)
    program, arguments = subjects.action("train", "halfway", base, workdir)
    # A program that reads its process's own arguments also ends the process.
    sys.argv[1:] = [*arguments, *more]
    return program(None)

  log = folder / f"{subject}.log"
  if not at:
    log.unlink(missing_ok=True)
  environment = {
    "FULL_DISK_FOLDER": str(base / "trial"),
    "FULL_DISK_AT": str(at),
    "FULL_DISK_CALL": call,
    "FULL_DISK_LOG": os.devnull if at else str(log),
  }
  return _in_a_process(train, folder, environment)


def _in_a_process(
  program, folder: pathlib.Path, environment: dict[str, str]
) -> tuple[int | None, str, str]:
  """Runs a function in a copy of this process, until Python's own end of it.

  Returns:
    Its exit code, None if it had to be killed, and what it printed.
  """
  names = [folder / "out", folder / "err"]
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # JAX's, of any fork
    child = os.fork()
  if not child:
    for number, name in enumerate(names, 1):
      os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(environment)
    sys.exit(program())
  deadline = time.monotonic() + _PATIENCE
  ended, status = 0, 0
  while not ended and time.monotonic() < deadline:
    time.sleep(0.02)
    ended, status = os.waitpid(child, os.WNOHANG)
  if not ended:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
  code = os.waitstatus_to_exitcode(status) if ended else None
  out, err = (name.read_text(errors="replace") for name in names)
  return code, out, err


def main(argv: Sequence[str] | None = None) -> None:
  """Starts itself again with the library, and carries out the trials."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--trials", type=int)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  args = parser.parse_args(argv)
  folder = args.output.absolute()
  folder.mkdir(parents=True, exist_ok=True)
  if "LD_PRELOAD" not in os.environ:
    library = compile_library(folder)
    if library is None:
      parser.error("needs Linux and a C compiler, cc")
    line = [sys.executable, "-m", "tests.reliability.full_disk", *sys.argv[1:]]
    os.execve(line[0], line, os.environ | {"LD_PRELOAD": str(library)})
  records = run(folder, trials=args.trials, seed=args.seed)
  counts = collections.Counter(record["outcome"] for record in records)
  print(json.dumps(counts))
  for record in records:
    if record["outcome"] not in GOOD:
      print(json.dumps(record))
  sys.exit(0 if all(outcome in GOOD for outcome in counts) else 1)


if __name__ == "__main__":
  main()
