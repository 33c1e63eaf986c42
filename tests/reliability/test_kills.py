"""A run that is killed or stopped at random moments ends as if it never was.

MN_JAX_KILLS=200 sends 200 SIGKILL and 200 of SIGTERM and SIGINT; -s shows the
table of moments.
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing import event_accumulator

from mn_jax.commandline.program import RESUMES
from mn_jax.observe.writers import read_lines
from tests import programs

RUN = (
  "--config=configs/idc_v1.py:test",
  "data.image_size=16",
  "model.name=simple_cnn",
  "train.epochs=1",
  "checkpoint.every_epochs=0.25",
  "eval.every_epochs=0.5",
  "observe.log_every_steps=5",
)
STEPS = 41
COUNT = int(os.environ.get("MN_JAX_KILLS", "4"))  # of each kind
STOPS = (signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}
# In the order in which a run is in them.
PHASES = (
  *("start", "packing", "set-up", "compile", "loop", "save", "test"),
  *("outputs", "end"),
)
LIMIT = 300.0  # seconds that any process may take
MOST_IN_CHAIN = 4  # moments until a run may end
# Until Python has come to the program, it does what it likes with signals.
INTERPRETER = 0.5


@dataclasses.dataclass
class Chain:
  """A run that is disturbed several times, in a folder of its own."""

  folder: pathlib.Path
  # Of another, for its images and compiled programs.
  shared: pathlib.Path | None = None

  def __post_init__(self):
    self.workdir, self.cache = self.folder / "run", self.folder / "cache"
    self.files = [self.folder / name for name in ("out", "err")]
    self.cache.mkdir(parents=True)
    if self.shared is not None:
      for name in ("compiled", "idc_sample"):
        (self.cache / name).symlink_to(self.shared / name)

  def start(self, *, forked: bool):
    """Starts a process; returns (its id, how to wait for its exit code)."""
    line = [*RUN, f"--workdir={self.workdir}", f"data.cache_dir={self.cache}"]
    if forked:
      child = programs.start("mn_jax.main", *line, files=self.files)

      def wait(timeout):
        child.join(timeout)
        return child.exitcode

      return child.pid, wait
    out, err = (file.open("w") for file in self.files)
    with out, err:
      child = subprocess.Popen(
        [sys.executable, "-m", "mn_jax.main", *line],
        cwd=programs.ROOT,
        stdout=out,
        stderr=err,
      )

    def wait(timeout):
      with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout)
      return child.returncode

    return child.pid, wait

  def phase(self, pid: int) -> str:
    """What a process is doing, by the files that are there and open."""
    checkpoints = self.workdir / "checkpoints"
    opened = _open_files(pid)
    if (self.workdir / "summary.json").exists():
      return "end"
    if any(path.endswith(".partial/images.u8") for path in opened):
      return "packing"
    if str(self.workdir / ".lock") not in opened:
      return "start"
    metrics = self.workdir / "metrics.jsonl"
    if str(metrics) not in opened:
      return "set-up"
    if (self.workdir / "predictions").exists():
      return "outputs"
    saved = {path.name for path in checkpoints.iterdir()}
    if any("tmp" in name for name in saved):
      return "save"
    if str(STEPS) in saved:
      return "test"
    return "loop" if metrics.stat().st_size else "compile"

  def results(self):
    """All that must not depend on what happened to the run."""
    summary = json.loads((self.workdir / "summary.json").read_text())
    # They, and checksums of what contains them, differ between any two runs.
    timed = ("images_per_sec", "seconds", "data_wait_share")
    timed += ("metrics_sha256", "checksum")
    events = event_accumulator.EventAccumulator(
      str(self.workdir / "tensorboard"), size_guidance={"scalars": 0}
    ).Reload()
    return {
      "summary": {k: v for k, v in summary.items() if not k.endswith(timed)},
      "metrics": [
        {k: v for k, v in line.items() if not k.startswith(("speed/", "time"))}
        for line in read_lines(self.workdir / "metrics.jsonl")
      ],
      "tensorboard": {
        name: [(point.step, point.value) for point in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if not name.startswith("speed/")
      },
      "files": sorted(
        str(path.relative_to(self.folder))
        for folder in (self.workdir, self.cache)
        for path in folder.rglob("*")
        if not {"checkpoints", "tensorboard", "compiled"} & {*path.parts}
        and path != self.cache / "idc_sample"
      ),
      "leftovers": sorted(
        str(path)
        for path in self.folder.rglob("*")
        if path.name.endswith(".partial") or "-tmp" in path.name
      ),
    }


def _open_files(pid: int) -> set[str]:
  found = set()
  with contextlib.suppress(OSError):
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
      with contextlib.suppress(OSError):
        found.add(str(link.readlink()))
  return found


def disturb(chain: Chain, number: int, rng: random.Random, seconds: float):
  """Sends a signal at a random moment.

  Returns:
    (phase, None), or with what is wrong; None if the run ended before.
  """
  forked = rng.random() > 0.2
  pid, wait = chain.start(forked=forked)
  started, target = time.monotonic(), rng.choice(PHASES)
  moment = rng.uniform(0, seconds)
  if rng.random() < 0.5:  # any time, or soon after a phase has begun
    target = None
  while wait(0) is None:
    age = time.monotonic() - started
    if target is None and age > moment:
      break
    if chain.phase(pid) == target:
      target, moment = None, age + rng.uniform(0, 0.1)
    time.sleep(0.001)
  else:
    assert wait(0) == 0, chain.files[1].read_text()
    return None
  phase, age = chain.phase(pid), time.monotonic() - started
  os.kill(pid, number)
  code = wait(LIMIT)
  if code is None:
    os.kill(pid, signal.SIGKILL)
    wait(LIMIT)
    return phase, f"no end {LIMIT} s after {number}"
  starting = phase in ("start", "end") and age < INTERPRETER
  said = chain.files[1].read_text()
  if starting and (code == -number or "KeyboardInterrupt" in said):
    return "interpreter", None
  complete = (chain.workdir / "summary.json").exists()
  if code not in (CODES[number], *((0, -number) if complete else ())):
    return phase, f"exit code {code} after {number}: {said}"
  # The imports know no more than that it is this package.
  if said not in ("", "mn_jax: stopped\n", f"mn_jax: stopped; {RESUMES}\n"):
    return phase, said
  names = [path.name for path in chain.workdir.glob("checkpoints/*")]
  saved = [0, *(int(name) for name in names if name.isdigit())]
  lines = read_lines(chain.workdir / "metrics.jsonl")
  # Whatever comes after the first step is saved before a regular end. Until a
  # process opens the metrics, their lines are those of the one before it.
  opened = PHASES.index(phase) > PHASES.index("set-up")
  last = lines[-1]["step"] if lines and opened else 0
  if number in STOPS and last > max(saved) + 1:
    return phase, f"step {last} was lost: {saved}"
  return phase, None


def play(root: pathlib.Path, shared: pathlib.Path, count: int):
  """Disturbs runs until each kind of signal has been sent `count` times.

  Yields:
    Chains that are complete, with (phase, signal, what is wrong) of moments.
  """
  rng, seconds = random.Random(0), 0.0
  left = {signal.SIGKILL: count, "stop": count}
  for index in range(10**6):
    chain = Chain(root / str(index), shared)
    moments = []
    while seconds and any(left.values()) and len(moments) < MOST_IN_CHAIN:
      kind = rng.choice([kind for kind, number in left.items() if number])
      number = kind if kind != "stop" else rng.choice(STOPS)
      moment = disturb(chain, number, rng, seconds)
      if moment is None:
        break
      left[kind] -= 1
      moments.append((moment[0], signal.Signals(number).name, moment[1]))
    began = time.monotonic()
    pid, wait = chain.start(forked=True)
    code, said = wait(LIMIT), chain.files[1].read_text()
    if code is None:
      os.kill(pid, signal.SIGKILL)
    if (code, said) != (0, ""):
      moments.append(("resumed", "none", f"{code}: {said}"))
    # The first of all is not disturbed.
    seconds = seconds or time.monotonic() - began
    yield chain, moments
    if not any(left.values()):
      return


def show(table: collections.Counter) -> str:
  names = ("SIGKILL", "SIGTERM", "SIGINT")
  rows = [f"{'phase':12}{''.join(f'{name:>9}' for name in names)}"]
  for phase in ("interpreter", *PHASES):
    counts = "".join(f"{table[phase, name]:9}" for name in names)
    rows.append(f"{phase:12}{counts}")
  return "\n".join(rows)


@pytest.mark.slow
def test_a_run_survives_signals_at_any_moment(tmp_path):
  warm = Chain(tmp_path / "warm")
  assert warm.start(forked=True)[1](LIMIT) == 0
  table, wrong, expected = collections.Counter(), [], None
  for chain, moments in play(tmp_path, warm.cache, COUNT):
    table.update((phase, name) for phase, name, _ in moments)
    trouble = [moment for moment in moments if moment[2]]
    results = {}
    if (chain.workdir / "summary.json").exists():
      results = chain.results()
    expected = expected or results
    trouble += [key for key in expected if results.get(key) != expected[key]]
    print(moments, trouble, flush=True)  # it may take an hour
    if trouble:
      wrong.append((chain.folder.name, moments, trouble))
    else:
      shutil.rmtree(chain.folder)
  print(f"\n{show(table)}\n{len(wrong)} chains are wrong")
  assert not wrong
