"""Describes the machine that a measurement was made on."""

import datetime
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

import mn_jax


def cores() -> int:
  """CPU cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def describe() -> dict[str, Any]:
  """The machine, the day and the command, as JSON."""
  now = datetime.datetime.now(datetime.UTC)
  return {
    "date": now.strftime("%Y-%m-%d %H:%M UTC"),
    "command": shlex.join(
      ["python", "-m", "mn_jax.tools.bench", *sys.argv[1:]]
    ),
    "cpu": cpu(),
    "cores": cores(),
    "system": platform.platform(terse=True),
    "mn_jax": mn_jax.__version__,
    "revision": revision(),
  }


def revision() -> str | None:
  """The commit that this package is of; None outside a checkout of its own."""
  root = pathlib.Path(mn_jax.__file__).parents[1]
  if not (root / ".git").exists():
    return None
  try:
    done = subprocess.run(
      ["git", "-C", str(root), "rev-parse", "--short", "HEAD"],
      capture_output=True,
      text=True,
      check=True,
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()


def cpu() -> str:
  """The processor's name."""
  info = pathlib.Path("/proc/cpuinfo")
  if info.exists():
    for line in info.read_text(encoding="utf-8").splitlines():
      if line.startswith("model name"):
        return line.partition(":")[2].strip()
  return platform.processor() or platform.machine()
