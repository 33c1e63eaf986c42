"""Processes of one run on this machine, over loopback, restarted together.

Every process has a log in the run's folder, which later attempts add to; what
the first one prints is shown as well. SIGTERM reaches all of them. When one
fails, the others are ended.
"""

import contextlib
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TextIO

from mn_jax.errors import InputError
from mn_jax.launch.job import Job
from mn_jax.parallel import cluster

# Exit codes of the trainer.
_DONE, _WRONG_INPUT, _INTERRUPTED, _STOPPED = 0, 2, 130, 143
_LONGEST_PAUSE = 60.0  # seconds between a failure and the next attempt
_SHOWN = 2000  # bytes of the log of a process that failed

Commands = Sequence[Sequence[str]]


def commands(job: Job, port: int | str) -> list[list[str]]:
  """The command of each process.

  Args:
    job: what they run, and how many.
    port: on loopback, where the first one answers the others.
  """
  line = list(job.command())
  if job.processes == 1:
    return [line]
  return [
    [
      *line,
      f"--coordinator=127.0.0.1:{port}",
      f"--num-processes={job.processes}",
      f"--process-id={index}",
    ]
    for index in range(job.processes)
  ]


def run(
  job: Job,
  make: Callable[[int], Commands],
  environment: dict[str, str],
  *,
  pause: float = 1.0,
) -> int:
  """Runs the processes until they are done; returns the trainer's exit code.

  A failure is answered by another attempt, up to `job.restarts` times; so is a
  stop that this process was not asked for, any number of times.

  Args:
    job: the folder of logs, and the limits.
    make: the commands of an attempt, from a free port.
    environment: of the processes.
    pause: seconds before the second attempt; doubled with each failure.

  Raises:
    InputError: if the logs cannot be written.
  """
  folder = pathlib.Path(job.logs).expanduser()
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(
      f"--workdir: got {job.workdir!r}, which cannot be written "
      f"({error.strerror}); valid: a folder you may create or write"
    ) from None
  failures = 0
  with _asked_to_stop() as asked:
    while True:
      lines = make(cluster.free_port())
      code = _attempt(lines, folder, environment, asked, job.grace)
      if asked.is_set() or code in (_DONE, _WRONG_INPUT, _INTERRUPTED):
        return code
      failures += code != _STOPPED
      if failures > job.restarts:
        return code
      seconds = min(pause * 2 ** max(0, failures - 1), _LONGEST_PAUSE)
      print(
        f"launch: {job.name} ended with {code}; again in {seconds:.0f} s, "
        f"failures: {failures}, allowed: {job.restarts}",
        file=sys.stderr,
      )
      if asked.wait(seconds):
        return code


class _Asked(threading.Event):
  """Set once this process was asked to stop.

  Attributes:
    number: of the last signal that asked.
  """

  number = 0

  def handle(self, number: int, _) -> None:
    """Takes a signal."""
    self.number = number
    self.set()


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[_Asked]:
  """Takes SIGTERM and Ctrl-C, which end this process otherwise."""
  asked = _Asked()
  before = {
    number: signal.signal(number, asked.handle)
    for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    yield asked
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _attempt(
  lines: Commands,
  folder: pathlib.Path,
  environment: dict[str, str],
  asked: _Asked,
  grace: float,
) -> int:
  """Runs the commands side by side; the exit code of all of them together."""
  logs = [folder / f"rank{index}.log" for index in range(len(lines))]
  before = [log.stat().st_size if log.exists() else 0 for log in logs]
  children, shows = [], []
  with contextlib.ExitStack() as files:
    for index, (line, log) in enumerate(zip(lines, logs, strict=True)):
      file = files.enter_context(log.open("ab", buffering=0))
      output = subprocess.PIPE if index == 0 else file
      children.append(
        subprocess.Popen(
          line,
          stdin=subprocess.DEVNULL,
          stdout=output,
          stderr=output,
          env=environment,
        )
      )
      if index == 0:
        shows = [
          _show(children[0].stdout, file, sys.stdout),
          _show(children[0].stderr, file, sys.stderr),
        ]
    first = _wait(children, asked, grace)
    for show in shows:
      # What the process has left running may hold its end of the pipe.
      show.join(timeout=5)
  if first is not None and first > 0:
    _show_end(logs[first], before[first])
  codes = [child.returncode for child in children]
  codes = [128 - code if code < 0 else code for code in codes]
  for code in (_WRONG_INPUT, _INTERRUPTED):
    if code in codes:
      return code
  return codes[first] if first is not None else max(codes)


def _wait(
  children: Sequence[subprocess.Popen], asked: _Asked, grace: float
) -> int | None:
  """Waits for all; the index of the first one that failed."""
  first = deadline = None
  told = False
  while None in (codes := [child.poll() for child in children]):
    if first is None:
      first = next((i for i, c in enumerate(codes) if _is_failure(c)), None)
    # Once, because what saves is not to be disturbed. A terminal sends Ctrl-C
    # to all processes itself; a second one would end them without saving.
    if not told and (first is not None or asked.number == signal.SIGTERM):
      told = True
      for child in children:
        child.terminate()
    if deadline is None and (told or asked.is_set() or any(codes)):
      deadline = time.monotonic() + grace
    if deadline is not None and time.monotonic() > deadline:
      for child in children:
        child.kill()
    time.sleep(0.05)
  if first is None:
    first = next((i for i, c in enumerate(codes) if _is_failure(c)), None)
  return first


def _is_failure(code: int | None) -> bool:
  return code not in (
    None,
    _DONE,
    _INTERRUPTED,
    _STOPPED,
    -signal.SIGINT,
    -signal.SIGTERM,
  )


def _show(pipe: BinaryIO, file: BinaryIO, screen: TextIO) -> threading.Thread:
  """Copies lines to a file and to the screen, in a thread of its own."""

  def copy() -> None:
    with pipe:
      for line in pipe:
        file.write(line)
        screen.write(line.decode(errors="replace"))
        screen.flush()

  thread = threading.Thread(target=copy, daemon=True)
  thread.start()
  return thread


def _show_end(log: pathlib.Path, start: int) -> None:
  """Shows what an attempt has left at the end of a log.

  Args:
    log: the file.
    start: its size before the attempt, in bytes.
  """
  with log.open("rb") as file:
    file.seek(max(start, log.stat().st_size - _SHOWN))
    text = file.read().decode(errors="replace").rstrip()
  print(f"launch: the end of {log}:\n{text}", file=sys.stderr)
