"""Pictures as a page holds them: PNG in the text of an address."""

import base64
import io

import numpy as np
from PIL import Image

_THUMBNAIL = 112  # pixels: sharp at 56 on screens of twice the resolution


def address(pixels: np.ndarray) -> str:
  """Returns `data:image/png;base64,...` of u8[h, w, 3] or u8[h, w, 4]."""
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG", compress_level=1)
  return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def thumbnail(pixels: np.ndarray) -> str:
  """Returns the address of u8[h, w, 3], made smaller if it is large."""
  image = Image.fromarray(pixels)
  image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BILINEAR)
  return address(np.asarray(image))


def tissue(patches: np.ndarray) -> str:
  """Returns the address of a slide f[h, w, 3] in [0, 255]; NaN is nothing."""
  seen = ~np.isnan(patches[..., :1])
  rgba = np.concatenate([np.nan_to_num(patches), 255.0 * seen], axis=2)
  return address(rgba.round().astype(np.uint8))
