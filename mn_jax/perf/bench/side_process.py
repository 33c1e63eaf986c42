"""The program of a side process: compiles a step and takes it when asked.

It may run in a peer's interpreter, so it needs the standard library alone, of
Python 3.10 or later. Both processes write lines of JSON. This one first writes
{"ready": {...}}, or {"missing": PACKAGE} or {"refused": REASON}, and then
answers each {"call": NAME, "arguments": {...}} with {"result": ...}. It ends
with its input.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from mn_jax.parallel import allocator

ALLOCATORS = ("glibc-keep", "glibc", "jemalloc")
_WARM_UP = 3


@dataclasses.dataclass(frozen=True)
class Case:
  """What is measured, the same for all libraries.

  Attributes:
    model: a name in `models.registry`.
    resolution: input height and width in pixels.
    batch: images per step.
    mode: 'train' or 'infer'.
    dtype: what products are computed in, 'float32' or 'bfloat16'.
    classes: number of logits.
    threads: of the CPU.
    allocator: one of ALLOCATORS; jemalloc is preloaded by the parent.
    backend: of a program that has several: 'compile', 'eager', 'jax', 'torch'.
    channels_last: the memory format of images where a library has two.
  """

  model: str
  resolution: int
  batch: int
  mode: str
  dtype: str
  classes: int
  threads: int
  allocator: str
  backend: str = ""
  channels_last: bool = True


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled step, as `build` makes it for a case.

  Attributes:
    run: takes this number of steps, one after the other, and waits for the
      last.
    device: where it runs, in words.
    packages: distributions whose versions are reported.
    device_peak: the most memory in bytes that was used on the device; None
      where that is the host's.
    more: other calls by name; results are JSON.
  """

  run: Callable[[int], None]
  device: str
  packages: tuple[str, ...]
  device_peak: Callable[[], int | None]
  more: dict[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)


class RefusedError(Exception):
  """A case that a program does not have; the message is for the user."""


def check_network(case: Case, library: str, networks: Iterable[str]) -> None:
  """Raises a RefusedError if a library lacks the network of a case."""
  if case.model not in networks:
    raise RefusedError(
      f"{library} has no {case.model!r}; valid: {', '.join(networks)}"
    )


def serve(build: Callable[[Case], Program]) -> None:
  """Runs the side process: the case is the program's one argument."""
  # What libraries print must not get between the lines.
  out = os.fdopen(os.dup(1), "w", buffering=1)
  os.dup2(2, 1)
  # Ctrl-C is answered by the process that started this one.
  signal.signal(signal.SIGINT, signal.SIG_IGN)

  def write(message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")

  case = Case(**json.loads(sys.argv[1]))
  if case.allocator == "glibc-keep":
    allocator.keep_freed_memory()
  try:
    program = build(case)
    first = _seconds(program, 1)
  except ModuleNotFoundError as error:
    write({"missing": error.name})
    return
  except RefusedError as error:
    write({"refused": str(error)})
    return
  warm = [_seconds(program, 1) for _ in range(_WARM_UP)]
  calls = {
    "step": lambda steps: _seconds(program, steps) / steps,
    "memory": lambda: {
      "peak_memory_bytes": peak_memory(),
      "peak_device_memory_bytes": program.device_peak(),
    },
    **program.more,
  }
  ready = {
    "compile_seconds": max(first - min(warm), 0.0),
    "device": program.device,
    "versions": versions(program.packages),
  }
  write({"ready": ready})
  for line in sys.stdin:
    request = json.loads(line)
    write({"result": calls[request["call"]](**request["arguments"])})


def peak_memory() -> int:
  """The most memory in bytes that this process has had resident.

  Linux hands the peak of `getrusage` on from the process that started this
  one; its own is in /proc.
  """
  status = pathlib.Path("/proc/self/status")
  if status.exists():
    for line in status.read_text(encoding="utf-8").splitlines():
      if line.startswith("VmHWM:"):
        return int(line.split()[1]) * 1024
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == "darwin" else peak * 1024


def peak_device_memory(device: Any) -> int | None:
  """The peak of memory in bytes on a JAX device; None on a host's CPU."""
  stats = device.memory_stats()
  return stats["peak_bytes_in_use"] if stats else None


def versions(packages: tuple[str, ...]) -> dict[str, str]:
  """Versions of Python and of the packages that are installed."""
  installed = {"python": platform.python_version()}
  for name in packages:
    try:
      installed[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return installed


def _seconds(program: Program, steps: int) -> float:
  start = time.perf_counter()
  program.run(steps)
  return time.perf_counter() - start
