"""`report.json`, which tells what exported files have lost, by their names.

All entries are of one network, judged on the same images.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from mn_jax.errors import InputError
from mn_jax.run import records

NAME = "report.json"
VERSION = 2
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

  Those of other weights, or that were judged on other images, are left out:
  their numbers would be compared with another network's.

  Args:
    folder: of the files.
    entries: by name of the file, of one network and the same images.
  """
  files = {
    name: entry
    for name, entry in read(folder).items()
    if all(_is_like(entry, x) for x in entries.values())
  } | dict(entries)
  path = folder / NAME
  records.write_object(
    path, {"version": VERSION, "files": dict(sorted(files.items()))}
  )
  return path


def _is_like(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
  """Whether two entries are of the same weights, and of the same images."""
  common = one["parts"].keys() & other["parts"].keys()
  return one["weights"] == other["weights"] and all(
    one["parts"][x]["images_sha256"] == other["parts"][x]["images_sha256"]
    for x in common
  )


def _sha256(path: pathlib.Path) -> str | None:
  try:
    return hashlib.sha256(path.read_bytes()).hexdigest()
  except OSError:
    return None
