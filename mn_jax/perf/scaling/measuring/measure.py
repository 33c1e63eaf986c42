"""Measures a scaling series, every point in processes of its own.

The devices are those of one machine: the first of its accelerators, or its CPU
split into as many. Several processes find each other over loopback, as those of
a run do. Compiled programs are kept in the folder of the series: most points
have theirs in common with others.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import mn_jax
from mn_jax.config import Config
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import cluster
from mn_jax.perf.bench import worker
from mn_jax.perf.scaling import points as points_lib
from mn_jax.perf.scaling.measuring import process
from mn_jax.perf.scaling.points import Point, Series
from mn_jax.perf.scaling.reporting import series as series_lib
from mn_jax.run import network
from mn_jax.run import workdir as workdir_lib

_ROOT = pathlib.Path(mn_jax.__file__).parents[1]
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
  """Measures what is not measured yet; returns the points that failed.

  Args:
    config: of the run whose step is measured.
    series: the points.
    output: folder of the results.
    command: that asked for them, as a person would repeat it.
    timeout: seconds after which a point is given up.
    console: for people.

  Raises:
    InputError: for a config that cannot be measured, counts that do not
      divide, or a folder with points that were measured otherwise.
    KeyboardInterrupt: when the processes have ended; what is done is kept.
  """
  check(config, series)
  now = {
    "config": workdir_lib.plain(dataclasses.asdict(config)),
    "steps": series.steps,
    "versions": {**worker.versions(_PACKAGES), "mn_jax": mn_jax.__version__},
  }
  listed = series.points()
  # Of all of them first: nothing is measured beside what cannot be compared.
  reasons = [points_lib.why_anew(output, point, now) for point in listed]
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
      found = take(
        point,
        now["config"],
        series.steps,
        compiled=output / "compiled",
        timeout=timeout,
      )
    except PointError as error:
      failed.append(point)
      found = {"failed": str(error)}
      console.line(f"{where}: failed: {error}")
    else:
      console.line(
        f"{where}: {found['images_per_sec']:,.0f} images/s, "
        f"{found['images_per_sec_per_device']:,.0f} per device"
      )
    record = {**found, **now, "command": command}
    points_lib.write(output, point, record)
  return failed


def show(console: Console, folder: pathlib.Path) -> None:
  """Prints the medians over repeats of what a folder has."""
  found = series_lib.summarize(series_lib.read(folder))
  console.table(
    "Medians over repeats",
    ("", "devices", "processes", "images/s", "efficiency", "step ms"),
    [
      (
        f"{row.scaling}, {row.input}",
        f"{row.devices}",
        f"{row.processes}",
        f"{row.images_per_sec:,.0f}",
        "-" if row.efficiency is None else f"{row.efficiency:.1%}",
        f"{1e3 * row.p50:,.1f}",
      )
      for row in found
      if row.repeats
    ],
  )
  console.line(f"Points: {folder / 'points'}")


def check(config: Config, series: Series) -> None:
  """Refuses what can be refused before a process is started.

  Raises:
    InputError: see `run`.
  """
  registry.get(config.data.name)
  network.check(config)
  for name, value in (
    ("train.replicas", config.train.replicas),
    ("train.steps_per_dispatch", config.train.steps_per_dispatch),
  ):
    if value != 1:
      raise InputError(
        f"{name}: got {value}; valid: 1, of which a scaling series consists"
      )
  series.check(accumulate=config.optim.accumulate)


def take(
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
    PointError: if one of them fails or takes too long.
  """
  coordinator = ""
  if point.processes > 1:
    coordinator = f"127.0.0.1:{cluster.free_port()}"
  jobs = [
    process.Job(point, dict(config), steps, number, coordinator)
    for number in range(point.processes)
  ]
  with tempfile.TemporaryDirectory(prefix="mn_jax_scaling_") as name:
    folder = pathlib.Path(name)
    with contextlib.ExitStack() as stack:
      children = [_start(job, folder, compiled, stack) for job in jobs]
      _wait(children, folder, timeout)
    result = points_lib.read(folder / "0.out")
  if result is None:
    raise PointError("the process ended without a result")
  return result


def _start(
  job: process.Job,
  folder: pathlib.Path,
  compiled: pathlib.Path,
  stack: contextlib.ExitStack,
) -> subprocess.Popen:
  """A process, which ends with the stack."""
  out = stack.enter_context((folder / f"{job.process}.out").open("wb"))
  errors = stack.enter_context((folder / f"{job.process}.err").open("wb"))
  paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
  child = subprocess.Popen(
    [
      sys.executable,
      "-m",
      "mn_jax.perf.scaling.measuring.process",
      process.argument(job),
    ],
    stdin=subprocess.DEVNULL,
    stdout=out,
    stderr=errors,
    env={
      **os.environ,
      "PYTHONPATH": os.pathsep.join(filter(None, paths)),
      "JAX_COMPILATION_CACHE_DIR": str(compiled.resolve()),
      # Of several processes one may find what the others still compile, and
      # gives them up when they are not there after 30 s.
      "JAX_ENABLE_COMPILATION_CACHE": str(job.point.processes == 1).lower(),
      "TF_CPP_MIN_LOG_LEVEL": "1",
    },
    # Ctrl-C ends it through the stack, its own children with it.
    start_new_session=True,
  )
  stack.callback(_end, child)
  return child


def _end(child: subprocess.Popen) -> None:
  with contextlib.suppress(ProcessLookupError):
    os.killpg(child.pid, signal.SIGKILL)
  child.wait()


def _wait(
  children: Sequence[subprocess.Popen], folder: pathlib.Path, timeout: float
) -> None:
  """Waits until all have ended well.

  Raises:
    PointError: as soon as one has not, or after the timeout.
  """
  deadline = time.monotonic() + timeout
  while True:
    codes = [child.poll() for child in children]
    for number, code in enumerate(codes):
      if code:
        raise PointError(_death(code, folder / f"{number}.err"))
    if None not in codes:
      return
    if time.monotonic() > deadline:
      raise PointError(
        f"no result after {timeout:g} s; --timeout=SECONDS waits longer"
      )
    time.sleep(_POLL_SECONDS)


def _death(code: int, errors: pathlib.Path) -> str:
  """Why a process died: what it said last, and how, where it says nothing."""
  text = errors.read_text(errors="replace")
  said = [line.strip() for line in text.splitlines() if line.strip()]
  how = f"signal {-code}" if code < 0 else f"exit code {code}"
  if code < 0 or not said:
    return f"the process died by {how}"
  return said[-1][:300]
