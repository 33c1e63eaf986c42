"""Files of a data set by name, from a folder or straight from an archive.

Archives are not trusted: one whose names, links or sizes could do harm is
refused as a whole, naming the member, before anything is read.
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
    """Returns (name with slashes, size in bytes) of every file, in any order.

    Raises:
      InputError: if they cannot be listed.
    """

  def read(self, name: str) -> bytes:
    """Returns the bytes of one file.

    Raises:
      OSError: if they cannot be had.
    """

  def close(self) -> None:
    """Closes what is open."""


def open_files(path: pathlib.Path) -> Files:
  """Opens a folder, or a zip or tar archive, told by its content.

  Of compressed tars (gzip, bzip2, xz) only those with few files are opened.

  Raises:
    InputError: if `path` is neither, or the archive is refused.
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
      return self._list()
    except OSError as error:
      raise InputError(f"{self._root}: cannot be listed ({error})") from None

  def read(self, name: str) -> bytes:
    return (self._root / name).read_bytes()

  def close(self) -> None:
    pass

  def _list(self) -> list[tuple[str, int]]:
    files = []
    pending = [""]
    while pending:
      prefix = pending.pop()
      with os.scandir(self._root / prefix) as entries:
        for entry in entries:
          name = f"{prefix}{entry.name}"
          if entry.is_dir(follow_symlinks=False):
            pending.append(f"{name}/")
          elif entry.is_file(follow_symlinks=False):
            files.append((name, entry.stat(follow_symlinks=False).st_size))
    return files
