"""Images named on the command line, by their paths or what they are in."""

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mn_jax.data import decode
from mn_jax.data.files import named
from mn_jax.errors import InputError, RunError
from mn_jax.observe import escape


class Images:
  """The images that paths name; a context that closes what is open.

  What is passed over, and what cannot be read, is said in lines on standard
  error.

  Attributes:
    count: number of images.
    unreadable: number of those that could not be read so far.
  """

  def __init__(self, paths: Sequence[str], program: str):
    """Finds the images.

    Args:
      paths: of images, folders and archives.
      program: its name, for the lines on standard error.

    Raises:
      InputError: for a path that is none of these, or an archive that is
        refused.
      RunError: if the system cannot read a file.
    """
    self.count = self.unreadable = 0
    self._program = program
    self._found: list[named.Named] = []
    try:
      for path in paths:
        found = named.find(path)
        self._found.append(found)
        self.count += len(found.names)
        for note in found.notes:
          self._say(str(found.path), note)
    except (InputError, RunError):
      self.close()
      raise

  def __enter__(self) -> "Images":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Closes the archives."""
    for found in self._found:
      found.close()

  def read(
    self, read_image: Callable[[bytes], np.ndarray]
  ) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the path and pixels of each image that can be read.

    Args:
      read_image: decodes a file; raises a DecodeError.
    """
    for found in self._found:
      for name in found.names:
        shown = str(found.path / name)
        try:
          image = read_image(found.read(name))
        except (decode.DecodeError, OSError) as error:
          self.unreadable += 1
          self._say(shown, str(error))
        else:
          yield shown, image

  def _say(self, path: str, what: str) -> None:
    line = escape.printable(f"{self._program}: {path}: {what}")
    print(line, file=sys.stderr)
