"""Tar archives, checked as a whole in one pass and read without unpacking.

A plain tar is read where its members lie. A compressed one has no random
access: its files are held in memory if they are few, else it is refused.
"""

import bz2
import gzip
import lzma
import os
import pathlib
import tarfile
import threading
from collections.abc import Callable
from typing import IO

from mn_jax.data.files import stamps
from mn_jax.data.files.members import (
  MAX_RATIO,
  Members,
  check_size,
  too_dense,
)
from mn_jax.errors import InputError

MAX_HELD_FILES = 64
MAX_HELD_BYTES = 1 << 29
# Names are the only long records that matter; they are at most 1024 bytes.
_MAX_RECORD_BYTES = 1 << 16
# Parsing them is slow: of all members together there are fewer.
_RECORD_BYTES_PER_MEMBER = 1 << 11
_FREE_RECORD_BYTES = 1 << 20
_RECORDS = (
  tarfile.XHDTYPE,
  tarfile.XGLTYPE,
  tarfile.GNUTYPE_LONGNAME,
  tarfile.GNUTYPE_LONGLINK,
)
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class TarFiles:
  """The files of a tar archive, as an `archive.Files`.

  Raises:
    InputError: if the archive is refused.
  """

  unread = notes = ()

  def __init__(self, path: pathlib.Path):
    self._lock = threading.Lock()
    self._file = path.open("rb")
    self._status = os.fstat(self._file.fileno())
    try:
      self._places, self._held = _scan(path, self._file)
    except InputError:
      self._file.close()
      raise

  def names(self) -> list[str]:
    """Returns the name of every file."""
    return [*self._places]

  def stamp(self, name: str) -> int:
    """Returns a number that changes with the archive or the file's place.

    There are no checksums in a tar.
    """
    return stamps.of_status(self._status, *self._places[name])

  def read(self, name: str, count: int | None = None) -> bytes:
    """Returns the bytes of one file, or the first `count`.

    Raises:
      OSError: if there is none, it is too large, or the archive has changed.
    """
    if name not in self._places:
      raise OSError(f"{name}: not in the archive")
    if name in self._held:
      return self._held[name][:count]
    offset, size = self._places[name]
    if count is None:
      check_size(size)
    else:
      size = min(size, count)
    with self._lock:
      self._file.seek(offset)
      data = self._file.read(size)
    if len(data) != size:
      raise OSError(f"{name}: the archive ends within it")
    return data

  def close(self) -> None:
    """Closes the archive and forgets what was held in memory."""
    self._file.close()
    self._held = {}


def is_tar(head: bytes) -> bool:
  """Returns whether the first 512 bytes are those of a tar, packed or not."""
  try:
    return bool(_opener(head) or tarfile.TarInfo.frombuf(head, "utf-8", ""))
  except tarfile.HeaderError:
    return False


def _opener(head: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
  """Returns what opens a compressed file by its first bytes, or None."""
  for magic, opener in _OPENERS.items():
    if head.startswith(magic):
      return opener
  return None


class _RefusedError(Exception):
  """What is wrong with an archive."""


class _Header(tarfile.TarInfo):
  """A header; damage is an error, which tarfile takes for the end."""

  @classmethod
  def frombuf(cls, buf, encoding, errors):
    header = super().frombuf(buf, encoding, errors)
    if header.size < 0:
      raise _RefusedError("a negative size")
    if header.type == tarfile.GNUTYPE_SPARSE:
      raise _RefusedError(f"{header.name!r} is a sparse file")
    if header.type in _RECORDS and header.size > _MAX_RECORD_BYTES:
      raise _RefusedError(
        f"{header.name!r} is {header.size} bytes of extended header"
      )
    return header

  @classmethod
  def fromtarfile(cls, tarfile_):
    try:
      return super().fromtarfile(tarfile_)
    except tarfile.EOFHeaderError:
      raise
    except tarfile.HeaderError as error:
      raise tarfile.ReadError(str(error)) from None


class _Unpacked:
  """The content of a compressed file, read forward; it cannot explode."""

  def __init__(self, file: IO[bytes], opened: IO[bytes]):
    self._packed, self._unpacked = file, opened

  def read(self, count: int) -> bytes:
    data = self._unpacked.read(count)
    if too_dense(self._unpacked.tell(), self._packed.tell()):
      raise _RefusedError(f"compressed more than {MAX_RATIO} : 1")
    return data


def _scan(
  path: pathlib.Path, file: IO[bytes]
) -> tuple[dict[str, tuple[int, int]], dict[str, bytes]]:
  """Returns (offset, size) of every file, and what is held in memory."""
  places: dict[str, tuple[int, int]] = {}
  held: dict[str, bytes] = {}
  held_bytes = record_bytes = count = 0
  members = Members(path)
  name = "(the first)"
  try:
    opener = _opener(file.read(8))
    file.seek(0)
    stream = _Unpacked(file, opener(file)) if opener else file
    tar = tarfile.open(  # noqa: SIM115 - it holds nothing but `file`
      fileobj=stream,
      mode="r|" if opener else "r:",
      tarinfo=_Header,
      encoding="utf-8",
      errors="surrogateescape",
    )
    while info := tar.next():
      tar.members.clear()  # of millions, they would fill the memory
      name = info.name
      count += 1
      record_bytes += info.offset_data - info.offset - tarfile.BLOCKSIZE
      if record_bytes > _FREE_RECORD_BYTES + count * _RECORD_BYTES_PER_MEMBER:
        raise members.refuse(name, f"{record_bytes} bytes of extended headers")
      if problem := _problem(info, tar):
        raise members.refuse(name, problem)
      is_folder = info.isdir() or name.endswith("/")
      clean = members.add(name, info.size, is_folder=is_folder)
      if is_folder:
        continue
      places[clean] = (info.offset_data, info.size)
      if opener:
        held_bytes += info.size
        if len(places) > MAX_HELD_FILES or held_bytes > MAX_HELD_BYTES:
          raise InputError(
            f"{path}: refused: member {name!r}: a compressed tar of more than "
            f"{MAX_HELD_FILES} files or {MAX_HELD_BYTES >> 20} MiB has no "
            "random access; valid: unpack it, or make it a zip"
          )
        held[clean] = tar.extractfile(info).read()
    while rest := tar.fileobj.read(1 << 16):
      if rest.strip(b"\0"):
        raise _RefusedError("more data after the end of the archive")
  except InputError:
    raise
  except Exception as error:  # tarfile raises whatever a broken file leads to
    problem = str(error)
    if not isinstance(error, _RefusedError):
      problem = f"damaged or truncated ({error})"
    raise InputError(
      f"{path}: refused: at or after member {name[:80]!r}: {problem}"
    ) from None
  return places, held


def _problem(info: tarfile.TarInfo, tar: tarfile.TarFile) -> str | None:
  """Returns what is wrong with a member besides its name and size."""
  if tar.pax_headers.keys() & {"path", "size"}:
    return "a name or size for all"
  if any(key.startswith("GNU.sparse") for key in info.pax_headers):
    return "a sparse file"
  if info.type not in tarfile.SUPPORTED_TYPES:
    return f"of unknown type {info.type!r}"
  if not (info.isreg() or info.isdir()):
    return "a link or special file"
  if info.size < 0:
    return "a negative size"
  return None
