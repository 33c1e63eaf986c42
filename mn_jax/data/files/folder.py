"""The files of a folder, those of linked files and folders among them."""

import errno
import os
import pathlib
import stat

from mn_jax.data.files import members, stamps
from mn_jax.errors import InputError

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
# Tells that this project has written the folder that it is right in.
SAMPLE = "SAMPLE.json"
_LOOP = "links to a folder that they are in"


class Folder:
  """The files below a folder, as an `archive.Files`.

  Raises:
    InputError: if it cannot be listed.
  """

  def __init__(self, root: pathlib.Path):
    self._root = root
    self._stamps: dict[str, int] = {}
    self.unread: list[tuple[str, str]] = []
    outside: list[str] = []
    try:
      self._list(outside)
    except OSError as error:
      raise InputError(f"{root}: cannot be listed ({error})") from None
    self.notes = ()
    if outside:
      first = min(outside)
      self.notes = (
        f"links that lead out of the folder and are read: {len(outside)}, the "
        f"first {first!r}, to {os.path.realpath(root / first)!r}",
      )

  def names(self) -> list[str]:
    """Returns the name of every file."""
    return [*self._stamps]

  def stamp(self, name: str) -> int:
    """Returns a number that changes whenever the content can have changed."""
    return self._stamps[name]

  def read(self, name: str, count: int | None = None) -> bytes:
    """Returns the bytes of one file, or the first `count`.

    Raises:
      OSError: if they cannot be had, or are too many.
    """
    return read_file(self._root / name, count)

  def close(self) -> None:
    """Nothing is open."""

  def _list(self, outside: list[str]) -> None:
    """Lists all files; adds links that lead out of the folder to `outside`."""
    inside = os.path.realpath(self._root)
    # Folders to list, each with the device and inode of those that it is in.
    pending = [("", (_identity(self._root.stat()),))]
    while pending:
      folder, above = pending.pop()
      with os.scandir(self._root / folder) as entries:
        entries = list(entries)
      if folder and not entries:
        self.unread.append((folder, "empty folders"))
      for entry in entries:
        name = f"{folder}{entry.name}"
        if name == SAMPLE:
          continue
        status, problem = _examine(entry, above)
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        if problem:
          # What could be a folder of images is called one.
          is_folder &= problem != _LOOP
          is_folder |= status is None and "." not in entry.name
          self.unread.append((f"{name}/" if is_folder else name, problem))
          continue
        if is_folder:
          pending.append((f"{name}/", (*above, _identity(status))))
        else:
          self._stamps[name] = stamps.of_status(status)
        if entry.is_symlink():
          target = os.path.realpath(entry.path)
          if os.path.commonpath((inside, target)) != inside:
            outside.append(name)
      if len(self._stamps) + len(pending) > members.MAX_MEMBERS:
        raise InputError(
          f"{self._root}: more than {members.MAX_MEMBERS} files and folders"
        )


def _examine(
  entry: os.DirEntry, above: tuple[tuple[int, int], ...]
) -> tuple[os.stat_result | None, str]:
  """Returns what an entry is, and what kind of a thing if it is not read.

  Args:
    entry: of a folder.
    above: device and inode of all folders that it is in.
  """
  try:
    status = entry.stat()
  except OSError as error:
    if error.errno not in _MISSING:  # of the disk or network: it may pass
      raise
    return None, "broken links"
  is_folder = stat.S_ISDIR(status.st_mode)
  if members.has_control_character(entry.name):
    return status, "names with control characters"
  if is_folder and _identity(status) in above:
    return status, _LOOP
  if not is_folder and not stat.S_ISREG(status.st_mode):
    return status, "pipes, sockets or devices"
  return status, ""


def read_file(path: pathlib.Path, count: int | None = None) -> bytes:
  """Returns the bytes of a file, or the first `count`.

  Raises:
    OSError: if they cannot be had, it is no plain file, or too large.
  """
  # Without waiting, should it have become a pipe.
  with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
      raise OSError("no plain file")
    if count is not None:
      return file.read(count)
    members.check_size(status.st_size)
    data = file.read(status.st_size + 1)
    if len(data) > status.st_size:
      raise OSError("it grew while it was read")
    return data


def _identity(status: os.stat_result) -> tuple[int, int]:
  return status.st_dev, status.st_ino
