"""Files of a data set by name, from a folder or straight from an archive.

Archives are not trusted: one whose names, links or sizes could do harm is
refused as a whole, by the name of the member, before anything is read.
"""

import os
import pathlib
from typing import Protocol

from mn_jax.data.files.tar_files import TarFiles, is_tar
from mn_jax.data.files.zip_files import ZipFiles
from mn_jax.errors import InputError


class Files(Protocol):
  """Random access to the files of a data set; safe to use from threads."""

  def names(self) -> list[tuple[str, int]]:
    """(name with forward slashes, size in bytes) of every file, in any order.

    Raises:
      InputError: if they cannot be listed.
    """

  def read(self, name: str) -> bytes:
    """The bytes of one file.

    Raises:
      OSError: if they cannot be had.
    """

  def close(self) -> None:
    """Releases what is open."""


def open_files(path: pathlib.Path) -> Files:
  """Opens a folder, or a zip or tar archive, whatever its name ends in.

  Of compressed tars (gzip, bzip2, xz) only those with few files are opened.

  Raises:
    InputError: if there is none at `path`, or the archive is refused.
  """
  if path.is_dir():
    return _Folder(path)
  if not path.exists():
    raise InputError(f"{path}: no such file or folder")
  if not path.is_file():
    raise InputError(f"{path}: neither a file nor a folder")
  try:
    with path.open("rb") as file:
      head = file.read(512)
    return TarFiles(path) if is_tar(head) else ZipFiles(path)
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error})") from None


class _Folder:
  """The files below a folder. Links are not followed and not listed."""

  def __init__(self, root: pathlib.Path):
    self._root = root

  def names(self) -> list[tuple[str, int]]:
    try:
      return self._scan()
    except OSError as error:
      raise InputError(f"{self._root}: cannot be listed ({error})") from None

  def read(self, name: str) -> bytes:
    return (self._root / name).read_bytes()

  def close(self) -> None:
    pass

  def _scan(self) -> list[tuple[str, int]]:
    found = []
    pending = [""]
    while pending:
      prefix = pending.pop()
      with os.scandir(self._root / prefix) as entries:
        for entry in entries:
          name = f"{prefix}{entry.name}"
          if entry.is_dir(follow_symlinks=False):
            pending.append(f"{name}/")
          elif entry.is_file(follow_symlinks=False):
            found.append((name, entry.stat(follow_symlinks=False).st_size))
    return found
