"""Runs of several processes on loopback, started without a launcher."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from mn_jax.observe.writers import read_lines
from mn_jax.parallel import cluster

ROOT = pathlib.Path(__file__).parents[1]
# A few steps a second with four processes on two cores.
RUN = (
  "--config=configs/idc_v1.py:test",
  "--config.data.image_size=16",
  "--config.model.shallow=True",
  "--config.model.separable=False",
  "--config.model.width=0.125",
  "--config.observe.log_every_steps=1",
  "--config.train.epochs=0",
)
# Until a step is reached, or everything has ended, on a busy machine.
PATIENCE = 400.0


@dataclasses.dataclass
class Several:
  """The processes of one run, and the folder of their logs."""

  children: list[subprocess.Popen]
  logs: pathlib.Path

  def send(self, index: int, number: int) -> None:
    self.children[index].send_signal(number)

  def wait_for_step(self, workdir: pathlib.Path, step: int) -> None:
    """Returns once a step is logged; fails if a process ends before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
      lines = read_lines(workdir / "metrics.jsonl")
      if lines and lines[-1]["step"] >= step:
        return
      codes = [child.poll() for child in self.children]
      assert codes == [None] * len(codes), self.errors()
      time.sleep(0.02)
    raise AssertionError(f"no step {step}: {self.errors()}")

  def codes(self, *indices: int) -> list[int]:
    """The exit codes of all processes, or of some."""
    chosen = indices or range(len(self.children))
    return [self.children[i].wait(timeout=PATIENCE) for i in chosen]

  def out(self, index: int) -> str:
    return (self.logs / f"{index}.out").read_text()

  def err(self, index: int) -> str:
    return (self.logs / f"{index}.err").read_text()

  def errors(self) -> list[str]:
    return [self.err(i)[-2000:] for i in range(len(self.children))]

  def __enter__(self) -> "Several":
    return self

  def __exit__(self, *_) -> None:
    for child in self.children:
      if child.poll() is None:
        # One that is stopped does not end otherwise.
        child.send_signal(signal.SIGKILL)
      child.wait()


def start(
  logs: pathlib.Path,
  lines: Sequence[Sequence[str]],
  environments: Sequence[dict[str, str]] | None = None,
) -> Several:
  """Starts a command for each process."""
  logs.mkdir(parents=True, exist_ok=True)
  children = []
  for i, line in enumerate(lines):
    env = os.environ | (environments[i] if environments else {})
    with (
      (logs / f"{i}.out").open("w") as out,
      (logs / f"{i}.err").open("w") as err,
    ):
      children.append(
        subprocess.Popen(line, cwd=ROOT, stdout=out, stderr=err, env=env)
      )
  return Several(children, logs)


def train(
  workdir: pathlib.Path,
  count: int,
  *arguments: str,
  only: dict[int, Sequence[str]] | None = None,
  program: Sequence[str] = ("-m", "mn_jax.main"),
) -> Several:
  """Starts the processes of a run; `only` has further arguments of some."""
  port = cluster.free_port()
  line = [sys.executable, *program, *RUN, f"--workdir={workdir}"]
  if count > 1:
    line += [f"--coordinator=127.0.0.1:{port}", f"--num-processes={count}"]
  return start(
    workdir.with_name(f"{workdir.name}_logs"),
    [
      [
        *line,
        *([f"--process-id={i}"] if count > 1 else []),
        *arguments,
        *(only or {}).get(i, ()),
      ]
      for i in range(count)
    ],
  )


def finish(workdir: pathlib.Path, count: int, *arguments: str) -> str:
  """Runs to the end; returns what the first process printed."""
  with train(workdir, count, *arguments) as several:
    assert several.codes() == [0] * count, several.errors()
    return several.out(0)


def summary(workdir: pathlib.Path) -> dict:
  return json.loads((workdir / "summary.json").read_text())


def losses(workdir: pathlib.Path) -> list[float]:
  """The training loss after each step, which must all be there."""
  lines = [
    line
    for line in read_lines(workdir / "metrics.jsonl")
    if "train/loss" in line
  ]
  assert [x["step"] for x in lines] == list(range(1, len(lines) + 1))
  return [line["train/loss"] for line in lines]
