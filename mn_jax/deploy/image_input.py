"""Images in the forms that Python code has them: paths, arrays, Pillow's.

All become what the network of a run or of a file was trained to see. A path is
read exactly as `mn-jax predict` reads it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageFile

from mn_jax.data import decode
from mn_jax.data.files import named
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError
from mn_jax.observe import escape

Path = str | os.PathLike[str]
# One image, or several: a batch in one array, or a sequence of single ones.
Single = Path | np.ndarray | Image.Image
Images = Single | Sequence[Single] | Iterable[Single]

_ARRAYS = (
  "valid: uint8 in [0, 255] of shape [h, w, 3] or [n, h, w, 3], 1 (grey) or 4 "
  "(RGBA) channels, or [h, w] of one grey image"
)
_KINDS = "valid: paths, uint8 arrays and PIL images, one or a sequence of them"
_MOST_NAMED = 5  # images that cannot be read


def read(images: Images, trained: Trained) -> Iterator[np.ndarray]:
  """Yields each image as the network sees it, u8[r, r, 3].

  Args:
    images: one image or several.
    trained: whose rules of size and cropping hold.

  Raises:
    InputError: for what is no image; once all have been looked at, for those
      that cannot be read, with the first of them by name.
  """
  unreadable: list[str] = []
  for number, image in enumerate(_singles(images)):
    try:
      pixels = _read(image, trained, number)
    except (decode.DecodeError, OSError) as error:
      unreadable.append(f"{_name(image, number)}: {error}")
      continue
    if not unreadable:  # otherwise nothing will come of the others
      yield pixels
  if unreadable:
    more = len(unreadable) - _MOST_NAMED
    listed = "; ".join(unreadable[:_MOST_NAMED])
    raise InputError(
      f"images: got {len(unreadable)} that cannot be read ({listed}"
      f"{f'; and {more} more' if more > 0 else ''}); valid: readable "
      f"{', '.join(decode.FORMATS)} images"
    )


def _singles(images: Images) -> Iterator[Single]:
  """Yields single images; an array may be a batch of them."""
  if isinstance(images, str | os.PathLike | Image.Image):
    yield images
  elif hasattr(images, "__array__"):  # of NumPy, JAX, torch on the CPU
    array = np.asarray(images)
    if array.ndim == 1 and array.dtype.kind in "OU":  # such as a table's column
      yield from array.tolist()
    elif array.ndim == 4:
      # Checked as a whole, so that an error shows the shape that was given.
      yield from _checked(array, array.shape[1:], "images")
    else:
      yield array
  elif isinstance(images, Iterable) and not isinstance(images, bytes):
    yield from images
  else:
    raise InputError(f"images: got {_kind(images)}; {_KINDS}")


def _read(image: Single, trained: Trained, number: int) -> np.ndarray:
  if isinstance(image, Image.Image):
    return trained.fit_image(decode.from_pil(image, bits=trained.bits))
  if isinstance(image, str | os.PathLike):
    return trained.read_image(_bytes(image, number))
  if hasattr(image, "__array__"):
    name = _name(image, number)
    array = np.asarray(image)
    return trained.fit_image(_rgb(_checked(array, array.shape, name), name))
  raise InputError(f"{_name(image, number)}: got {_kind(image)}; {_KINDS}")


def _bytes(path: Path, number: int) -> bytes:
  """Reads a file, which is one image."""
  try:
    found = named.find(os.fsdecode(path))
  except InputError as error:
    raise InputError(f"images[{number}]: {error}") from None
  try:
    if found.files is None:
      return found.read("")
  finally:
    found.close()
  raise InputError(
    f"images[{number}]: got {os.fsdecode(path)!r}, which holds "
    f"{len(found.names)} images; valid: the path of each, such as "
    "sorted(pathlib.Path(FOLDER).glob('*.jpg')), so that it is known which "
    "result is whose"
  )


def _checked(
  array: np.ndarray, shape: tuple[int, ...], name: str
) -> np.ndarray:
  """Returns an array if it has the dtype and shape of images.

  Args:
    array: of one image, or a batch.
    shape: of one image.
    name: that errors call it.
  """
  if array.dtype != np.uint8:
    advice = ""
    if array.dtype.kind == "f":
      advice = "; (255 * x).round().astype('uint8') makes it of x in [0, 1]"
    raise InputError(
      f"{name}: got an array of {array.dtype}; {_ARRAYS}{advice}"
    )
  channels = 1 if len(shape) == 2 else shape[-1] if len(shape) == 3 else 0
  if channels not in (1, 3, 4) or 0 in shape:
    raise InputError(f"{name}: got an array of shape {array.shape}; {_ARRAYS}")
  return array


def _rgb(array: np.ndarray, name: str) -> np.ndarray:
  """Makes u8[h, w, 3] of one image; transparency is ignored, as in files."""
  height, width = array.shape[:2]
  if height * width > decode.MAX_PIXELS:
    raise InputError(
      f"{name}: got {width}x{height} pixels; valid: up to {decode.MAX_PIXELS}"
    )
  array = array.reshape(height, width, -1)
  if array.shape[-1] == 1:
    array = np.repeat(array, 3, axis=-1)
  return np.ascontiguousarray(array[..., :3])


def _name(image: Single, number: int) -> str:
  """What errors call an image: its path, or its place."""
  path = image.filename if isinstance(image, ImageFile.ImageFile) else image
  if isinstance(path, str | os.PathLike) and path:
    return escape.printable(os.fsdecode(path))
  return f"images[{number}]"


def _kind(image: object) -> str:
  return f"{type(image).__module__}.{type(image).__qualname__}"
