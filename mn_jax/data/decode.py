"""Decodes images: few formats, one kind of error."""

import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import (
  Image,
  ImageChops,
  ImageOps,
  UnidentifiedImageError,
  features,
)

from mn_jax.data import jpeg, tiff

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "AVIF")
if not features.check("avif"):
  FORMATS = FORMATS[:-1]
SUFFIXES = (
  *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp"),
  *(".gif", ".webp", ".avif"),
)
MAX_PIXELS = 64 << 20
MAX_SIDE = 65_535  # of a JPEG; each row of a PNG costs as much as a short one
# Pillow warns of odd metadata in images that it reads all the same. Filters
# belong to the process: threads that decode could not set their own.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
# Of a file: chunks, markers and tiles take some four reads each.
MAX_READS = 1 << 20
_COUNTED_BYTES = 1 << 20  # smaller files cannot have so many pieces
_ORIENTATION = 0x0112  # in EXIF; 2 to 8 are the turns and flips
_ON_THEIR_SIDE = range(5, 9)  # of these, those that swap height and width
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # in TIFF
_WHITE_IS_ZERO = 0
_FEW_BITS = 12  # 16-bit files whose values need no more are spoken of
_STARTS = {
  b"\x89PNG\r\n\x1a\n": "PNG",
  b"\xff\xd8\xff": "JPEG",
  b"II*\0": "TIFF",
  b"MM\0*": "TIFF",
  b"GIF87a": "GIF",
  b"GIF89a": "GIF",
}
# Pixels in place of data that a JPEG doesn't have, by mode: L, RGB, CMYK.
_MISSING = (128, (128,) * 3, (128,) * 4, (127,) * 4)


class DecodeError(ValueError):
  """An image cannot be decoded; the message says why."""


def sniff(head: bytes) -> str | None:
  """Returns which of FORMATS a file's first 32 bytes are of, or None."""
  for start, name in _STARTS.items():
    if head.startswith(start):
      return name
  if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
    return "WEBP"
  if head[4:12] in (b"ftypavif", b"ftypavis") and "AVIF" in FORMATS:
    return "AVIF"
  # A text may start with these letters, but has no zeros.
  if head[:2] == b"BM" and head[6:10] == bytes(4):
    return "BMP"
  return None


def decode(
  data: bytes,
  size: int | None = None,
  *,
  bits: int = 16,
  maxima: set[int] | None = None,
) -> np.ndarray:
  """Decodes one image, turned upright as its EXIF orientation says.

  Grey, palette and CMYK images become RGB; transparency is ignored; of 16 bits
  per channel the upper 8 are kept; of several frames the first is taken.

  To be resized, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where both
  sides keep at least twice `size`, which changes its pixels a little and takes
  about half the time for photographs. All other images give exactly
  `resizing.resize(decode(data), size)`, those of that size their own pixels.

  Args:
    data: a file of one of FORMATS.
    size: height and width of the result in pixels; None: those of the image.
    bits: how many of the 16 bits of grey images are used, 8 to 16; the upper 8
      of these are kept.
    maxima: gets the largest value of a 16-bit grey image.

  Returns:
    u8[h, w, 3], RGB in [0, 255].

  Raises:
    DecodeError: for other formats, pixels without a fixed range (32-bit integer
      or float) or outside that of `bits`, broken or truncated files, more than
      MAX_PIXELS, MAX_SIDE or MAX_READS, and too many scans or tiles.
  """
  with _as_decode_error(), _open(data) as image:
    if bits < 16 and image.mode[0] != "I" and ";16" in str(image.tile):
      raise DecodeError("16-bit colour; valid with data.bits=16 only")
    turned, grey = _is_turned(image), _grey_form(image)
    box = _load(image, data, None if turned else size)
    if turned:
      ImageOps.exif_transpose(image, in_place=True)
    rgb = _to_rgb(image, grey, bits, set() if maxima is None else maxima)
    if size is not None:
      rgb = rgb.resize((size, size), Image.Resampling.BILINEAR, box)
    return np.asarray(rgb)


@dataclasses.dataclass(frozen=True)
class Header:
  """What an image file says of itself before its pixels.

  Attributes:
    format: one of FORMATS.
    mode: of its pixels as Pillow calls it, such as 'RGB', 'L' or 'I;16'.
    height, width: in pixels, as its EXIF orientation turns it.
  """

  format: str
  mode: str
  height: int
  width: int


def header(data: bytes) -> Header:
  """Reads the format, mode and size of an image without decoding its pixels.

  Args:
    data: a file of one of FORMATS.

  Raises:
    DecodeError: for other formats, a header that cannot be read, and sizes that
      are not decoded.
  """
  with _as_decode_error(), _open(data) as image:
    width, height = image.size
    # The size of a TIFF is that of the turned image already.
    on_its_side = image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE
    if on_its_side and image.format != "TIFF":
      width, height = height, width
    # A JPEG with further images behind it, as some cameras write.
    name = "JPEG" if image.format == "MPO" else image.format
    return Header(name, image.mode, height, width)


