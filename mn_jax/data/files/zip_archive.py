"""Zip archives, checked as a whole by their directory, read without unpacking.

The directory is parsed by zipfile; members are read here, because zipfile
allows one thread at a time and takes longer than decoding a small image.
"""

import pathlib
import stat
import struct
import threading
import zipfile
import zlib

from mn_jax.data.files.members import MAX_RATIO, Members, too_dense
from mn_jax.errors import InputError

# The others are rare, and unpack without regard to a limit.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = struct.Struct("<4s2xHH16xHH")  # APPNOTE.TXT 4.3.7
_ENCRYPTED = 0x2041  # the member, strongly, and the directory
_PATCH = 0x20
_UTF8 = 0x800


class ZipFiles:
  """The files of a zip archive; see `archive.Files`.

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
      self._file = path.open("rb")
    except OSError as error:
      self._zip.close()
      raise InputError(f"{path}: cannot be read ({error})") from None
    except InputError:
      self._zip.close()
      raise
    self._zip.close()

  def names(self) -> list[tuple[str, int]]:
    """(name, size in bytes) of every file."""
    return [(name, info.file_size) for name, info in self._members.items()]

  def read(self, name: str) -> bytes:
    """The bytes of one file.

    Raises:
      OSError: if there is none, or it is not what the directory says.
    """
    if name not in self._members:
      raise OSError(f"{name}: not in the archive")
    info = self._members[name]
    try:
      data = self._packed(info)
      if info.compress_type == zipfile.ZIP_DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        # The directory may lie about the size: unpack no more than it says.
        data = unpacker.decompress(data, info.file_size + 1)
        if not unpacker.eof:
          raise ValueError("its compressed data do not end")
      if len(data) != info.file_size:
        raise ValueError("its size differs from the archive's directory")
      if zlib.crc32(data) != info.CRC:
        raise ValueError("its checksum differs from the archive's directory")
    except (ValueError, OSError, struct.error, zlib.error) as error:
      raise OSError(f"{name}: cannot be unpacked ({error})") from None
    return data

  def close(self) -> None:
    """Closes the archive."""
    self._file.close()

  def _packed(self, info: zipfile.ZipInfo) -> bytes:
    encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
    name = info.orig_filename.encode(encoding)
    with self._lock:
      self._file.seek(info.header_offset)
      magic, flags, method, name_length, extra_length = _LOCAL_HEADER.unpack(
        self._file.read(_LOCAL_HEADER.size)
      )
      local_name = self._file.read(name_length)
      self._file.seek(extra_length, 1)
      data = self._file.read(info.compress_size)
    if (magic, local_name, method) != (b"PK\3\4", name, info.compress_type):
      raise ValueError("its header differs from the archive's directory")
    if flags & _ENCRYPTED:
      raise ValueError("encrypted")
    if len(data) != info.compress_size:
      raise ValueError("the archive ends within it")
    return data


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
    stop = info.header_offset + _LOCAL_HEADER.size + info.compress_size
    if not 0 <= info.header_offset <= stop <= end:
      raise members.refuse(info.orig_filename, f"overlaps {before}")
    end, before = info.header_offset, "another member"
  return files


def _problem(info: zipfile.ZipInfo) -> str | None:
  """What is wrong with a member, besides its name and size."""
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
