"""Runs a page's measurements and keeps them in one JSON file.

Each is a process of `tools.bench`; what is measured already is not measured
again, so a list that was stopped goes on where it was.
"""

import json
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.perf.bench import cases, page

# For `only`: the page alone, from what there is.
NONE = "none"
# Flags of a measurement -> its report, or {'failed': reason}.
Reports = dict[str, Any]


def write(
  path: pathlib.Path,
  name: str,
  console: Console,
  *,
  only: str,
  rest: Sequence[str],
) -> None:
  """Measures what is missing and writes the page.

  Args:
    path: of the page; the reports are beside it, with '.json'.
    name: of its measurements in `cases.CASES`.
    console: for people.
    only: measure those whose flags contain it; NONE: none of them.
    rest: further flags of every measurement.

  Raises:
    InputError: if the JSON file cannot be used.
    KeyboardInterrupt: when what is done is written.
  """
  if path.suffix != ".md":
    raise InputError(f"--table: got {str(path)!r}; valid: a path that ends .md")
  listed = cases.CASES[name]
  kept = path.with_suffix(".json")
  reports = _read(kept)
  path.parent.mkdir(parents=True, exist_ok=True)
  for number, case in enumerate(listed, 1):
    key = shlex.join(case)
    done = key in reports and "failed" not in reports[key]
    if done or only == NONE or only not in key:
      continue
    console.line(f"[{number}/{len(listed)}] {key}")
    reports[key] = measure([*case, *rest])
    if "failed" in reports[key]:
      console.line(f"failed: {reports[key]['failed']}")
    atomic.write_json(kept, reports)
  atomic.write_json(kept, reports)
  command = f"python -m mn_jax.tools.bench --table={path} --cases={name}"
  atomic.write_text(path, page.render(path, command, listed, reports))
  console.line(f"Page: {path}")


def measure(arguments: list[str]) -> dict[str, Any]:
  """One report, by a process of its own, or {'failed': reason}."""
  process = subprocess.Popen(
    [sys.executable, "-m", "mn_jax.tools.bench", *arguments, "--json"],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    out, errors = process.communicate()
  except KeyboardInterrupt:
    process.send_signal(signal.SIGINT)
    process.wait()
    raise
  if process.returncode == 0:
    return json.loads(out.splitlines()[-1])
  said = [line for line in errors.splitlines() if line.strip()]
  return {"failed": said[-1].strip() if said else "it said nothing"}


def _read(path: pathlib.Path) -> Reports:
  if not path.exists():
    return {}
  try:
    reports = json.loads(path.read_text())
    if not isinstance(reports, dict):
      raise ValueError("not an object")
  except ValueError as error:
    raise InputError(
      f"--table: got {str(path)!r}, which cannot be read ({error}); valid: "
      "what this program wrote, or no file"
    ) from None
  return reports