def from_pil(image: Image.Image, *, bits: int = 16) -> np.ndarray:
  """Converts an image that Pillow has opened or made, as `decode` does.

  Args:
    image: of any size and format; it is not changed.
    bits: how many of the 16 bits of grey images are used, 8 to 16; the upper 8
      of these are kept.

  Returns:
    u8[h, w, 3], RGB in [0, 255].

  Raises:
    DecodeError: for pixels without a fixed range or outside that of `bits`, a
      file that Pillow cannot read, or too many pixels.
  """
  _check_size(image)
  with _as_decode_error():
    turned = ImageOps.exif_transpose(image) if _is_turned(image) else image
    return np.asarray(_to_rgb(turned, _grey_form(image), bits, set()))


def unused_bits(maxima: set[int], bits: int) -> str | None:
  """Returns what to know of 16-bit grey images whose values stay low, if so.

  Args:
    maxima: largest value of each, as `decode` collects them.
    bits: that they were decoded with.
  """
  highest = max(maxima, default=0)
  used = max(8, highest.bit_length())
  if not highest or bits < 16 or used > _FEW_BITS:
    return None
  return (
    f"16-bit grey images have values up to {highest}, of which "
    f"{(highest >> 8) + 1} of 256 grey levels are left; data.bits={used} keeps "
    f"{(highest >> used - 8) + 1}"
  )


class _Counted(io.BytesIO):
  """A large file in memory that is read MAX_READS times at most."""

  reads = 0

  def read(self, size: int = -1) -> bytes:
    self.reads += 1
    if self.reads > MAX_READS:
      raise DecodeError(f"more than {MAX_READS} pieces")
    return super().read(size)


@contextlib.contextmanager
def _as_decode_error() -> Iterator[None]:
  """Raises a `DecodeError` for all that is wrong with an image in a block."""
  try:
    yield
  except (DecodeError, MemoryError):  # the latter is not the file's fault
    raise
  except UnidentifiedImageError:
    raise DecodeError(f"no readable {', '.join(FORMATS)} file") from None
  except Exception as error:  # Pillow's decoders raise whatever they meet
    raise DecodeError(str(error) or type(error).__name__) from None


def _open(data: bytes) -> Image.Image:
  """Opens an image of a size that is decoded; nothing is decoded yet."""
  tiff.check(data)
  file = (io.BytesIO if len(data) < _COUNTED_BYTES else _Counted)(data)
  image = Image.open(file, formats=FORMATS)
  try:
    _check_size(image)
  except DecodeError:
    image.close()
    raise
  return image


def _check_size(image: Image.Image) -> None:
  width, height = image.size
  if not 0 < width * height <= MAX_PIXELS or max(image.size) > MAX_SIDE:
    raise DecodeError(
      f"{width}x{height} pixels; valid: 1 to {MAX_PIXELS}, sides to {MAX_SIDE}"
    )


def _is_turned(image: Image.Image) -> bool:
  return image.getexif().get(_ORIENTATION) in range(2, 9)


def _load(
  image: Image.Image, data: bytes, size: int | None
) -> tuple[float, float, float, float] | None:
  """Decodes an open image; returns the part of it that is the original.

  A JPEG that is to be resized is reduced, where the original may end within a
  pixel; None where it is not.
  """
  if image.format not in ("JPEG", "MPO"):
    image.load()
    return None
  start = 2
  if image.format == "JPEG":  # Pillow stopped behind the first scan's header
    start = max(2, data.rfind(b"\xff\xda", 0, image.fp.tell()))
  components = {component for component, *_ in image.layer}
  end = jpeg.check(data, start, components, image.width * image.height)
  reduced = None if size is None else (2 * size, 2 * size)
  draft = reduced and image.draft(None, reduced)
  image.load()
  # What is missing becomes grey up to the last pixel. Then more data before
  # the end would change the image, and that of a whole one would not.
  if image.getpixel((image.width - 1, image.height - 1)) in _MISSING:
    more = data[:end] + bytes(range(255)) + data[end:]
    with _open(more) as other:
      if reduced:
        other.draft(None, reduced)
      if ImageChops.difference(image, other).getbbox():
        raise DecodeError("truncated: its data end before the image")
  return draft and draft[1]


def _grey_form(image: Image.Image) -> tuple[int, bool]:
  """Returns the bits of a grey value, and whether 0 is white, by a TIFF's tags.

  Of values of 8 bits Pillow sees to it.
  """
  if image.format != "TIFF" or not image.mode.startswith("I;16"):
    return 16, False
  tags = image.tag_v2
  return tags[_BITS_PER_SAMPLE][0], tags[_PHOTOMETRIC] == _WHITE_IS_ZERO


def _to_rgb(
  image: Image.Image, grey: tuple[int, bool], bits: int, maxima: set[int]
) -> Image.Image:
  if image.mode in ("I", "F"):
    raise DecodeError(f"pixels of mode {image.mode!r} have no fixed range")
  if image.mode.startswith("I;16"):
    # Pillow would clip them to 255; of 16-bit colour it keeps the upper byte.
    values = np.asarray(image)
    highest = int(values.max())
    stored, white_is_zero = grey
    if stored == 16:
      maxima.add(highest)
    bits = min(bits, stored)
    if highest >> bits:
      raise DecodeError(
        f"a grey value of {highest}; valid: at most {2**bits - 1} (data.bits)"
      )
    if white_is_zero:
      values = 2**bits - 1 - values
    shown = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    return shown.convert("RGB")
  return image if image.mode == "RGB" else image.convert("RGB")
