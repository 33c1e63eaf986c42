"""Resizes and crops decoded images, as packing and classifying see them."""

import numpy as np
from PIL import Image

from mn_jax.data import decode


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
  image = _without_far_ends(image)
  short = min(image.shape[:2])
  height, width = (int(size / share) * n // short for n in image.shape[:2])
  resized = Image.fromarray(image).resize(
    (width, height), Image.Resampling[interpolation.upper()]
  )
  left, top = (width - size) // 2, (height - size) // 2
  return np.asarray(resized.crop((left, top, left + size, top + size)))


def shorten(image: np.ndarray, short_side: int) -> np.ndarray:
  """Resizes the short side and keeps the whole image and its aspect.

  Of an image eight times as long as it is wide, the middle is kept. Images with
  a shorter side stay as they are.

  Args:
    image: u8[h, w, 3].
    short_side: of the result in pixels.

  Returns:
    u8[h, w, 3], of which `resize_and_crop` to a square of that short side only
    has to crop.
  """
  image = _without_far_ends(image)
  short = min(image.shape[:2])
  if short <= short_side:
    return image
  height, width = (short_side * n // short for n in image.shape[:2])
  resized = Image.fromarray(image).resize(
    (width, height), Image.Resampling.BILINEAR
  )
  return np.asarray(resized)


def _without_far_ends(image: np.ndarray) -> np.ndarray:
  """Cuts u8[h, w, 3] to eight times its short side.

  The far ends of a narrow image are hardly seen, but resizing them may cost
  gigabytes.
  """
  short = min(image.shape[:2])
  y, x = (max(0, n - 8 * short) // 2 for n in image.shape[:2])
  return image[y : image.shape[0] - y, x : image.shape[1] - x]


def fit(
  image: np.ndarray, *, size: int, other_sizes: str, crop_share: float = 1.0
) -> np.ndarray:
  """Makes a decoded image as large as evaluation sees it, u8[size, size, 3].

  An image that is to be classified cannot be dropped: it is squeezed then.

  Args:
    image: u8[h, w, 3].
    size: height and width of the result in pixels.
    other_sizes, crop_share: as in section `data` of a config.
  """
  if other_sizes == "crop":
    return resize_and_crop(image, size, share=crop_share)
  return resize(image, size)


def decode_and_fit(
  data: bytes,
  *,
  size: int,
  other_sizes: str,
  bits: int,
  crop_share: float = 1.0,
) -> np.ndarray:
  """Decodes one image as evaluation sees it, u8[size, size, 3].

  Args:
    data, bits: as `decode.decode` takes them.
    size, other_sizes, crop_share: as `fit` takes them.

  Raises:
    DecodeError: if it cannot be decoded.
  """
  squeezed = size if other_sizes == "resize" else None
  image = decode.decode(data, squeezed, bits=bits)
  return fit(image, size=size, other_sizes=other_sizes, crop_share=crop_share)
