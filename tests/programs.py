"""Programs of the package in processes of their own, most of them started fast.

A new process needs seconds to import JAX. Those of `run` are copies of one that
has imported it; they differ from a user's in two things: their end leaves out
Python's, and small compiled programs are kept too. Where the end or the imports
are tested, or a signal, start one with subprocess.
"""

import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from mn_jax.commandline import signals

ROOT = pathlib.Path(__file__).parents[1]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
  [
    "clu.metric_writers",
    "mn_jax.run.training",
    "mn_jax.config.checks",
    "tests.programs",
  ]
)


def run(
  module: str,
  *arguments: str,
  timeout: float = 300,
  folder: pathlib.Path = ROOT,
) -> subprocess.CompletedProcess:
  """`python -m MODULE ARGUMENTS` in a folder; what it printed and its code.

  Args:
    module: 'mn_jax.main'.
    arguments: of the program.
    timeout: seconds after which it is killed.
    folder: in which it runs.

  Raises:
    TimeoutError: if it was killed.
  """
  with tempfile.TemporaryDirectory() as outputs:
    files = [pathlib.Path(outputs) / name for name in ("out", "err")]
    child = start(module, *arguments, files=files, folder=folder)
    child.join(timeout)
    if child.exitcode is None:
      child.kill()
      raise TimeoutError([module, *arguments])
    out, err = (file.read_text() for file in files)
  return subprocess.CompletedProcess(
    [module, *arguments], child.exitcode, out, err
  )


def start(
  module: str,
  *arguments: str,
  files: Sequence[pathlib.Path],
  folder: pathlib.Path = ROOT,
) -> multiprocessing.Process:
  """Starts what `run` runs; stdout and stderr go to two files."""
  line = [module, *map(str, arguments)]
  child = _FORKS.Process(
    target=_program,
    args=(line, dict(os.environ), list(map(str, files)), str(folder)),
  )
  child.start()
  return child


def interrupt(
  module: str,
  *arguments: str,
  number: int = signal.SIGINT,
  timeout: float = 120,
) -> str:
  """Ctrl-C to `python -m MODULE ARGUMENTS` once it has started a process.

  It must end like a stopped program, and its process with it.

  Args:
    module: 'mn_jax.tools.bench'.
    arguments: of the program.
    number: SIGTERM for that in place of Ctrl-C.
    timeout: seconds until its first process, and from the signal to its end.

  Returns:
    What it printed to stderr.
  """
  # A shell starts what is in its background deaf to it, and that is inherited.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    program = subprocess.Popen(
      [sys.executable, "-m", module, *map(str, arguments)],
      cwd=ROOT,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
  finally:
    signal.signal(signal.SIGINT, before)
  listed = pathlib.Path(f"/proc/{program.pid}/task/{program.pid}/children")
  children, deadline = [], time.monotonic() + timeout
  while not children and time.monotonic() < deadline:
    children = listed.read_text().split()
    time.sleep(0.05)
  assert children
  program.send_signal(number)
  _, errors = program.communicate(timeout=timeout)
  assert program.returncode == (130 if number == signal.SIGINT else 143)
  assert not pathlib.Path(f"/proc/{children[0]}").exists()
  return errors


def _program(
  line: list[str], environment: dict[str, str], files: list[str], folder: str
) -> None:
  """Runs a program in this process, which is a copy."""
  from mn_jax.parallel import compile_cache

  signals.take_over()  # as importing the package does under `python -m`
  compile_cache._MIN_COMPILE_SECONDS = 0.05
  for number, file in zip((1, 2), files, strict=True):
    os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
  os.environ.clear()
  os.environ.update(environment)
  os.chdir(folder)
  sys.argv = line
  runpy.run_module(line[0], run_name="__main__", alter_sys=True)
