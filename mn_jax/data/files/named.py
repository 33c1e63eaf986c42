"""Images that a person names: by their paths, or by what they are in.

Folders and archives are searched by the rules by which data sets are read; a
file that is named itself is read whatever it is called.
"""

import dataclasses
import pathlib
import re

from mn_jax.data import decode
from mn_jax.data.files import archive, images
from mn_jax.data.files.folder import read_file
from mn_jax.errors import InputError

_VALID = "valid: images, and folders, zips or tars of images"


@dataclasses.dataclass(frozen=True)
class Named:
  """The images that one path names.

  Attributes:
    path: of an image, or of the folder or archive that they are in.
    files: the folder or archive, open; None: an image.
    names: of the images in it, in order; [''] for an image.
    notes: what a reader should know of what was found, a line each.
  """

  path: pathlib.Path
  files: archive.Files | None
  names: list[str]
  notes: tuple[str, ...]

  def read(self, name: str) -> bytes:
    """Returns the bytes of one of the images.

    Raises:
      OSError: if they cannot be had, or are too many.
    """
    return read_file(self.path) if self.files is None else self.files.read(name)

  def close(self) -> None:
    """Closes the archive."""
    if self.files is not None:
      self.files.close()


def find(text: str) -> Named:
  """Finds the images that a path names; to be closed.

  Args:
    text: the path; ~ is the home folder.

  Raises:
    InputError: if it is neither an image, a folder nor an archive, or an
      archive that is refused.
    RunError: if the system cannot read a file.
  """
  if text == "-" or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
    raise InputError(
      f"got {text!r}, which is no file on this machine; {_VALID}"
    )
  path = pathlib.Path(text).expanduser()
  try:
    is_folder, is_file = path.is_dir(), path.is_file()
  except OSError:  # no permission, or a name that is too long
    is_folder = is_file = False
  if not (is_folder or is_file):
    raise InputError(
      f"got {str(path)!r}, which is neither a file nor a folder; {_VALID}"
    )
  if is_file and not _is_archive(path):
    return Named(path, None, [""], ())
  files = archive.open_files(path)
  try:
    found = images.find(files)
  except InputError as error:
    files.close()
    raise InputError(str(error).replace("data.path:", f"{path}:")) from None
  except BaseException:
    files.close()
    raise
  names = sorted(found.images, key=pathlib.PurePath)
  notes = list(found.notes)
  if found.passed_over:
    held = images.summary(what for _, what in found.passed_over)
    notes.append(f"passed over {held}")
  return Named(path, files, names, tuple(notes))


def _is_archive(path: pathlib.Path) -> bool:
  try:
    head = read_file(path, 512)
  except OSError:  # which reading it will say
    return False
  return not decode.sniff(head) and archive.is_archive(head)
