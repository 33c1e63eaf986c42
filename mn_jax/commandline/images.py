"""Images named on the command line, by their paths or those of folders."""

import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from mn_jax.data import decode
from mn_jax.errors import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def find(paths: Sequence[str]) -> Iterator[pathlib.Path]:
  """Yields the images that are named or lie in named folders, in order.

  Raises:
    InputError: for a path that is neither a file nor a folder.
  """
  for path in map(pathlib.Path, paths):
    try:
      is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # no permission, or a name that is too long
      is_folder = is_file = False
    if is_folder:
      inside = path.rglob("*")
      yield from sorted(
        p for p in inside if p.suffix.lower() in _SUFFIXES and p.is_file()
      )
    elif is_file:
      yield path
    else:
      raise InputError(
        f"got {str(path)!r}, which is neither a file nor a folder; valid: "
        "images and folders of images"
      )


def read(
  paths: Sequence[pathlib.Path], program: str
) -> Iterator[tuple[pathlib.Path, np.ndarray]]:
  """Yields the path and u8[h, w, 3] of each image that can be read.

  Args:
    paths: of the images.
    program: its name, for the line about an image that cannot be read.
  """
  for path in paths:
    try:
      yield path, decode.decode(path.read_bytes())
    except (decode.DecodeError, OSError) as error:
      print(f"{program}: {path}: {error}", file=sys.stderr)
