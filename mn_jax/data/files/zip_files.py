"""Zip archives, checked by their directory and read without unpacking."""

import pathlib
import stat
import threading
import zipfile

from mn_jax.data.files.members import MAX_RATIO, Members, too_dense
from mn_jax.errors import InputError

# The others are rare, and unpack without regard to a limit.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER_BYTES = 30  # APPNOTE.TXT 4.3.7
_ENCRYPTED = 0x2041  # the member, strongly, and the directory
_PATCH = 0x20


class ZipFiles:
  """The files of a zip archive, as an `archive.Files`.

  Raises:
    InputError: if the archive is refused.
  """

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

  def names(self) -> list[tuple[str, int]]:
    """Returns (name, size in bytes) of every file."""
    return [(name, info.file_size) for name, info in self._members.items()]

  def read(self, name: str) -> bytes:
    """Returns the bytes of one file.

    Raises:
      OSError: if there is none, or it is not what the directory says.
    """
    if name not in self._members:
      raise OSError(f"{name}: not in the archive")
    info = self._members[name]
    try:
      with self._lock:  # zipfile counts what is open, and not safely
        member = self._zip.open(info)
      try:
        # The directory may lie about the size: unpack no more than it says.
        data = member.read(info.file_size)
      finally:
        with self._lock:
          member.close()
      if len(data) != info.file_size:
        raise ValueError("its size differs from the archive's directory")
    except Exception as error:  # zipfile raises whatever a broken file leads to
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
    name = info.orig_filename  # before zipfile adapts it to this system
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
      raise members.refuse(info.orig_filename, f"overlaps {before}")
    end, before = info.header_offset, "another member"
  return files


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
  if too_dense(info.file_size, info.compress_size):
    return f"compressed more than {MAX_RATIO} : 1"
  if (
    info.compress_type == zipfile.ZIP_STORED
    and info.compress_size != info.file_size
  ):
    return "stored, but of two sizes"
  return None
