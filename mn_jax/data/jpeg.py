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


def check(data: bytes, start: int, components: set[int], pixels: int) -> int:
  """Checks the scans of a file.

  Args:
    data: a JPEG file.
    start: offset of the marker of the first scan, or one before it.
    components: identifiers of the image's components.
    pixels: of its image.

  Returns:
    Where the image ends: the offset of its end marker, or the file's length
    where there is none.

  Raises:
    ValueError: for too many scans, or too few for the whole image.
  """
  missing = {(component, k) for component in components for k in (0, 63)}
  scans = 0
  while found := _MARKER.search(data, start):
    kind = data[found.end() - 1]
    if kind == _END:
      break
    length = max(2, int.from_bytes(data[found.end() : found.end() + 2]))
    start = found.end() + length
    if kind == _SCAN:
      scans += 1
      if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
        raise ValueError(f"{scans} scans or more of {pixels} pixels")
      missing -= _finished(data[found.end() + 2 : start])
  if missing:
    raise ValueError("truncated: scans are missing")
  return found.start() if found else len(data)


def _finished(scan: bytes) -> set[tuple[int, int]]:
  """Returns (component, coefficient) that a scan brings to full precision.

  Of the 64 coefficients those count that the first and last scans have.
  """
  if len(scan) < 4 or len(scan) != 4 + 2 * scan[0]:
    return set()
  first, last, precision = scan[-3:]
  if precision & 15:
    return set()
  return {
    (component, k)
    for component in scan[1 : 1 + 2 * scan[0] : 2]
    for k in (0, 63)
    if first <= k <= last
  }
