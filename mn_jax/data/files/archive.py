"""Files of a data set by name, from a folder or straight from an archive.

Archives are not trusted: one whose names, links or sizes could do harm is
refused as a whole, naming the member, before anything is read.
"""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Protocol

from mn_jax.data.files import stamps
from mn_jax.data.files.folder import Folder
from mn_jax.data.files.tar_files import TarFiles, is_tar
from mn_jax.data.files.zip_files import ZipFiles
from mn_jax.errors import InputError


class Files(Protocol):
  """Random access to the files of a data set; safe to use from threads.

  Attributes:
    unread: (name, what it is) of what lies among them and is not read; an empty
      folder's name ends with a slash.
    notes: what a reader should know of them, a line each.
  """

  unread: Sequence[tuple[str, str]]
  notes: Sequence[str]

  def names(self) -> list[str]:
    """Returns the name of every file, with slashes, in any order.

    Raises:
      InputError: if they cannot be listed.
    """

  def stamp(self, name: str) -> int:
    """Returns a number that changes whenever the content can have changed.

    Raises:
      OSError: if the file cannot be found.
    """

  def read(self, name: str, count: int | None = None) -> bytes:
    """Returns the bytes of one file, or the first `count`.

    Raises:
      OSError: if they cannot be had, or are too many. Its errno is set where
        the system is the cause and another try may succeed.
    """

  def close(self) -> None:
    """Closes what is open."""


def is_archive(head: bytes) -> bool:
  """Returns whether a file's first 512 bytes are those of a zip or tar."""
  return head.startswith(b"PK\3\4") or is_tar(head)


def open_files(path: pathlib.Path) -> Files:
  """Opens a folder, or a zip or tar archive, told by its content.

  Of compressed tars (gzip, bzip2, xz) only those with few files are opened.

  Raises:
    InputError: if `path` is neither, or the archive is refused.
  """
  if path.is_dir():
    return Folder(path)
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


def stamp(path: pathlib.Path) -> str:
  """Returns a digest of a folder or archive that changes when its files do.

  Of an archive it is one look at its metadata; of a folder one at each file.

  Raises:
    OSError, InputError: if it cannot be found or listed.
  """
  if not path.is_dir():
    return f"{stamps.of_status(path.stat()):x}"
  files = Folder(path)
  digest = hashlib.sha256()
  for name in sorted(files.names()):
    line = f"{name}\0{files.stamp(name)}\0"
    digest.update(line.encode(errors="surrogateescape"))
  return digest.hexdigest()
