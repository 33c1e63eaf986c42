"""How long an exported file takes for a batch, beside the network itself.

All are timed in one process on one core, turn by turn, so that ratios hold on a
machine whose speed drifts. What counts is the CPU time of that process: other
work on the core adds nothing to it. The network is the one of `deploy.folded`,
in float32, compiled by XLA.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.traverse_util
import numpy as np

from mn_jax.deploy import folded
from mn_jax.deploy.trained import Trained
from mn_jax.errors import RunError
from mn_jax.export import files as files_lib
from mn_jax.export import judgement
from mn_jax.export.files import File
from mn_jax.export.options import Options
from mn_jax.export.session import Session
from mn_jax.models import registry
from mn_jax.parallel import compile_cache
from mn_jax.perf import machine, processes, ratio

BATCHES = (1, 8)
# The share of the time that the process must have had the core; with less,
# others were at work, whose data were in the caches.
QUIET = 0.9
_OURS = "network"
_TURN = 0.05  # seconds
_WARM_UP = 3
_SPEC, _VARIABLES = "spec.json", "variables.npz"


@dataclasses.dataclass(frozen=True)
class Ratio:
  """A file's time relative to another's: below 1 it is faster.

  Attributes:
    value: of the medians.
    low, high: 95 % interval, from resampled turns.
  """

  value: float
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class Latency:
  """Times of a file for batches of one size, on one core.

  Attributes:
    milliseconds: CPU time of a call, the median.
    of_network: the same of the network itself.
    to_network, to_float32: its time relative to those of the network, and of
      the float32 file of the same format; None where that was not timed.
    turns: how often each was timed.
    computing: share of the time in which this process had the core; below
      `QUIET` the machine was busy, and caches were shared.
  """

  milliseconds: float
  of_network: float
  to_network: Ratio
  to_float32: Ratio | None
  turns: int
  computing: float


def measure(
  trained: Trained,
  files: Sequence[File],
  *,
  turns: int,
  batches: Sequence[int] = BATCHES,
  timeout: float = 1800,
) -> dict[str, dict[int, Latency]]:
  """Times files of one network and one form, such as LiteRT.

  Args:
    trained: the network.
    files: of different precisions; one in float32 is what others are compared
      with. Files of a fixed batch are timed for that alone.
    turns: how often each is timed.
    batches: numbers of images of a call.
    timeout: seconds after which the process is given up.

  Returns:
    Name of the file -> number of images -> its times.

  Raises:
    RunError: if the process that measures fails.
  """
  with tempfile.TemporaryDirectory(prefix="mn_jax_latency") as made:
    folder = pathlib.Path(made)
    _write(folder, trained, files, turns, batches)
    try:
      done = subprocess.run(
        [sys.executable, "-m", "mn_jax.perf.latency", str(folder)],
        env=processes.environment(JAX_PLATFORMS="cpu"),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
      )
    except subprocess.TimeoutExpired:
      raise RunError(
        f"latency: no answer for {timeout:g} s; fewer turns take less"
      ) from None
    if done.returncode:
      lines = done.stderr.strip().splitlines() or [
        processes.describe_exit(done.returncode)
      ]
      raise RunError(f"latency: its process failed ({lines[-1][:300]})")
    measured = json.loads((folder / "times.json").read_bytes())
  return _latencies(files, measured)


def as_json(found: Mapping[int, Latency]) -> dict[str, Any]:
  """Returns times by batch as values that JSON can hold, with the machine."""
  return {
    "cpu": machine.cpu(),
    "threads": 1,
    "batches": {str(n): dataclasses.asdict(x) for n, x in found.items()},
  }


def _latencies(
  files: Sequence[File], measured: Mapping[str, Any]
) -> dict[str, dict[int, Latency]]:
  float32 = next(
    (x.name for x in files if x.options.precision == "float32"), None
  )
  found: dict[str, dict[int, Latency]] = {x.name: {} for x in files}
  for size, times in measured.items():
    seconds = times["seconds"]
    for file in files:
      if file.name not in seconds:
        continue
      found[file.name][int(size)] = Latency(
        milliseconds=1e3 * float(np.median(seconds[file.name])),
        of_network=1e3 * float(np.median(seconds[_OURS])),
        to_network=_ratio(seconds, file.name, _OURS),
        to_float32=(
          None
          if float32 not in seconds or float32 == file.name
          else _ratio(seconds, file.name, float32)
        ),
        turns=len(seconds[_OURS]),
        computing=times["computing"],
      )
  return found


def _ratio(
  seconds: Mapping[str, Sequence[float]], name: str, reference: str
) -> Ratio:
  value, ends = ratio.paired_ratio(seconds[reference], seconds[name])
  return Ratio(value, *ends)


def _write(
  folder: pathlib.Path,
  trained: Trained,
  files: Sequence[File],
  turns: int,
  batches: Sequence[int],
) -> None:
  """Writes what the measuring process reads."""
  flat = flax.traverse_util.flatten_dict(trained.variables, sep="/")
  np.savez(folder / _VARIABLES, **flat)
  for i, file in enumerate(files):
    (folder / str(i)).write_bytes(file.data)
  spec = {
    "network": dataclasses.asdict(trained.network),
    "image_size": trained.image_size,
    "resolution": trained.resolution,
    "crop": trained.crop,
    "turns": turns,
    "batches": list(batches),
    "files": [
      {"name": x.name, "form": x.form, "options": dataclasses.asdict(x.options)}
      for x in files
    ],
  }
  (folder / _SPEC).write_text(json.dumps(spec), encoding="utf-8")


def main(folder: pathlib.Path) -> None:
  """Times what a folder holds, in this process; writes `times.json` there."""
  _use_one_core()
  compile_cache.keep()
  spec = json.loads((folder / _SPEC).read_bytes())
  with np.load(folder / _VARIABLES) as arrays:
    # A network without BatchNorm has no statistics to flatten.
    variables = {"batch_stats": {}} | flax.traverse_util.unflatten_dict(
      {name: arrays[name] for name in arrays.files}, sep="/"
    )
  network = folded.Folded(
    registry.from_dict(spec["network"]),
    variables,
    resolution=spec["resolution"],
    precision="float32",
  )
  opened = _open(folder, spec)
  fixed = {x.batch for _, _, x in opened if x.batch is not None}
  side = spec["image_size"]
  draw = np.random.default_rng(0)
  times = {}
  for size in sorted(fixed) or spec["batches"]:
    images = draw.integers(0, 256, (size, side, side, 3), np.uint8)
    calls = {_OURS: _call_network(network, images)}
    for name, prepare, running in opened:
      if running.batch in (None, size):
        calls[name] = _call_file(running, prepare(images))
    times[size] = _time(calls, spec["turns"])
  (folder / "times.json").write_text(json.dumps(times), encoding="utf-8")


def _use_one_core() -> None:
  """Before JAX starts its threads, whose number depends on it."""
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _open(folder: pathlib.Path, spec: Mapping[str, Any]) -> list[tuple]:
  """Opens the files: their names, what prepares images for them, sessions."""
  rules = {"size": spec["image_size"], "crop": spec["crop"]}
  resolution = spec["resolution"] or spec["image_size"]
  opened = []
  for i, described in enumerate(spec["files"]):
    options = dict(described["options"])
    if options["size"] is not None:
      options["size"] = tuple(options["size"])
    chosen = Options(**options)

    def prepare(images: np.ndarray, chosen: Options = chosen) -> np.ndarray:
      if chosen.input == "normalised":
        shape = (len(images), resolution, resolution, 3)
        return np.random.default_rng(0).uniform(-1, 1, shape).astype("f")
      return judgement.as_input(images, chosen, **rules)

    data = (folder / str(i)).read_bytes()
    running = files_lib.module(described["form"]).open_bytes(data, threads=1)
    opened.append((described["name"], prepare, running))
  return opened


def _call_network(
  network: folded.Folded, images: np.ndarray
) -> Callable[[], Any]:
  return lambda: np.asarray(network.program(network.stored, images).logits)


def _call_file(running: Session, images: np.ndarray) -> Callable[[], Any]:
  return lambda: running.run(images)


def _time(calls: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, Any]:
  """Times calls by turns; returns seconds of each, and the share of the core.

  Each turn begins with another of them.
  """
  names, counts = list(calls), {}
  for name, call in calls.items():
    for _ in range(_WARM_UP):
      call()
    start = time.process_time()
    call()
    took = time.process_time() - start
    counts[name] = max(1, round(_TURN / max(took, 1e-6)))
  seconds: dict[str, list[float]] = {name: [] for name in names}
  began, computing = time.perf_counter(), time.process_time()
  for turn in range(turns):
    first = turn % len(names)
    for name in names[first:] + names[:first]:
      start = time.process_time()
      for _ in range(counts[name]):
        calls[name]()
      seconds[name].append((time.process_time() - start) / counts[name])
  wall = time.perf_counter() - began
  return {
    "seconds": seconds,
    "computing": (time.process_time() - computing) / wall,
  }


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
