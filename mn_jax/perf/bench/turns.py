"""Side processes that take their steps in turn.

Ratios of steps that alternate hold on a machine whose speed drifts; times that
were measured one after the other do not. Every side is a live process of its
own with a compiled step, and only one of them works at a time.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

import mn_jax
from mn_jax.errors import InputError
from mn_jax.perf.bench import worker

_ROOT = pathlib.Path(mn_jax.__file__).parents[1]
_JEMALLOC = "libjemalloc.so.2"
# Freed memory is kept, as `mn_jax.parallel.allocator` asks of glibc.
_MALLOC_CONF = "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"


class SideError(Exception):
  """A side process died, hung or said what nobody asked; one line."""


@dataclasses.dataclass(frozen=True)
class Command:
  """How a side is started.

  Attributes:
    name: for people, 'timm-eager'.
    python: its interpreter.
    module: 'mn_jax.perf.bench.ours'.
    packages: what it imports besides the standard library.
  """

  name: str
  python: str
  module: str
  packages: tuple[str, ...]


class Side:
  """A side process, from its start to `close`.

  Attributes:
    command: how it was started.
    ready: what it said of itself: 'compile_seconds', 'device', 'versions'.
  """

  def __init__(self, command: Command, case: worker.Case, *, timeout: float):
    """Starts it and waits until its step is compiled and warm.

    Args:
      command: what to start.
      case: what it measures.
      timeout: seconds after which it is given up, for this and every call.

    Raises:
      InputError: if the interpreter cannot run it, or it lacks the case.
      SideError: if it dies or hangs.
    """
    self.command = command
    self._timeout = timeout
    self._unread = b""
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix="mn_jax_bench_"))
    try:
      with (self._folder / "stderr").open("wb") as errors:
        self._process = self._start(case, errors)
    except BaseException:
      shutil.rmtree(self._folder)
      raise
    try:
      said = self._read()
      if "missing" in said:
        raise InputError(
          f"--peer={command.name} needs {' and '.join(command.packages)} in "
          f"{command.python}, which lacks {said['missing']}; valid: "
          "--peer_python=PATH of an interpreter that has them"
        )
      if "refused" in said:
        raise InputError(f"{command.name}: {said['refused']}")
      self.ready = said["ready"]
    except BaseException:
      self.close()
      raise

  def call(self, name: str, **arguments: Any) -> Any:
    """Asks for something and waits for it.

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
    """What it has used of the CPU so far; NaN where the system does not say."""
    stat = pathlib.Path(f"/proc/{self._process.pid}/stat")
    if not stat.exists():
      return math.nan
    # The name before ')' may contain spaces; utime and stime are 14th and 15th.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

  def close(self) -> None:
    """Ends it with all that it has started; a second time does nothing."""
    if self._process.stdin.closed:
      return  # its number may be another process's by now
    self._process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process.pid, signal.SIGKILL)
    self._process.wait()
    self._process.stdout.close()
    shutil.rmtree(self._folder, ignore_errors=True)

  def _start(self, case: worker.Case, errors: BinaryIO) -> subprocess.Popen:
    line = [self.command.python, "-m", self.command.module]
    try:
      return subprocess.Popen(
        [*line, json.dumps(dataclasses.asdict(case))],
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
        f"--peer_python: got {self.command.python!r}, which cannot be run "
        f"({error.strerror}); valid: the path of a Python interpreter"
      ) from None

  def _read(self) -> dict[str, Any]:
    deadline = time.monotonic() + self._timeout
    while b"\n" not in self._unread:
      left = max(deadline - time.monotonic(), 0)
      if not select.select([self._process.stdout], [], [], left)[0]:
        raise SideError(
          f"{self.command.name} gave no answer for {self._timeout:g} s "
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
        f"{self.command.name} answered {line[:80]!r}; valid: a line of JSON"
      ) from None

  def _death(self) -> str:
    code = self._process.wait()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{self.command.name} died ({how}): {self._last_line()}"

  def _last_line(self) -> str:
    text = (self._folder / "stderr").read_text(errors="replace")
    said = [line.strip() for line in text.splitlines() if line.strip()]
    return said[-1][:300] if said else "it said nothing"


@dataclasses.dataclass(frozen=True)
class Times:
  """What a side's turns took.

  Attributes:
    seconds: per step, one number a turn.
    idle_cpu_share: of the others' turns, the part in which this side used a
      core too, to be about 0; None where the system does not say or there
      are no others.
  """

  seconds: list[float]
  idle_cpu_share: float | None


def take(
  sides: Mapping[str, Side], *, turns: int, steps: int
) -> dict[str, Times]:
  """Lets every side take its steps in turn.

  Args:
    sides: by name; each turn begins with another of them.
    turns: how often each is asked.
    steps: that it takes each time, waiting for the last alone.
  """
  names = list(sides)
  seconds: dict[str, list[float]] = {name: [] for name in names}
  used = dict.fromkeys(names, 0.0)
  before = {name: sides[name].cpu_seconds() for name in names}
  for turn in range(turns):
    first = turn % len(names)
    for name in names[first:] + names[:first]:
      start = sides[name].cpu_seconds()
      seconds[name].append(sides[name].call("step", steps=steps))
      used[name] += sides[name].cpu_seconds() - start
  total = steps * sum(map(sum, seconds.values()))

  def share(name: str) -> float | None:
    idle = sides[name].cpu_seconds() - before[name] - used[name]
    others = total - steps * sum(seconds[name])
    return None if math.isnan(idle) or len(names) == 1 else idle / others

  return {name: Times(seconds[name], share(name)) for name in names}


def check_allocator(name: str) -> None:
  """Refuses jemalloc where it is not installed.

  Raises:
    InputError: if it is not.
  """
  if name == "jemalloc" and not _preloads():
    raise InputError(
      f"--allocator: got 'jemalloc', but the dynamic linker finds no "
      f"{_JEMALLOC}; valid: glibc-keep, glibc, or install jemalloc"
    )


def _preloads() -> bool:
  """Whether the dynamic linker can preload jemalloc."""
  done = subprocess.run(
    ["/bin/true"],
    env={"LD_PRELOAD": _JEMALLOC},
    capture_output=True,
    check=False,
  )
  return not done.stderr


def _environment(allocator: str, folder: pathlib.Path) -> dict[str, str]:
  """That of a side process; caches of compilers and settings are its own."""
  paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
  environment = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    "TRITON_CACHE_DIR": str(folder / "triton"),
    "KERAS_HOME": str(folder / "keras"),
  }
  if allocator == "jemalloc":
    environment["LD_PRELOAD"] = _JEMALLOC
    environment["MALLOC_CONF"] = _MALLOC_CONF
  return environment
