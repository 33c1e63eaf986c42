"""Checks of a JPEG's markers for what its decoder lets pass.

libjpeg fills up what is missing with grey, or with less detail, and warns of
it where nobody listens; and it decodes as many scans as there are, each at the
cost of the whole image. Fine detail that is missing from the last scan of a
progressive file is not noticed, if an end marker was put behind it.
"""

import re

MAX_SCANS = 100
# The scans of the largest image that is decoded, at what an encoder makes.
MAX_SCANNED_PIXELS = 1 << 30

# Bytes of the image itself look like none of these.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check(data: bytes, pixels: int) -> int:
  """Checks the scans of a file.

  Args:
    data: a JPEG file.
    pixels: of its image.

  Returns:
    Where the image ends: the offset of its end marker, or the file's length
    where there is none.

  Raises:
    ValueError: for too many scans, or too few for the whole image.
  """
  missing, scans, offset = None, 0, 2
  while found := _MARKER.search(data, offset):
    kind, start = data[found.start() + 1], found.end()
    if kind == _END:
      break
    length = int.from_bytes(data[start : start + 2])
    body = data[start + 2 : start + length]
    offset = start + max(2, length)
    if kind in _FRAMES and missing is None:
      missing = {(part, k) for part in body[6::3] for k in (0, 63)}
    elif kind == _SCAN and missing is not None:
      scans += 1
      if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
        raise ValueError(f"{scans} scans or more of {pixels} pixels")
      missing -= _finished(body)
  end = found.start() if found else len(data)
  if missing:
    raise ValueError("truncated: scans are missing")
  return end


def _finished(scan: bytes) -> set[tuple[int, int]]:
  """Returns (part, coefficient) of what a scan brings to full precision.

  Of the 64 coefficients those count that the first and last scans have.
  """
  if len(scan) < 4 or len(scan) != 4 + 2 * scan[0]:
    return set()
  first, last, precision = scan[-3:]
  if precision & 15:
    return set()
  return {
    (part, k)
    for part in scan[1 : 1 + 2 * scan[0] : 2]
    for k in (0, 63)
    if first <= k <= last
  }
