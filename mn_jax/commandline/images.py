"""Images named on the command line, by their paths or what they are in.

Folders and archives are searched by the rules by which data sets are read; a
file that is named itself is read whatever it is called.
"""

import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mn_jax.data import decode
from mn_jax.data.files import archive, images
from mn_jax.data.files.folder import read_file
from mn_jax.errors import InputError, RunError
from mn_jax.observe import escape

_VALID = "valid: images, and folders, zips or tars of images"


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
    # Each path with the files in it and their names; None: a file itself.
    self._found: list[tuple[pathlib.Path, archive.Files | None, list]] = []
    try:
      for path in paths:
        self._find(path)
    except (InputError, RunError):
      self.close()
      raise

  def __enter__(self) -> "Images":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Closes the archives."""
    for _, files, _ in self._found:
      if files is not None:
        files.close()

  def read(
    self, read_image: Callable[[bytes], np.ndarray]
  ) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the path and pixels of each image that can be read.

    Args:
      read_image: decodes a file; raises a DecodeError.
    """
    for path, files, names in self._found:
      for name in names:
        shown = str(path / name)
        try:
          data = read_file(path) if files is None else files.read(name)
          image = read_image(data)
        except (decode.DecodeError, OSError) as error:
          self.unreadable += 1
          self._say(shown, str(error))
        else:
          yield shown, image

  def _find(self, named: str) -> None:
    if named == "-" or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", named):
      raise InputError(
        f"got {named!r}, which is no file on this machine; {_VALID}"
      )
    path = pathlib.Path(named).expanduser()
    try:
      is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # no permission, or a name that is too long
      is_folder = is_file = False
    if not (is_folder or is_file):
      raise InputError(
        f"got {str(path)!r}, which is neither a file nor a folder; {_VALID}"
      )
    if is_file and not _is_archive(path):
      self._found.append((path, None, [""]))
      self.count += 1
      return
    files = archive.open_files(path)
    names: list[str] = []
    self._found.append((path, files, names))
    try:
      found = images.find(files)
    except InputError as error:
      raise InputError(str(error).replace("data.path:", f"{path}:")) from None
    names += sorted((name for name, _ in found.images), key=pathlib.PurePath)
    self.count += len(names)
    for note in found.notes:
      self._say(str(path), note)
    if found.passed_over:
      held = images.summary(what for _, what in found.passed_over)
      self._say(str(path), f"passed over {held}")

  def _say(self, path: str, what: str) -> None:
    line = escape.printable(f"{self._program}: {path}: {what}")
    print(line, file=sys.stderr)


def _is_archive(path: pathlib.Path) -> bool:
  try:
    head = read_file(path, 512)
  except OSError:  # which reading it will say
    return False
  return not decode.sniff(head) and archive.is_archive(head)
