"""`report.json`, which tells what exported files have lost, by their names."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from mn_jax.errors import InputError
from mn_jax.run import records

NAME = "report.json"
VERSION = 1
_FIELDS = {"version": int, "files": dict}


def read(folder: pathlib.Path) -> dict[str, Any]:
  """Reads the entries of files that are there, and are those that were judged.

  Args:
    folder: of the files.

  Returns:
    Entries by name of the file; none where there is no report, or a damaged
    one.
  """
  try:
    found = records.read_object(folder / NAME, _FIELDS)
  except InputError:
    return {}
  if found["version"] != VERSION:
    return {}
  return {
    name: entry
    for name, entry in found["files"].items()
    if _sha256(folder / name) == entry["sha256"]
  }


def write(folder: pathlib.Path, entries: Mapping[str, Any]) -> pathlib.Path:
  """Adds entries to those of files that are still there; returns the path.

  Args:
    folder: of the files.
    entries: by name of the file.
  """
  files = read(folder) | dict(entries)
  path = folder / NAME
  records.write_object(
    path, {"version": VERSION, "files": dict(sorted(files.items()))}
  )
  return path


def _sha256(path: pathlib.Path) -> str | None:
  try:
    return hashlib.sha256(path.read_bytes()).hexdigest()
  except OSError:
    return None
