"""Interleaved timing of steps in several live processes.

Ratios of interleaved steps hold on a machine whose speed drifts; times that
were measured one after the other do not. Every library is a live process of its
own with a compiled step, and only one of them works at a time.
"""

import dataclasses
import json
import math
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

from mn_jax.errors import InputError
from mn_jax.perf import processes
from mn_jax.perf.bench.side_process import Case

_JEMALLOC = "libjemalloc.so.2"
# Freed memory is kept, as `mn_jax.parallel.allocator` asks of glibc.
_MALLOC_CONF = "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"


class SideError(Exception):
  """A side process died, hung or gave a wrong answer; one line."""


@dataclasses.dataclass(frozen=True)
class Library:
  """A library whose steps are timed.

  Attributes:
    module: the program of its side process, 'mn_jax.perf.bench.own_step'.
    packages: what its interpreter must have besides the standard library.
    backend: see `Case`.
    layouts: whether it has two memory formats of images to choose from.
  """

  module: str
  packages: tuple[str, ...]
  backend: str = ""
  layouts: bool = False


class SideProcess:
  """A side process, from its start to `close`.

  Attributes:
    ready: its 'compile_seconds', 'device' and 'versions'.
  """

  def __init__(
    self, name: str, python: str, library: Library, case: Case, timeout: float
  ):
    """Starts it and waits until its step is compiled and warm.

    Args:
      name: for people, 'timm-eager'.
      python: its interpreter.
      library: what to start.
      case: what it measures.
      timeout: seconds after which it is given up, for this and every call.

    Raises:
      InputError: if the interpreter cannot run it, or it lacks the case.
      SideError: if it dies or hangs.
    """
    self._name = name
    self._timeout = timeout
    self._unread = b""
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix="mn_jax_bench_"))
    try:
      with (self._folder / "stderr").open("wb") as errors:
        self._process = self._start(python, library.module, case, errors)
    except BaseException:
      shutil.rmtree(self._folder)
      raise
    try:
      answer = self._read()
      if "missing" in answer:
        raise InputError(
          f"--peer={name} needs {' and '.join(library.packages)} in "
          f"{python}, which lacks {answer['missing']}; valid: "
          "--peer-python=PATH of an interpreter that has them"
        )
      if "refused" in answer:
        raise InputError(f"{name}: {answer['refused']}")
      self.ready = answer["ready"]
    except BaseException:
      self.close()
      raise

  def call(self, name: str, **arguments: Any) -> Any:
    """Makes one of its program's calls and waits for the result.

    Raises:
      SideError: if it dies or hangs.
    """
    request = json.dumps({"call": name, "arguments": arguments})
    try:
      self._process.stdin.write(request.encode() + b"\n")
    except BrokenPipeError:
      raise SideError(self._death()) from None
    return self._read()["result"]

  def cpu_seconds(self) -> float:
    """CPU time that it has used so far; NaN where the system does not say."""
    stat = pathlib.Path(f"/proc/{self._process.pid}/stat")
    if not stat.exists():
      return math.nan
    # The name before ')' may contain spaces; utime and stime are 14th and 15th.
    fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

  def close(self) -> None:
    """Ends it with all that it has started; a second time does nothing."""
    if self._process.stdin.closed:
      return  # its number may be another process's by now
    self._process.stdin.close()
    processes.kill(self._process)
    self._process.stdout.close()
    shutil.rmtree(self._folder, ignore_errors=True)

  def _start(
    self, python: str, module: str, case: Case, errors: BinaryIO
  ) -> subprocess.Popen:
    try:
      return subprocess.Popen(
        [python, "-m", module, json.dumps(dataclasses.asdict(case))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        env=_environment(case.allocator, self._folder),
        # Ctrl-C ends it through `close`, its own children with it.
        start_new_session=True,
      )
    except OSError as error:
      raise InputError(
        f"--peer-python: got {python!r}, which cannot be run "
        f"({error.strerror}); valid: the path of a Python interpreter"
      ) from None

  def _read(self) -> dict[str, Any]:
    deadline = time.monotonic() + self._timeout
    while b"\n" not in self._unread:
      left = max(deadline - time.monotonic(), 0)
      if not select.select([self._process.stdout], [], [], left)[0]:
        raise SideError(
          f"{self._name} gave no answer for {self._timeout:g} s "
          f"({self._last_line()}); --timeout=SECONDS waits longer"
        )
      part = self._process.stdout.read(65536)
      if not part:
        raise SideError(self._death())
      self._unread += part
    line, _, self._unread = self._unread.partition(b"\n")
    try:
      return json.loads(line)
    except ValueError:
      raise SideError(
        f"{self._name} answered {line[:80]!r}; valid: a line of JSON"
      ) from None

  def _death(self) -> str:
    end = processes.describe_exit(self._process.wait())
    return f"{self._name} died ({end}): {self._last_line()}"

  def _last_line(self) -> str:
    return processes.last_line(self._folder / "stderr") or "it printed nothing"


def measure(
  sides: Mapping[str, SideProcess], *, repeats: int, steps: int
) -> tuple[dict[str, list[float]], dict[str, float | None]]:
  """Times the steps of side processes, interleaved.

  Args:
    sides: by name; each repeat starts with another of them.
    repeats: how often each is timed.
    steps: that it takes each time, waiting for the last alone.

  Returns:
    Seconds per step, one number per repeat; and the share of a core that each
    process used while the others worked, about 0 if all is well, None where the
    system does not say or there are no others.
  """
  names = list(sides)
  seconds: dict[str, list[float]] = {name: [] for name in names}
  used = dict.fromkeys(names, 0.0)
  before = {name: sides[name].cpu_seconds() for name in names}
  for repeat in range(repeats):
    first = repeat % len(names)
    for name in names[first:] + names[:first]:
      start = sides[name].cpu_seconds()
      seconds[name].append(sides[name].call("step", steps=steps))
      used[name] += sides[name].cpu_seconds() - start
  total = steps * sum(map(sum, seconds.values()))

  def idle_share(name: str) -> float | None:
    idle = sides[name].cpu_seconds() - before[name] - used[name]
    others = total - steps * sum(seconds[name])
    return None if math.isnan(idle) or len(names) == 1 else idle / others

  return seconds, {name: idle_share(name) for name in names}


def check_allocator(name: str) -> None:
  """Refuses jemalloc where it is not installed.

  Raises:
    InputError: if the dynamic linker cannot preload it.
  """
  if name != "jemalloc":
    return
  done = subprocess.run(
    ["/bin/true"],
    env={"LD_PRELOAD": _JEMALLOC},
    capture_output=True,
    check=False,
  )
  if done.stderr:
    raise InputError(
      f"--allocator: got 'jemalloc', but the dynamic linker finds no "
      f"{_JEMALLOC}; valid: glibc-keep, glibc, or install jemalloc"
    )


def _environment(allocator: str, folder: pathlib.Path) -> dict[str, str]:
  """That of a side process, with caches and settings of its own."""
  environment = processes.environment(
    JAX_ENABLE_COMPILATION_CACHE="false",
    XLA_PYTHON_CLIENT_PREALLOCATE="false",
    TORCHINDUCTOR_CACHE_DIR=str(folder / "inductor"),
    TRITON_CACHE_DIR=str(folder / "triton"),
    KERAS_HOME=str(folder / "keras"),
  )
  if allocator == "jemalloc":
    environment |= {"LD_PRELOAD": _JEMALLOC, "MALLOC_CONF": _MALLOC_CONF}
  return environment
