"""Tar archives, checked as a whole in one pass before anything is given out.

A plain tar is read where its members lie. A compressed one has no random
access: of few files it is kept in memory, with more it is refused.

The headers are parsed here: tarfile takes a damaged header for the end, and
reads names of any length (POSIX.1-2017, pax; GNU tar manual, "Basic Tar
Format").
"""

import pathlib
import re
import threading
from typing import IO

from mn_jax.data.files.members import Members
from mn_jax.data.files.unpacked import Unpacked, is_compressed
from mn_jax.errors import InputError

MAX_KEPT_FILES = 64
MAX_KEPT_BYTES = 1 << 29
_BLOCK = 512
_ZEROS = bytes(_BLOCK)
# Names are the only long records that matter; they are at most 1024 bytes.
_MAX_RECORDS = 1 << 16
_REFUSED = {
  b"1": "a link or special file",
  b"2": "a link or special file",
  b"3": "a link or special file",
  b"4": "a link or special file",
  b"6": "a link or special file",
  b"S": "a sparse file",
}


class TarFiles:
  """The files of a tar archive; see `archive.Files`.

  Raises:
    InputError: if the archive is refused.
  """

  def __init__(self, path: pathlib.Path):
    self._lock = threading.Lock()
    self._file = path.open("rb")
    try:
      self._places, self._kept = _scan(path, self._file)
    except OSError as error:
      self._file.close()
      raise InputError(f"{path}: cannot be read ({error})") from None
    except InputError:
      self._file.close()
      raise

  def names(self) -> list[tuple[str, int]]:
    """(name, size in bytes) of every file."""
    return [(name, size) for name, (_, size) in self._places.items()]

  def read(self, name: str) -> bytes:
    """The bytes of one file.

    Raises:
      OSError: if there is none, or the archive has changed.
    """
    if name not in self._places:
      raise OSError(f"{name}: not in the archive")
    if name in self._kept:
      return self._kept[name]
    offset, size = self._places[name]
    with self._lock:
      self._file.seek(offset)
      data = self._file.read(size)
    if len(data) != size:
      raise OSError(f"{name}: the archive ends within it")
    return data

  def close(self) -> None:
    """Closes the archive and forgets what was kept."""
    self._file.close()
    self._kept = {}


def is_tar(head: bytes) -> bool:
  """Whether a file that begins like this is a tar, compressed or not."""
  return is_compressed(head) or _has_checksum(head[:_BLOCK])


class _Plain:
  """An uncompressed tar, read forward; what is not wanted is skipped."""

  def __init__(self, file: IO[bytes]):
    self._file = file
    self._size = file.seek(0, 2)
    file.seek(0)

  def read(self, count: int) -> bytes:
    return self._file.read(count)

  def content(self, size: int) -> None:
    if self._file.tell() + size > self._size:
      raise ValueError("truncated within it")
    self._file.seek(size, 1)


class _Compressed:
  """A compressed tar, read forward; contents are returned to be kept."""

  def __init__(self, file: IO[bytes]):
    file.seek(0)
    self.read = Unpacked(file).read

  def content(self, size: int) -> bytes:
    data = self.read(size)
    if len(data) != size:
      raise ValueError("truncated within it")
    return data


def _scan(
  path: pathlib.Path, file: IO[bytes]
) -> tuple[dict[str, tuple[int, int]], dict[str, bytes]]:
  """(offset, size) of every file, and the content of those that are kept."""
  compressed = is_compressed(file.read(_BLOCK))
  stream = _Compressed(file) if compressed else _Plain(file)
  members = Members(path)
  places: dict[str, tuple[int, int]] = {}
  kept: dict[str, bytes] = {}
  kept_bytes = 0
  name = "(the first)"
  try:
    while entry := _next_entry(stream):
      name, size, is_folder = entry
      clean = members.add(name, size, is_folder=is_folder)
      if is_folder:
        continue
      kept_bytes += size
      if compressed and (
        members.files > MAX_KEPT_FILES or kept_bytes > MAX_KEPT_BYTES
      ):
        raise InputError(
          f"{path}: refused: member {name!r}: a compressed tar of more than "
          f"{MAX_KEPT_FILES} files or {MAX_KEPT_BYTES >> 20} MiB has no random "
          "access; valid: unpack it, or make it a zip"
        )
      places[clean] = (0 if compressed else file.tell(), size)
      content = stream.content(size)
      if compressed:
        kept[clean] = content
      stream.content(-size % _BLOCK)
    while rest := stream.read(1 << 16):
      if rest.strip(b"\0"):
        raise ValueError("more data after the end of the archive")
  except _MemberError as error:
    raise members.refuse(error.name, error.problem) from None
  except ValueError as error:
    raise InputError(
      f"{path}: refused: at or after member {name[:80]!r}: {error}"
    ) from None
  return places, kept


