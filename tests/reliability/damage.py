"""Damages what runs keep, and counts what comes of it.

  python -m tests.reliability.damage --trials=1000 --output=DIR

Each trial copies a small run with its caches, damages one file (a bit flipped,
the end cut off, emptied, deleted, overwritten by random bytes, swapped with
that of another step), and resumes, evaluates, predicts or reports. It ends

- identical: with the results and the files of the undamaged run
- detected: refused in one line, or another result that is explained
- several lines: refused in more than one
- silent: with another result, and not a word
- traceback, crash, hang: as no program should

DIR gets `trials.jsonl`, a line for each, and `table.json`, kind of file by
damage by outcome. The same seed makes the same trials.
"""

import argparse
import collections
import dataclasses
import json
import multiprocessing
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.reliability import damages, subjects

_PATIENCE = 240.0  # seconds for a trial, on a busy machine
BAD = ("silent", "traceback", "crash", "hang", "several lines")


def run(
  folder: pathlib.Path, *, trials: int, seed: int, kinds: Sequence[str] = ()
) -> list[dict]:
  """Carries out trials in processes of their own; returns a record of each.

  Args:
    folder: for runs and results; what an earlier call made there is reused.
    trials: their number.
    seed: of the choice.
    kinds: of files; empty for all.
  """
  folder.mkdir(parents=True, exist_ok=True)
  base, results = folder / "base", folder / "trials.jsonl"
  if not (base / "finished" / "summary.json").exists():
    maker = multiprocessing.get_context("spawn").Process(
      target=subjects.make, args=(base,)
    )
    maker.start()
    maker.join()
    assert not maker.exitcode
  files = {
    subject: {
      path: size
      for path, size in damages.list_files(base, subject).items()
      if not kinds or damages.kind_of(path) in kinds
    }
    for subject in subjects.SUBJECTS
  }
  planned = damages.plan(files, trials, seed)
  plan = folder / "plan.json"
  plan.write_text(json.dumps([dataclasses.asdict(x) for x in planned]))
  results.touch()
  while (done := _count(results)) < trials:
    ended = _work(base, plan, results)
    if ended is not None and _count(results) < trials:
      with results.open("a") as lines:
        trial = dataclasses.asdict(planned[_count(results)])
        lines.write(json.dumps(trial | ended) + "\n")
    print(f"{done} of {trials}", file=sys.stderr)
  return [json.loads(line) for line in results.read_text().splitlines()]


def _work(
  base: pathlib.Path, plan: pathlib.Path, results: pathlib.Path
) -> dict | None:
  """Lets a process carry out trials; says how it ended if not well."""
  log = results.with_name("worker.log")
  with log.open("ab") as file:
    worker = subprocess.Popen(
      [sys.executable, "-m", "tests.reliability.worker", base, plan, results],
      stdout=file,
      stderr=file,
    )
    changed, size = time.monotonic(), -1
    while worker.poll() is None:
      time.sleep(0.2)
      if results.stat().st_size != size:
        changed, size = time.monotonic(), results.stat().st_size
      if time.monotonic() - changed > _PATIENCE:
        worker.kill()
        worker.wait()
        return {"outcome": "hang", "said": [], "differ": []}
  if worker.returncode == 0:
    return None
  said = log.read_text(errors="replace").splitlines()[-3:]
  if worker.returncode > 0:  # not of a program, whose exceptions it catches
    raise RuntimeError("\n".join(said))
  code = worker.returncode
  return {"outcome": "crash", "code": code, "said": said, "differ": []}


def table(records: Sequence[dict]) -> dict[str, dict[str, dict[str, int]]]:
  """Counts: kind of file -> damage -> outcome -> trials."""
  counts: dict = {}
  for record in records:
    of_kind = counts.setdefault(record["kind"], {})
    of_damage = of_kind.setdefault(record["damage"], collections.Counter())
    of_damage[record["outcome"]] += 1
  return dict(sorted(counts.items()))


def markdown(counts: dict[str, dict[str, dict[str, int]]]) -> str:
  """A table with a row for each kind of file."""
  columns = ("identical", "detected", *BAD)
  rows = [
    f"| kind of file | trials | {' | '.join(columns)} |",
    "|---|" + "---:|" * (len(columns) + 1),
  ]
  total: collections.Counter = collections.Counter()
  for kind, by_damage in counts.items():
    sums: collections.Counter = collections.Counter()
    for of_damage in by_damage.values():
      sums.update(of_damage)
    total.update(sums)
    rows.append(_row(kind, sums, columns))
  return "\n".join([*rows, _row("all", total, columns)])


def _row(name: str, sums: collections.Counter, columns: Sequence[str]) -> str:
  cells = " | ".join(str(sums[column]) for column in columns)
  return f"| {name} | {sums.total()} | {cells} |"


def _count(path: pathlib.Path) -> int:
  return len(path.read_text().splitlines())


def main() -> int:
  """Runs the trials that the command line asks for."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--trials", type=int, default=1000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--kind", action="append", default=[])
  parser.add_argument("--output", type=pathlib.Path, required=True)
  args = parser.parse_args()
  records = run(
    args.output.absolute(), trials=args.trials, seed=args.seed, kinds=args.kind
  )
  counts = table(records)
  (args.output / "table.json").write_text(json.dumps(counts, indent=1) + "\n")
  print(markdown(counts))
  bad = [record for record in records if record["outcome"] in BAD]
  for record in bad:
    print(json.dumps(record))
  return 1 if bad else 0


if __name__ == "__main__":
  sys.exit(main())
