"""Processes that measure: their environment, their end and their errors."""

import contextlib
import os
import pathlib
import signal
import subprocess

import mn_jax

_ROOT = pathlib.Path(mn_jax.__file__).parents[1]


def environment(**variables: str) -> dict[str, str]:
  """This process's environment, variables, and this package on PYTHONPATH."""
  paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
  return {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    "TF_CPP_MIN_LOG_LEVEL": "1",
    **variables,
  }


def kill(process: subprocess.Popen) -> None:
  """Kills a process that leads its session, and all that it has started."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
  process.wait()


def describe_exit(code: int) -> str:
  """'exit code 3' or 'signal 9'."""
  return f"signal {-code}" if code < 0 else f"exit code {code}"


def last_line(path: pathlib.Path) -> str:
  """The last line of a file that is not blank, or ''; 300 characters of it."""
  lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
  return next((s for line in reversed(lines) if (s := line.strip())), "")[:300]
