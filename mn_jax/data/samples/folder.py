"""Writes the folder of a generated data set once, completely or not at all."""

import contextlib
import json
import pathlib
import shutil
import uuid
from collections.abc import Callable, Mapping

_MARKER = "SAMPLE.json"
_STALE_SECONDS = 3600  # Work that was left for so long is abandoned.


def write_once(
  root: pathlib.Path,
  write: Callable[[pathlib.Path], None],
  *,
  name: str,
  version: int,
  **parameters: tuple[int, int, int],
) -> None:
  """Writes a generated data set, unless its folder has it already.

  The files and `SAMPLE.json`, which holds name, version and parameters, appear
  under `root` all at once or not at all; several processes may write at the
  same time.

  Args:
    root: folder that is missing, empty, or has this data set.
    write: writes the files into the folder that it gets.
    name: of the data set.
    version: raised whenever the same parameters give other files.
    **parameters: what the files depend on, each as value, lowest and highest
      valid value.

  Raises:
    FileExistsError: `root` holds anything else.
    ValueError: a parameter is out of range.
  """
  marker: dict[str, str | int] = {"sample": name, "version": version}
  for parameter, (value, low, high) in parameters.items():
    if not low <= value <= high:
      raise ValueError(f"{parameter} must be in [{low}, {high}], got {value}")
    marker[parameter] = value
  root = root.resolve()
  if _is_written(root, marker):
    return
  root.parent.mkdir(parents=True, exist_ok=True)
  # A sibling, because a rename is atomic only within one file system.
  prefix = f".{root.name}.tmp-"
  temp = root.parent / f"{prefix}{uuid.uuid4().hex}"
  try:
    temp.mkdir()
    _remove_stale(temp, prefix)
    write(temp)
    (temp / _MARKER).write_text(json.dumps(marker, indent=2) + "\n")
    temp.rename(root)
  except OSError:
    if not _is_written(root, marker):  # Else another process came first.
      raise
  finally:
    shutil.rmtree(temp, ignore_errors=True)


def _is_written(root: pathlib.Path, marker: Mapping[str, str | int]) -> bool:
  """Whether `root` has this data set; raises if it has anything else."""
  if not root.exists() or (root.is_dir() and not any(root.iterdir())):
    return False
  try:
    present = json.loads((root / _MARKER).read_text())
  except (OSError, ValueError):
    raise FileExistsError(f"{root} exists and is not a sample") from None
  if present != marker:
    raise FileExistsError(
      f"{root} is another sample, {present}, not {marker}: remove it, and the "
      "sample is written anew"
    )
  return True


def _remove_stale(temp: pathlib.Path, prefix: str) -> None:
  """Removes what dead processes left beside the new folder `temp`."""
  # Its time comes from the file server, whose clock need not be this machine's.
  now = temp.stat().st_mtime
  for path in temp.parent.iterdir():
    if path.name.startswith(prefix):
      # A live process may finish, and its folder vanish, at any time.
      with contextlib.suppress(FileNotFoundError):
        if now - path.stat().st_mtime > _STALE_SECONDS:
          shutil.rmtree(path, ignore_errors=True)
