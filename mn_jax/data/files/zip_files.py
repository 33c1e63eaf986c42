"""Zip archives, checked by their directory and read without unpacking."""

import pathlib
import stat
import threading
import zipfile

from mn_jax.data.files import stamps
from mn_jax.data.files.members import (
  MAX_RATIO,
  Members,
  check_size,
  too_dense,
)
from mn_jax.errors import InputError

# The others are rare, and unpack without regard to a limit.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER_BYTES = 30  # APPNOTE.TXT 4.3.7
_ENCRYPTED = 0x2041  # the member, strongly, and the directory
_PATCH = 0x20
_UTF8 = 0x800


class ZipFiles:
  """The files of a zip archive, as an `archive.Files`.

  Raises:
    InputError: if the archive is refused.
  """

  unread = ()

  def __init__(self, path: pathlib.Path):
    self._lock = threading.Lock()
    try:
      self._zip = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises whatever a broken file leads to
      raise InputError(
        f"{path}: not a readable zip or tar archive ({error})"
      ) from None
    try:
      self._members = _checked_members(path, self._zip)
    except InputError:
      self._zip.close()
      raise
    self.notes = ()
    unsaid = [n for n, info in self._members.items() if _is_of_dos(n, info)]
    if unsaid:
      self.notes = (
        "names in an unknown encoding, which are read as those of DOS: "
        f"{len(unsaid)}, the first {unsaid[0]!r}",
      )

  def names(self) -> list[str]:
    """Returns the name of every file."""
    return [*self._members]

  def stamp(self, name: str) -> int:
    """Returns a number of a file's size and checksum, CRC-32."""
    info = self._members[name]
    return stamps.of_numbers(info.file_size, info.CRC)

  def read(self, name: str, count: int | None = None) -> bytes:
    """Returns the bytes of one file, or the first `count`.

    Raises:
      OSError: if there is none, it is not what the directory says, too large,
        or compressed so much that it is a bomb.
    """
    if name not in self._members:
      raise OSError(f"{name}: not in the archive")
    info = self._members[name]
    size = info.file_size
    if count is None:
      check_size(size)
      if too_dense(size, info.compress_size):
        raise OSError(f"compressed more than {MAX_RATIO} : 1")
    else:
      size = min(size, count)
    try:
      with self._lock:  # zipfile counts what is open, and not safely
        member = self._zip.open(info)
      try:
        # The directory may lie about the size: unpack no more than it says.
        data = member.read(size)
      finally:
        with self._lock:
          member.close()
      if len(data) != size:
        raise ValueError("its size differs from the archive's directory")
    except Exception as error:  # zipfile raises whatever a broken file leads to
      if isinstance(error, OSError) and error.errno is not None:
        raise
      reason = str(error) or type(error).__name__
      raise OSError(f"{name}: cannot be unpacked ({reason})") from None
    return data

  def close(self) -> None:
    """Closes the archive."""
    self._zip.close()


def _checked_members(
  path: pathlib.Path, archive: zipfile.ZipFile
) -> dict[str, zipfile.ZipInfo]:
  members = Members(path)
  files = {}
  for info in archive.infolist():
    name = _name(info)
    if problem := _problem(info):
      raise members.refuse(name, problem)
    clean = members.add(name, info.file_size, is_folder=name.endswith("/"))
    if not name.endswith("/"):
      files[clean] = info
  # Members that share bytes make a bomb whose every member looks harmless.
  end, before = archive.start_dir, "the directory"
  for info in sorted(
    archive.infolist(), key=lambda info: info.header_offset, reverse=True
  ):
    stop = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size
    if not 0 <= info.header_offset <= stop <= end:
      raise members.refuse(_name(info), f"overlaps {before}")
    end, before = info.header_offset, "another member"
  return files


def _name(info: zipfile.ZipInfo) -> str:
  """Returns the name of a member before zipfile adapts it to this system.

  Some programs write UTF-8 without saying so; zipfile then takes it for the
  letters of DOS.
  """
  if info.flag_bits & _UTF8:
    return info.orig_filename
  try:
    return info.orig_filename.encode("cp437").decode()
  except UnicodeDecodeError:
    return info.orig_filename


def _is_of_dos(name: str, info: zipfile.ZipInfo) -> bool:
  """Whether a member's name is no ASCII, and not said or found to be UTF-8."""
  unsaid = not (info.flag_bits & _UTF8 or name.isascii())
  return unsaid and _name(info) == info.orig_filename


def _problem(info: zipfile.ZipInfo) -> str | None:
  """Returns what is wrong with a member besides its name and size."""
  mode = info.external_attr >> 16
  if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
    return "a link or special file"
  if info.flag_bits & _ENCRYPTED:
    return "encrypted"
  if info.flag_bits & _PATCH:
    return "a patch of another file"
  if info.compress_type not in _METHODS:
    return f"compression method {info.compress_type}; valid: stored, deflated"
  if (
    info.compress_type == zipfile.ZIP_STORED
    and info.compress_size != info.file_size
  ):
    return "stored, but of two sizes"
  return None