class _MemberError(Exception):
  def __init__(self, name: str, problem: str):
    self.name = name
    self.problem = problem


def _next_entry(
  stream: _Plain | _Compressed,
) -> tuple[str, int, bool] | None:
  """(name, size, whether it is a folder), or None at the end.

  Raises:
    ValueError: for damage.
    _MemberError: for a member of another kind.
  """
  records: dict[str, str] = {}
  while True:
    block = stream.read(_BLOCK)
    if len(block) != _BLOCK:
      raise ValueError("truncated: it has no end")
    if block == _ZEROS:
      if records:
        raise ValueError("the end where a member should follow")
      return None
    if not _has_checksum(block):
      raise ValueError("damaged: a header's checksum is wrong")
    kind, size, name = block[156:157], _number(block[124:136]), _name(block)
    if kind not in (b"x", b"g", b"L", b"K"):
      break
    if size > _MAX_RECORDS:
      raise _MemberError(name, f"{size} bytes of extended header")
    body = stream.read(size + -size % _BLOCK)[:size]
    if len(body) != size:
      raise ValueError("truncated within an extended header")
    if kind == b"L":
      records["path"] = _text(body.rstrip(b"\0"))
    elif kind != b"K":
      more = _pax_records(body)
      if kind == b"g" and more.keys() & {"path", "size"}:
        raise _MemberError(more.get("path", name), "a name or size for all")
      records |= more if kind == b"x" else {}
  name = records.get("path", name)
  if "size" in records:
    if not re.fullmatch("[0-9]{1,20}", records["size"]):
      raise ValueError("damaged: a size is no number")
    size = int(records["size"])
  if problem := _REFUSED.get(kind):
    raise _MemberError(name, problem)
  if any(key.startswith("GNU.sparse") for key in records):
    raise _MemberError(name, "a sparse file")
  if kind not in (b"0", b"\0", b"7", b"5"):
    raise _MemberError(name, f"of unknown type {kind!r}")
  return name, size, kind == b"5" or name.endswith("/")


def _has_checksum(block: bytes) -> bool:
  if len(block) != _BLOCK:
    return False
  try:
    stated = _number(block[148:156])
  except ValueError:
    return False
  # Old programs summed signed bytes.
  plain = block[:148] + b" " * 8 + block[156:]
  signed = sum(plain) - 256 * sum(byte > 127 for byte in plain)
  return stated in (sum(plain), signed)


def _number(field: bytes) -> int:
  """Octal digits, or GNU's binary for what they cannot hold."""
  if field[0] & 0x80:
    if field[0] != 0x80:  # 0xff begins negative numbers
      raise ValueError("damaged: a negative or huge number")
    return int.from_bytes(field[1:])
  digits = field.strip(b" \0")
  if not re.fullmatch(b"[0-7]*", digits):
    raise ValueError("damaged: a number is not octal")
  return int(digits or b"0", 8)


def _name(block: bytes) -> str:
  name = block[:100].split(b"\0")[0]
  # GNU's older format has other things there than the first part of the name.
  if block[257:263] == b"ustar\0" and block[345]:
    name = block[345:500].split(b"\0")[0] + b"/" + name
  return _text(name)


def _text(name: bytes) -> str:
  return name.decode("utf-8", "surrogateescape")


def _pax_records(body: bytes) -> dict[str, str]:
  """The "LENGTH KEY=VALUE" lines of an extended header."""
  records = {}
  while body:
    match = re.match(b"([0-9]{1,7}) ([^=]+)=", body)
    length = int(match[1]) if match else 0
    if not match or not match.end() < length <= len(body):
      raise ValueError("damaged: an extended header cannot be read")
    if body[length - 1 : length] != b"\n":
      raise ValueError("damaged: an extended header cannot be read")
    records[_text(match[2])] = _text(body[match.end() : length - 1])
    body = body[length:]
  return records
