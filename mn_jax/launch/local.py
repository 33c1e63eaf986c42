"""Runs the processes of a run on this machine, and restarts them together.

Every process has a log in the run's folder, to which later attempts append; the
output of the first one is shown as well. SIGTERM is passed on to all of them.
When one fails, the others are terminated.
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
_MAX_PAUSE = 60.0  # seconds between a failure and the next attempt
_TAIL = 2000  # bytes of the log of a failed process that are shown

Commands = Sequence[Sequence[str]]


def process_commands(job: Job, port: int | str) -> list[list[str]]:
  """Returns the command of each process.

  Args:
    job: what they run, and how many.
    port: port on loopback at which the first process serves the others.
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
  make_commands: Callable[[int], Commands],
  environment: dict[str, str],
  *,
  pause: float = 1.0,
) -> int:
  """Runs processes until they are done; returns the trainer's exit code.

  After a failure all of them are started again, up to `job.restarts` times.
  After a stop that this process did not ask for they are started again any
  number of times.

  Args:
    job: the folder of logs, and the limits.
    make_commands: returns the commands of an attempt, for a free port.
    environment: environment variables of the processes.
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
  failures, port = 0, None
  with _stop_signals() as stop:
    while True:
      # The last attempt's port may be why it failed.
      port = cluster.free_port(other_than=port)
      commands = make_commands(port)
      code = _attempt(commands, folder, environment, stop, job.grace)
      if stop.is_set() or code in (_DONE, _WRONG_INPUT, _INTERRUPTED):
        return code
      failures += code != _STOPPED
      if failures > job.restarts:
        return code
      seconds = min(pause * 2 ** max(0, failures - 1), _MAX_PAUSE)
      print(
        f"launch: {job.name} ended with {code}; again in {seconds:.0f} s, "
        f"failures: {failures}, allowed: {job.restarts}",
        file=sys.stderr,
      )
      if stop.wait(seconds):
        return code


class _StopEvent(threading.Event):
  """Set once this process has received a signal to stop.

  Attributes:
    number: the last signal.
  """

  number = 0

  def handle(self, number: int, _) -> None:
    """Handles a signal."""
    self.number = number
    self.set()


@contextlib.contextmanager
def _stop_signals() -> Iterator[_StopEvent]:
  """Handles SIGTERM and Ctrl-C, which otherwise end this process."""
  stop = _StopEvent()
  previous = {
    number: signal.signal(number, stop.handle)
    for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    yield stop
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)


def _attempt(
  commands: Commands,
  folder: pathlib.Path,
  environment: dict[str, str],
  stop: _StopEvent,
  grace: float,
) -> int:
  """Runs commands side by side; returns one exit code for all of them."""
  logs = [folder / f"rank{index}.log" for index in range(len(commands))]
  sizes = [log.stat().st_size if log.exists() else 0 for log in logs]
  children, copies = [], []
  with contextlib.ExitStack() as files:
    for index, (command, log) in enumerate(zip(commands, logs, strict=True)):
      file = files.enter_context(log.open("ab", buffering=0))
      output = subprocess.PIPE if index == 0 else file
      children.append(
        subprocess.Popen(
          command,
          stdin=subprocess.DEVNULL,
          stdout=output,
          stderr=output,
          env=environment,
        )
      )
      if index == 0:
        copies = [
          _tee(children[0].stdout, file, sys.stdout),
          _tee(children[0].stderr, file, sys.stderr),
        ]
    failed = _wait(children, stop, grace)
    for copy in copies:
      # A child that the process has left behind may hold the pipe open.
      copy.join(timeout=5)
  if failed is not None and failed > 0:
    _print_tail(logs[failed], sizes[failed])
  codes = [child.returncode for child in children]
  codes = [128 - code if code < 0 else code for code in codes]
  for code in (_WRONG_INPUT, _INTERRUPTED):
    if code in codes:
      return code
  return codes[failed] if failed is not None else max(codes)


def _wait(
  children: Sequence[subprocess.Popen], stop: _StopEvent, grace: float
) -> int | None:
  """Waits for all children; returns the index of the first one that failed."""
  failed = deadline = None
  terminated = False
  while None in (codes := [child.poll() for child in children]):
    if failed is None:
      failed = _first_failure(codes)
    # Only once, so that saving is not disturbed. A terminal itself sends Ctrl-C
    # to all processes; a second one would end them without saving.
    if not terminated and (failed is not None or stop.number == signal.SIGTERM):
      terminated = True
      for child in children:
        child.terminate()
    if deadline is None and (terminated or stop.is_set() or any(codes)):
      deadline = time.monotonic() + grace
    if deadline is not None and time.monotonic() > deadline:
      for child in children:
        child.kill()
    time.sleep(0.05)
  return _first_failure(codes) if failed is None else failed


def _first_failure(codes: Sequence[int | None]) -> int | None:
  stops = (_INTERRUPTED, _STOPPED, -signal.SIGINT, -signal.SIGTERM)
  for index, code in enumerate(codes):
    if code not in (None, _DONE, *stops):
      return index
  return None


def _tee(pipe: BinaryIO, file: BinaryIO, screen: TextIO) -> threading.Thread:
  """Starts a thread that copies lines to a file and to the screen."""

  def copy() -> None:
    with pipe:
      for line in pipe:
        file.write(line)
        screen.write(line.decode(errors="replace"))
        screen.flush()

  thread = threading.Thread(target=copy, daemon=True)
  thread.start()
  return thread


def _print_tail(log: pathlib.Path, start: int) -> None:
  """Prints the end of what an attempt has written to a log.

  Args:
    log: the file.
    start: its size before the attempt, in bytes.
  """
  with log.open("rb") as file:
    file.seek(max(start, log.stat().st_size - _TAIL))
    text = file.read().decode(errors="replace").rstrip()
  print(f"launch: the end of {log}:\n{text}", file=sys.stderr)
