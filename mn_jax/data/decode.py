"""Image bytes to pixels: few formats, a pixel cap, one kind of error."""

import io
import warnings

import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAX_PIXELS = 64 << 20


class DecodeError(ValueError):
  """Bytes that are no image this project reads; the message says why."""


def decode(data: bytes) -> np.ndarray:
  """Decodes one image.

  Args:
    data: a PNG, JPEG, TIFF or BMP file.

  Returns:
    u8[h, w, 3], RGB in [0, 255]. Grey and palette images are converted.

  Raises:
    DecodeError: for other formats, broken files and more than MAX_PIXELS.
  """
  try:
    with warnings.catch_warnings():
      # Pillow warns of odd metadata and of large images; the cap is ours.
      warnings.simplefilter("ignore")
      with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
          raise DecodeError(
            f"{image.width}x{image.height} pixels, at most {MAX_PIXELS}"
          )
        return np.asarray(image.convert("RGB"))
  except DecodeError:
    raise
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
  resized = Image.fromarray(image).resize(
    (size, size), Image.Resampling.BILINEAR
  )
  return np.asarray(resized)
