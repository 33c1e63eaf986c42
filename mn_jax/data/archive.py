"""Files of a data set by name, from a folder or straight from a zip archive.

Archives are not trusted: one whose names, links or sizes could do harm is
refused as a whole, by the name of the member, before anything is read.
"""

import os
import pathlib
import stat
import threading
import zipfile
from typing import Protocol

from mn_jax.errors import InputError

MAX_MEMBERS = 5_000_000
MAX_TOTAL_BYTES = 1 << 40
MAX_MEMBER_BYTES = 1 << 28
# Photographs hardly deflate at all; text can reach about 20. A member this
# dense is a bomb.
MAX_RATIO = 200
# The others are rare, and zipfile unpacks them without regard to a limit.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


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
  """Opens a folder or a zip archive.

  Raises:
    InputError: if there is neither at `path`, or the archive is refused.
  """
  if path.is_dir():
    return _Folder(path)
  if not path.exists():
    raise InputError(f"{path}: no such file or folder")
  return _Zip(path)


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


class _Zip:
  """The members of a zip archive, read without unpacking it."""

  def __init__(self, path: pathlib.Path):
    self._lock = threading.Lock()
    try:
      self._zip = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises whatever a broken file leads to
      raise InputError(
        f"{path}: not a readable zip archive ({error})"
      ) from None
    try:
      self._members = _checked_members(path, self._zip)
    except InputError:
      self._zip.close()
      raise

  def names(self) -> list[tuple[str, int]]:
    return [(name, info.file_size) for name, info in self._members.items()]

  def read(self, name: str) -> bytes:
    try:
      info = self._members[name]
      # One thread at a time: a ZipFile counts its open members without a lock.
      with self._lock, self._zip.open(info) as member:
        # A header may lie about the size: unpack no more than it says.
        data = member.read(info.file_size + 1)
    except Exception as error:  # as above
      raise OSError(f"{name}: cannot be unpacked ({error})") from None
    if len(data) != info.file_size:
      raise OSError(f"{name}: size differs from the archive's directory")
    return data

  def close(self) -> None:
    self._zip.close()


def _checked_members(
  path: pathlib.Path, archive: zipfile.ZipFile
) -> dict[str, zipfile.ZipInfo]:
  infos = archive.infolist()
  if len(infos) > MAX_MEMBERS:
    raise InputError(
      f"{path}: refused: {len(infos)} members, at most {MAX_MEMBERS}"
    )
  members: dict[str, zipfile.ZipInfo] = {}
  total = 0
  for info in infos:
    name = info.filename
    problem = _problem(info)
    if name in members:
      problem = "a duplicate name"
    total += info.file_size
    if total > MAX_TOTAL_BYTES:
      problem = f"more than {MAX_TOTAL_BYTES} bytes in all"
    if problem:
      raise InputError(f"{path}: refused: member {name!r}: {problem}")
    if not info.is_dir():
      members[name] = info
  return members


def _problem(info: zipfile.ZipInfo) -> str | None:
  """What is wrong with a member by the archive's directory, if anything."""
  name = info.orig_filename  # before zipfile adapts it to this system
  parts = name.split("/")
  if not name or "\0" in name or "\\" in name:
    return "an empty name, or one with a null byte or backslash"
  if name.startswith("/") or ":" in parts[0]:
    return "an absolute name"
  if ".." in parts:
    return "a name that leaves the archive"
  mode = info.external_attr >> 16
  if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
    return "a link or special file"
  if info.flag_bits & 0x1:
    return "encrypted"
  if info.compress_type not in _METHODS:
    return f"compression method {info.compress_type}; valid: stored, deflated"
  if info.file_size > MAX_MEMBER_BYTES:
    return f"{info.file_size} bytes, at most {MAX_MEMBER_BYTES}"
  if info.file_size > MAX_RATIO * max(info.compress_size, 1) + (1 << 16):
    return f"compressed more than {MAX_RATIO} : 1"
  return None
