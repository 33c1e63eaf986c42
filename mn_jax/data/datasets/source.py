"""Sources: the images of a data set, read by row of its listing."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from mn_jax.data import decode, resizing
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.files.archive import Files
from mn_jax.data.files.stamps import of_numbers

# Files whose first bytes are part of their stamp.
_READ = 32
_READ_BYTES = 1 << 16


class Source(Protocol):
  """Random access to the images of a data set; safe to use from threads.

  Attributes:
    listing: names, labels and groups of the images.
    maxima: largest value of each 16-bit grey image that was read.
  """

  listing: Listing
  maxima: set[int]

  def read(
    self, row: int, size: int | None = None, *, bits: int = 16
  ) -> np.ndarray:
    """Reads the image of a row, squeezed to a square if there is a `size`.

    Args:
      row: of the listing.
      size: height and width of the result in pixels; None: those of the image.
      bits: how many bits of 16-bit grey images are used.

    Returns:
      u8[h, w, 3], RGB in [0, 255].

    Raises:
      OSError, DecodeError: if it cannot be read.
    """


@dataclasses.dataclass(frozen=True)
class ImageFiles:
  """A source whose images are files of `decode.FORMATS`."""

  listing: Listing
  files: Files
  maxima: set[int] = dataclasses.field(default_factory=set)

  def read(
    self, row: int, size: int | None = None, *, bits: int = 16
  ) -> np.ndarray:
    """Reads and decodes a file: u8[h, w, 3], or u8[size, size, 3]."""
    data = self.files.read(self.listing.paths[row])
    return decode.decode(data, size, bits=bits, maxima=self.maxima)


@dataclasses.dataclass(frozen=True)
class Pixels:
  """A source whose images are in memory, u8[n, h, w, 3]."""

  listing: Listing
  images: np.ndarray
  maxima: set[int] = dataclasses.field(default_factory=set)

  def read(
    self, row: int, size: int | None = None, *, bits: int = 16
  ) -> np.ndarray:
    """Returns an image, u8[h, w, 3], squeezed to u8[size, size, 3] if asked."""
    del bits  # these have 8
    image = self.images[row]
    return image if size is None else resizing.resize(image, size)


def of_files(
  list_images: Callable[..., Listing],
) -> Callable[..., ImageFiles]:
  """Returns the function that opens a data set of image files, for `SPEC.open`.

  A few files spread over all are read, and what they hold becomes part of their
  stamps: copies of a disk may have equal metadata and other content.

  Args:
    list_images: lists the images among the files of a folder or archive, which
      it gets first, and then what else the opening function gets.
  """

  def open_source(files: Files, **more: Any) -> ImageFiles:
    listing = list_images(files, **more)
    stamps = listing.stamps.tolist()
    for row in sorted({i * len(stamps) // _READ for i in range(_READ)}):
      try:
        content = files.read(listing.paths[row], _READ_BYTES)
      except OSError as error:
        if error.errno is not None:
          raise
        continue  # damaged, as packing will find
      stamps[row] = of_numbers(stamps[row], zlib.crc32(content))
    stamped = dataclasses.replace(listing, stamps=np.array(stamps, np.int64))
    return ImageFiles(stamped, files)

  return open_source
