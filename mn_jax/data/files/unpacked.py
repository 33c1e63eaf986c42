"""A compressed file as a stream that is read forward and cannot explode."""

import bz2
import lzma
import zlib
from typing import IO

from mn_jax.data.files.members import MAX_RATIO, too_dense

_STEP = 1 << 16
# An .xz file may ask for a dictionary of 4 GiB; `xz -9` asks for 64 MiB.
_XZ_MEMORY = 1 << 28


class _Gzip:
  """zlib's decompressor with the interface of those of bz2 and lzma."""

  def __init__(self):
    self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)

  @property
  def eof(self) -> bool:
    return self._zlib.eof

  @property
  def unused_data(self) -> bytes:
    return self._zlib.unused_data

  @property
  def needs_input(self) -> bool:
    return not self._zlib.unconsumed_tail

  def decompress(self, data: bytes, limit: int) -> bytes:
    return self._zlib.decompress(self._zlib.unconsumed_tail + data, limit)


_KINDS = {
  b"\x1f\x8b": _Gzip,
  b"BZh": bz2.BZ2Decompressor,
  b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY),
}


class Unpacked:
  """The content of a .gz, .bz2 or .xz file, in one pass.

  Args:
    file: the compressed bytes, from their beginning.
  """

  def __init__(self, file: IO[bytes]):
    self._file = file
    head = file.read(_STEP)
    self._pending = head
    self._packed = len(head)
    self._unpacked = 0
    self._make = next(
      make for magic, make in _KINDS.items() if head.startswith(magic)
    )
    self._stream = self._make()
    self._ended = False

  def read(self, count: int) -> bytes:
    """The next bytes; fewer than asked for only at the end.

    Raises:
      ValueError: if they are damaged or truncated, or a bomb.
    """
    parts = []
    while count and not self._ended:
      try:
        part = self._step(min(count, _STEP))
      except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"damaged: {error}") from None
      self._unpacked += len(part)
      if too_dense(self._unpacked, self._packed):
        raise ValueError(f"compressed more than {MAX_RATIO} : 1")
      parts.append(part)
      count -= len(part)
    return b"".join(parts)

  def _step(self, limit: int) -> bytes:
    stream = self._stream
    if stream.eof:
      self._next_stream()
      return b""
    data = b""
    if stream.needs_input:
      data, self._pending = self._pending or self._fill(), b""
      if not data:
        raise ValueError("truncated: its compressed data do not end")
    return stream.decompress(data, limit)

  def _next_stream(self) -> None:
    """Begins the next of several streams, as parallel compressors write."""
    rest = self._stream.unused_data + self._pending
    while not rest.strip(b"\0") and (more := self._fill()):
      rest = more  # zeros pad the end of tapes and of .xz streams
    self._pending = rest.lstrip(b"\0")
    self._ended = not self._pending
    self._stream = self._make()

  def _fill(self) -> bytes:
    data = self._file.read(_STEP)
    self._packed += len(data)
    return data


def is_compressed(head: bytes) -> bool:
  """Whether a file that begins like this is one of these."""
  return head.startswith(tuple(_KINDS))
