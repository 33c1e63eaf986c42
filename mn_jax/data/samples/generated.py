"""Data sets that are drawn instead of downloaded: written once, as a whole."""

import contextlib
import json
import pathlib
import shutil
import uuid
from collections.abc import Callable

_MARKER = "SAMPLE.json"
_STALE_SECONDS = 3600  # Work that was left for so long is abandoned.


def write_once(
  root: pathlib.Path,
  marker: dict[str, object],
  write: Callable[[pathlib.Path], None],
) -> None:
  """Fills a folder, unless it is already what it should be.

  The files and `SAMPLE.json`, which holds the marker, appear under `root` all
  at once or not at all; several processes may write at the same time.

  Args:
    root: Folder that is missing, empty, or written with this marker.
    marker: What the files depend on, of values that JSON keeps.
    write: Writes the files into the folder that it is given.

  Raises:
    FileExistsError: `root` holds anything but a sample of this marker.
  """
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


def _is_written(root: pathlib.Path, marker: dict[str, object]) -> bool:
  """Whether `root` is this sample; raises if it is anything but free."""
  if not root.exists() or (root.is_dir() and not any(root.iterdir())):
    return False
  try:
    found = json.loads((root / _MARKER).read_text())
  except (OSError, ValueError):
    raise FileExistsError(f"{root} exists and is not a sample") from None
  if found != marker:
    raise FileExistsError(f"{root} is another sample: {found}, not {marker}")
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
