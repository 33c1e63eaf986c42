"""Decodes, resizes and crops images: few formats, one kind of error."""

import io
import logging
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PIXELS = 64 << 20
# Pillow warns of odd metadata in images that it reads all the same. Filters
# belong to the process: threads that decode could not set their own.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
_ORIENTATION = 0x0112  # in EXIF; 2 to 8 are the turns and flips


class DecodeError(ValueError):
  """An image cannot be decoded; the message says why."""


def decode(data: bytes, size: int | None = None) -> np.ndarray:
  """Decodes one image, turned upright as its EXIF orientation says.

  Grey, palette and CMYK images become RGB; transparency is ignored; of 16 bits
  per channel the upper 8 are kept; of several frames the first is taken.

  To be resized, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where both
  sides keep at least twice `size`, which changes its pixels a little and takes
  about half the time for photographs. All other images give exactly
  `resize(decode(data), size)`, those of that size their own pixels.

  Args:
    data: a PNG, JPEG, TIFF or BMP file.
    size: height and width of the result in pixels; None: those of the image.

  Returns:
    u8[h, w, 3], RGB in [0, 255].

  Raises:
    DecodeError: for other formats, pixels without a fixed range (32-bit integer
      or float), broken files and more than MAX_PIXELS.
  """
  try:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      if not 0 < image.width * image.height <= MAX_PIXELS:
        raise DecodeError(
          f"{image.width}x{image.height} pixels; valid: 1 to {MAX_PIXELS}"
        )
      box = None
      if image.getexif().get(_ORIENTATION) in range(2, 9):
        ImageOps.exif_transpose(image, in_place=True)
      elif size is not None:
        # Only a JPEG heeds this. The part of the reduced image that is the
        # original ends within a pixel where a side is no multiple.
        draft = image.draft(None, (2 * size, 2 * size))
        box = draft and draft[1]
      rgb = _to_rgb(image)
      if size is not None:
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR, box)
      return np.asarray(rgb)
  except DecodeError:
    raise
  except UnidentifiedImageError:
    raise DecodeError(f"no readable {', '.join(FORMATS)} file") from None
  except Exception as error:  # Pillow's decoders raise whatever they meet
    raise DecodeError(str(error) or type(error).__name__) from None


def resize(image: np.ndarray, size: int) -> np.ndarray:
  """Resizes to a square, bilinear with antialiasing, ignoring the aspect.

  Args:
    image: u8[h, w, 3].
    size: height and width of the result in pixels.

  Returns:
    u8[size, size, 3].
  """
  if image.shape[:2] == (size, size):
    return image
  resized = Image.fromarray(image).resize(
    (size, size), Image.Resampling.BILINEAR
  )
  return np.asarray(resized)


def resize_and_crop(
  image: np.ndarray,
  size: int,
  *,
  share: float = 1.0,
  interpolation: str = "bilinear",
) -> np.ndarray:
  """Resizes the short side and crops the middle, as is usual for ImageNet.

  The short side is resized to `size / share`, antialiased, and the aspect is
  preserved; then the middle square is cropped. Sizes and the corner of the crop
  are rounded down.

  Args:
    image: u8[h, w, 3].
    size: height and width of the result in pixels.
    share: share of the short side that the crop has, above 0 and at most 1.
    interpolation: 'bilinear' or 'bicubic'.

  Returns:
    u8[size, size, 3].
  """
  short = min(image.shape[:2])
  # The far ends of a narrow image are not seen, but resizing them may cost
  # gigabytes.
  y, x = (max(0, n - 8 * short) // 2 for n in image.shape[:2])
  image = image[y : image.shape[0] - y, x : image.shape[1] - x]
  height, width = (int(size / share) * n // short for n in image.shape[:2])
  resized = Image.fromarray(image).resize(
    (width, height), Image.Resampling[interpolation.upper()]
  )
  left, top = (width - size) // 2, (height - size) // 2
  return np.asarray(resized.crop((left, top, left + size, top + size)))


# What becomes of an image of another size, by `other_sizes`. An image that is
# to be classified cannot be dropped.
FITS = {"resize": resize, "crop": resize_and_crop, "drop": resize}


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode in ("I", "F"):
    raise DecodeError(f"pixels of mode {image.mode!r} have no fixed range")
  if image.mode.startswith("I;16"):
    # Pillow would clip them to 255; of 16-bit colour it keeps the upper byte.
    grey = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return grey.convert("RGB")
  return image if image.mode == "RGB" else image.convert("RGB")
