"""Fast decoders for the plainest PNG and JPEG files; the rest is Pillow's.

For a small image Pillow needs several times as long for its bookkeeping as for
the pixels. These decoders, though, print, guess or differ where a file is odd:
so they see only files whose headers have nothing but the usual, and what they
refuse Pillow judges.
"""

import struct

import imagecodecs
import numpy as np
import simplejpeg

# A box as Pillow's `resize` takes it: left, top, right, bottom.
Box = tuple[float, float, float, float]

_PNG = b"\x89PNG\r\n\x1a\n"
# None of these changes a pixel. Others do, or may hold an orientation.
_PNG_CHUNKS = (b"IHDR", b"IDAT", b"IEND", b"tIME", b"pHYs", b"sRGB", b"gAMA")
# ISO/IEC 10918-1, table B.1. APP1 is not here: it may hold an orientation.
_BASELINE, _PROGRESSIVE, _SCAN, _APP0, _APP2 = 0xC0, 0xC2, 0xDA, 0xE0, 0xE2
_JPEG_OTHERS = (0xC4, 0xDB, 0xDD, 0xFE)  # tables, restarts, comment
# Tiles and depth, which make an image of another size.
_TIFF_ODD = (322, 323, 324, 325, 32997, 32998)


def reduction(height: int, width: int, shortest: int) -> int:
  """The most of 1, 2, 4 and 8 that leaves both sides at least `shortest`."""
  if not shortest:
    return 1
  sides = min(height, width) // shortest
  return max(factor for factor in (1, 2, 4, 8) if factor <= max(sides, 1))


def decode(
  data: bytes, *, max_pixels: int, shortest: int
) -> tuple[np.ndarray, Box | None] | None:
  """Decodes a plain image.

  Args:
    data: any bytes.
    max_pixels: more are not decoded here.
    shortest: a JPEG is reduced to 1/2, 1/4 or 1/8 if both sides keep at least
      this many pixels; 0 for its full size.

  Returns:
    u8[h, w, 3], RGB in [0, 255], and the part of it that is the image if it was
    reduced: it ends within a pixel where its size is no multiple. None for all
    that is not certainly plain and whole.
  """
  try:
    if data.startswith(_PNG):
      return _decode_png(data, max_pixels)
    if data.startswith(b"\xff\xd8"):
      return _decode_jpeg(data, max_pixels, shortest)
  except Exception:  # damaged: decoders raise whatever they meet
    return None
  return None


def check_tiff(data: bytes, height: int, width: int) -> None:
  """Finds damage in a plain compressed TIFF by decoding it once.

  Pillow has libtiff for these, which prints damage to stderr before it fails;
  here it only fails. Files whose directory two readers could take for images of
  two sizes are left alone: the larger may be a bomb.

  Args:
    data: a TIFF file.
    height, width: of its first image in pixels, as Pillow reads them.

  Raises:
    ValueError, RuntimeError, IndexError: if it is damaged.
  """
  if _tiff_size(data) == (height, width):
    imagecodecs.tiff_decode(data, index=0)


def _tiff_size(data: bytes) -> tuple[int, int] | None:
  """Height and width by the first directory if it is plain (TIFF 6.0, 2)."""
  order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
  if order is None:
    return None
  sizes = {}
  try:
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    for i in range(count):
      entry = struct.unpack_from(f"{order}HHI4s", data, at + 2 + 12 * i)
      tag, kind, length, value = entry
      if tag in sizes or tag in _TIFF_ODD:
        return None
      number = {3: "H", 4: "I"}.get(kind)
      known = number and length == 1
      sizes[tag] = (
        struct.unpack_from(order + number, value)[0] if known else None
      )
  except struct.error:
    raise ValueError("the directory of the TIFF file is cut off") from None
  return sizes.get(257), sizes.get(256)


def _decode_png(data: bytes, max_pixels: int) -> tuple[np.ndarray, None] | None:
  size = _png_size(data)
  if size is None or not 0 < size[0] * size[1] <= max_pixels:
    return None
  pixels = imagecodecs.spng_decode(data)
  if pixels.shape[:2] != size or pixels.dtype != np.uint8:
    return None
  return _rgb(pixels), None


def _png_size(data: bytes) -> tuple[int, int] | None:
  """Height and width of a plain PNG: 8 bits, grey or RGB, not interlaced."""
  header = struct.unpack_from(">I4sIIBBBBB", data, 8)
  length, kind, width, height, depth, color, *methods = header
  if (length, kind, depth, methods) != (13, b"IHDR", 8, [0, 0, 0]):
    return None
  if color not in (0, 2):
    return None
  at, previous = 33, b"IHDR"
  while at < len(data):
    length, kind = struct.unpack_from(">I4s", data, at)
    stop = at + 12 + length
    if kind not in _PNG_CHUNKS or kind == b"IHDR" or stop > len(data):
      return None
    if kind == b"IEND":
      whole = previous == b"IDAT" and not length and stop == len(data)
      return (height, width) if whole else None
    if previous == b"IDAT" != kind:
      return None
    at, previous = stop, kind
  return None


def _decode_jpeg(
  data: bytes, max_pixels: int, shortest: int
) -> tuple[np.ndarray, Box | None] | None:
  size = _jpeg_size(data)
  if size is None or not 0 < size[0] * size[1] <= max_pixels:
    return None
  factor = reduction(*size, shortest)
  height, width = (-(-side // factor) for side in size)
  pixels = simplejpeg.decode_jpeg(
    data,
    # The smallest scale that keeps these is taken.
    min_height=height if factor > 1 else 0,
    min_width=width if factor > 1 else 0,
  )
  if pixels.shape != (height, width, 3):
    return None
  box = (0, 0, size[1] / factor, size[0] / factor) if factor > 1 else None
  return pixels, box


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
  """Height and width of a plain JPEG: 8 bits, grey or YCbCr, not turned."""
  at, size = 2, None
  while True:
    mark, kind, length = struct.unpack_from(">BBH", data, at)
    if mark != 0xFF or length < 2:
      return None
    if kind == _SCAN:
      return size
    body = data[at + 4 : at + 2 + length]
    if kind in (_BASELINE, _PROGRESSIVE):
      depth, height, width, count = struct.unpack_from(">BHHB", body)
      # Other numbers of the components may mean another colour space.
      components = list(body[6::3])
      if size or depth != 8 or components not in ([1], [1, 2, 3]):
        return None
      if count != len(components) or length != 8 + 3 * count:
        return None
      size = height, width
    elif not (
      kind in _JPEG_OTHERS
      or (kind == _APP0 and body.startswith(b"JFIF\0"))
      or (kind == _APP2 and body.startswith(b"ICC_PROFILE\0"))
    ):
      return None
    at += 2 + length


def _rgb(pixels: np.ndarray) -> np.ndarray:
  if pixels.ndim == 2:
    return np.repeat(pixels[..., None], 3, axis=-1)
  return pixels
