"""A check of a TIFF's first directory before Pillow makes lists of it."""

import struct

# As an image of the largest size has in tiles of the smallest, 16x16.
MAX_TILES = 1 << 18

_OFFSETS = (273, 324)  # of strips and tiles
_BIG = 43  # version of files with offsets of 64 bits


def check(data: bytes) -> None:
  """Raises a ValueError for more strips or tiles than an image needs.

  Each takes some time and memory, however small it is.

  Args:
    data: a file, which need be no TIFF, nor a whole one.
  """
  order = {b"II": "<", b"MM": ">"}.get(data[:2])
  if order is None or len(data) < 16:
    return
  (version,) = struct.unpack_from(f"{order}H", data, 2)
  big = version == _BIG
  at, offset, count, entry = (
    (8, "Q", "Q", "HHQQ") if big else (4, "L", "H", "HHLL")
  )
  (start,) = struct.unpack_from(f"{order}{offset}", data, at)
  first = start + struct.calcsize(count)
  if first > len(data):
    return
  entries = struct.unpack_from(f"{order}{count}", data, start)[0]
  size = struct.calcsize(f"{order}{entry}")
  table = data[first : first + min(entries, 1 << 16) * size]
  table = table[: len(table) // size * size]
  for tag, _, values, _ in struct.iter_unpack(f"{order}{entry}", table):
    if tag in _OFFSETS and values > MAX_TILES:
      raise ValueError(f"{values} strips or tiles; valid: at most {MAX_TILES}")
