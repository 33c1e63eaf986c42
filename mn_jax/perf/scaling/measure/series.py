"""Measures a scaling series, every point in processes of its own.

The devices are those of one machine: the first of its accelerators, or its CPU
split into as many. Several processes find each other over loopback, as those of
a run do. Compiled programs are kept in the folder of the series: most points
have theirs in common with others.
"""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import mn_jax
from mn_jax.config import Config, changes
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import cluster
from mn_jax.perf import processes
from mn_jax.perf.bench import side_process
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.measure.process import Job
from mn_jax.perf.scaling.points import Point, Series
from mn_jax.run import network

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
_POLL_SECONDS = 0.05


class PointError(Exception):
  """A point could not be measured; one line."""


def run(
  config: Config,
  series: Series,
  *,
  output: pathlib.Path,
  command: str,
  timeout: float,
  console: Console,
) -> list[Point]:
  """Measures the points that are not measured yet; returns those that failed.

  Args:
    config: of the run whose step is measured.
    series: the points.
    output: folder of the results.
    command: to repeat the measurement.
    timeout: seconds after which a point is given up.
    console: for people.

  Raises:
    InputError: for a config that cannot be measured, counts that do not
      divide, or a folder with points that were measured otherwise.
    KeyboardInterrupt: when the processes have ended; finished points are kept.
  """
  _check(config, series)
  now = {
    "config": changes.plain(dataclasses.asdict(config)),
    "steps": series.steps,
    "versions": {
      **side_process.versions(_PACKAGES),
      "mn_jax": mn_jax.__version__,
    },
  }
  listed = series.points()
  # Of all of them first: nothing is measured beside what cannot be compared.
  reasons = [points.why_again(output, point, now) for point in listed]
  failed = []
  for number, (point, reason) in enumerate(
    zip(listed, reasons, strict=True), 1
  ):
    where = f"[{number}/{len(listed)}] {point.title()}"
    if reason is None:
      console.line(f"{where}: measured before")
      continue
    if reason:
      console.line(f"{where}: again, because {reason}")
    try:
      result = measure(
        point,
        now["config"],
        series.steps,
        compiled=output / "compiled",
        timeout=timeout,
      )
    except PointError as error:
      failed.append(point)
      result = {"failed": str(error)}
      console.line(f"{where}: failed: {error}")
    else:
      console.line(
        f"{where}: {result['images_per_sec']:,.0f} images/s, "
        f"{result['images_per_sec_per_device']:,.0f} per device"
      )
    points.write(output, point, {**result, **now, "command": command})
  return failed


def _check(config: Config, series: Series) -> None:
  """Refuses what can be refused before a process is started."""
  registry.get(config.data.name)
  network.check(config)
  for name, value in (
    ("train.replicas", config.train.replicas),
    ("train.steps_per_dispatch", config.train.steps_per_dispatch),
  ):
    if value != 1:
      raise InputError(f"{name}: got {value}; valid: 1 for a scaling series")
  series.check(accumulate=config.optim.accumulate)


def measure(
  point: Point,
  config: Mapping[str, Any],
  steps: int,
  *,
  compiled: pathlib.Path,
  timeout: float,
) -> dict[str, Any]:
  """Measures a point in fresh processes; the result is JSON.

  Args:
    point: which.
    config: all fields of the run's, as JSON.
    steps: that are timed.
    compiled: folder of programs that were compiled for other points.
    timeout: seconds after which it is given up.

  Raises:
    PointError: if one of the processes fails or takes too long.
  """
  coordinator = ""
  if point.processes > 1:
    coordinator = f"127.0.0.1:{cluster.free_port()}"
  with tempfile.TemporaryDirectory(prefix="mn_jax_scaling_") as name:
    folder = pathlib.Path(name)
    with contextlib.ExitStack() as stack:
      children = [
        _start(
          Job(point, dict(config), steps, number, coordinator),
          folder,
          compiled,
          stack,
        )
        for number in range(point.processes)
      ]
      _wait(children, folder, timeout)
    result = points.read(folder / "0.out")
  if result is None:
    raise PointError("the process ended without a result")
  return result


def _start(
  job: Job,
  folder: pathlib.Path,
  compiled: pathlib.Path,
  stack: contextlib.ExitStack,
) -> subprocess.Popen:
  """Starts a process, which ends with the stack."""
  out = stack.enter_context((folder / f"{job.process}.out").open("wb"))
  errors = stack.enter_context((folder / f"{job.process}.err").open("wb"))
  program = "mn_jax.perf.scaling.measure.process"
  child = subprocess.Popen(
    [sys.executable, "-m", program, json.dumps(dataclasses.asdict(job))],
    stdin=subprocess.DEVNULL,
    stdout=out,
    stderr=errors,
    env=processes.environment(
      JAX_COMPILATION_CACHE_DIR=str(compiled.resolve()),
      # Of several processes one may find what the others still compile, and
      # gives them up when they are not there after 30 s.
      JAX_ENABLE_COMPILATION_CACHE=str(job.point.processes == 1).lower(),
    ),
    # Ctrl-C ends it through the stack, its own children with it.
    start_new_session=True,
  )
  stack.callback(processes.kill, child)
  return child


def _wait(
  children: Sequence[subprocess.Popen], folder: pathlib.Path, timeout: float
) -> None:
  """Waits until all have ended well.

  Raises:
    PointError: as soon as one has not, or after the timeout.
  """
  deadline = time.monotonic() + timeout
  while any(child.poll() is None for child in children):
    _raise_failure(children, folder)
    if time.monotonic() > deadline:
      raise PointError(
        f"no result after {timeout:g} s; --timeout=SECONDS waits longer"
      )
    time.sleep(_POLL_SECONDS)
  _raise_failure(children, folder)


def _raise_failure(
  children: Sequence[subprocess.Popen], folder: pathlib.Path
) -> None:
  """Raises a PointError of the first process that failed: its last line."""
  for number, child in enumerate(children):
    code = child.returncode
    if code:
      line = processes.last_line(folder / f"{number}.err")
      if code < 0 or not line:
        line = f"the process died by {processes.describe_exit(code)}"
      raise PointError(line)
