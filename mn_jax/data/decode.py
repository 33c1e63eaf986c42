"""Image bytes to pixels: few formats, a pixel cap, one kind of error."""

import io
import logging
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mn_jax.data import plain_images
from mn_jax.data.plain_images import Box

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PIXELS = 64 << 20
# Pillow warns of odd metadata in images that it reads all the same. Filters
# belong to the process: threads that decode could not set their own.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
_ORIENTATION = 0x0112  # in EXIF; 2 to 8 are the turns and flips


class DecodeError(ValueError):
  """Bytes that are no image this project reads; the message says why."""


def decode(data: bytes) -> np.ndarray:
  """Decodes one image, turned upright as its EXIF orientation says.

  Grey, palette and CMYK images become RGB; transparency is ignored; of 16 bits
  per channel the upper 8 are kept; of several frames the first is taken.

  Args:
    data: a PNG, JPEG, TIFF or BMP file.

  Returns:
    u8[h, w, 3], RGB in [0, 255].

  Raises:
    DecodeError: for other formats, pixels without a fixed range (32-bit integer
      or float), broken files and more than MAX_PIXELS.
  """
  return _decode(data, 0)[0]


def decode_resized(data: bytes, size: int) -> np.ndarray:
  """Decodes one image and resizes it to a square, as `resize` does.

  A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where both sides keep at
  least twice `size`, which takes about half the time for photographs. All
  other images give exactly `resize(decode(data), size)`, those of that size
  their own pixels.

  Args:
    data: a PNG, JPEG, TIFF or BMP file.
    size: height and width of the result in pixels.

  Returns:
    u8[size, size, 3], RGB in [0, 255].

  Raises:
    DecodeError: as `decode`.
  """
  image, box = _decode(data, 2 * size)
  return _resize(image, size, box)


def resize(image: np.ndarray, size: int) -> np.ndarray:
  """Resizes to a square, bilinear with antialiasing, ignoring the aspect.

  Args:
    image: u8[h, w, 3].
    size: height and width of the result in pixels.

  Returns:
    u8[size, size, 3].
  """
  return _resize(image, size, None)


def resize_and_crop(
  image: np.ndarray, size: int, *, share: float, interpolation: str
) -> np.ndarray:
  """The middle of a photograph, as classifiers of ImageNet are tested.

  The short side is resized to `size / share`, with antialiasing and the aspect
  kept; of that the middle square is taken. Sizes and the crop's corner are
  rounded down.

  Args:
    image: u8[h, w, 3].
    size: height and width of the result in pixels.
    share: of the short side that is kept, above 0 and at most 1.
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


def crop(image: np.ndarray, size: int) -> np.ndarray:
  """The middle square of u8[h, w, 3], resized to u8[size, size, 3]."""
  return resize_and_crop(image, size, share=1.0, interpolation="bilinear")


# What becomes of an image of another size; 'drop' has nothing to say of one
# that must be answered.
FITS = {"resize": resize, "crop": crop, "drop": resize}


def _resize(image: np.ndarray, size: int, box: Box | None) -> np.ndarray:
  if image.shape[:2] == (size, size) and box is None:
    return image
  resized = Image.fromarray(image).resize(
    (size, size), Image.Resampling.BILINEAR, box
  )
  return np.asarray(resized)


def _decode(data: bytes, shortest: int) -> tuple[np.ndarray, Box | None]:
  """As `plain_images.decode`, of any image; raises DecodeError."""
  plain = plain_images.decode(data, max_pixels=MAX_PIXELS, shortest=shortest)
  return _decode_any(data, shortest) if plain is None else plain


def _decode_any(data: bytes, shortest: int) -> tuple[np.ndarray, Box | None]:
  try:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
      if not 0 < image.width * image.height <= MAX_PIXELS:
        raise DecodeError(
          f"{image.width}x{image.height} pixels; valid: 1 to {MAX_PIXELS}"
        )
      if image.format == "TIFF" and image.info.get("compression") != "raw":
        plain_images.check_tiff(data, image.height, image.width)
      box = None
      if image.getexif().get(_ORIENTATION) not in range(2, 9):
        box = _reduce(image, shortest)
      ImageOps.exif_transpose(image, in_place=True)
      return _to_rgb(image), box
  except DecodeError:
    raise
  except UnidentifiedImageError:
    raise DecodeError(f"no readable {', '.join(FORMATS)} file") from None
  except Exception as error:  # Pillow's decoders raise whatever they meet
    raise DecodeError(str(error) or type(error).__name__) from None


def _reduce(image: Image.Image, shortest: int) -> Box | None:
  """Has a JPEG decoded at a part of its size; others know nothing of it."""
  factor = plain_images.reduction(image.height, image.width, shortest)
  if factor == 1:
    return None
  drafted = image.draft(None, (image.width // factor, image.height // factor))
  return drafted and drafted[1]


def _to_rgb(image: Image.Image) -> np.ndarray:
  if image.mode in ("I", "F"):
    raise DecodeError(f"pixels of mode {image.mode!r} have no fixed range")
  if image.mode.startswith("I;16"):
    # Pillow would clip them to 255; of 16-bit colour it keeps the upper byte.
    grey = (np.asarray(image) >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
  return np.asarray(image.convert("RGB"))
