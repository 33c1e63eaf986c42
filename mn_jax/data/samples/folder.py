"""Writes the folder of a generated data set once, completely or not at all."""

import json
import pathlib
import shutil
from collections.abc import Callable, Mapping

import filelock

from mn_jax.data import atomic
from mn_jax.data.files.folder import SAMPLE


def write_once(
  root: pathlib.Path,
  write: Callable[[pathlib.Path], None],
  marker: Mapping[str, str | int],
) -> None:
  """Writes a generated data set, unless its folder has it already.

  The files and `SAMPLE.json` appear under `root` all at once or not at all.
  While a process writes, others wait.

  Args:
    root: folder that is missing, empty, or has this data set.
    write: writes the files into the folder that it gets.
    marker: content of `SAMPLE.json`: what the files depend on, and a version
      that is raised whenever the rest gives other files.

  Raises:
    FileExistsError: `root` holds anything else.
  """
  root = root.resolve()
  if _is_written(root, marker):
    return
  root.parent.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(root.with_name(f"{root.name}.lock")):
    if _is_written(root, marker):  # another process came first
      return
    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
      write(partial)
      atomic.write_json(partial / SAMPLE, marker)
      partial.rename(root)
    finally:
      shutil.rmtree(partial, ignore_errors=True)


def _is_written(root: pathlib.Path, marker: Mapping[str, str | int]) -> bool:
  """Whether `root` has this data set; raises if it has anything else."""
  if not root.exists() or (root.is_dir() and not any(root.iterdir())):
    return False
  try:
    present = json.loads((root / SAMPLE).read_bytes())
  except (OSError, ValueError):
    raise FileExistsError(f"{root} exists and is not a sample") from None
  if present != marker:
    raise FileExistsError(
      f"{root} is another sample, {present}, not {marker}: remove it, and the "
      "sample is written anew"
    )
  return True
