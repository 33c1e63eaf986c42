"""Checks of an archive's members that are the same for zip and tar."""

import pathlib
import unicodedata

from mn_jax.errors import InputError

MAX_MEMBERS = 5_000_000
MAX_TOTAL_BYTES = 1 << 40
MAX_MEMBER_BYTES = 1 << 28
MAX_NAME_BYTES = 1024
# Photographs hardly deflate at all; text can reach about 20. What is this
# dense is a bomb.
MAX_RATIO = 200
# Below this, blank images and padding may be as dense as they like.
RATIO_FREE_BYTES = 1 << 24


class Members:
  """The members of an archive so far; each is checked when it is added.

  Names are compared without empty and '.' parts. Those that differ by case
  alone are different files, as in the folder that was archived: nothing is
  ever unpacked onto a disk that could confuse them.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._files: set[str] = set()
    self._folders = {""}
    self._total = 0

  def refuse(self, name: str, problem: str) -> InputError:
    """Returns the error that refuses the archive because of one member."""
    shown = name if len(name) <= 100 else f"{name[:80]}..."
    return InputError(f"{self._path}: refused: member {shown!r}: {problem}")

  def add(self, name: str, size: int, *, is_folder: bool) -> str:
    """Checks one more member.

    Args:
      name: as the archive spells it.
      size: bytes when unpacked.
      is_folder: whether it is a folder, which may come more than once.

    Returns:
      The name without empty and '.' parts.

    Raises:
      InputError: if the archive is refused for it.
    """
    if problem := _name_problem(name):
      raise self.refuse(name, problem)
    clean = name
    if "//" in name or "./" in name or name.endswith(("/", "/.")):
      clean = "/".join(p for p in name.split("/") if p not in ("", "."))
    if is_folder:
      if size:
        raise self.refuse(name, "a folder with content")
      self._add_folder(name, clean)
      return clean
    if clean in ("", "."):
      raise self.refuse(name, "an empty name")
    if clean in self._files:
      raise self.refuse(name, "a duplicate name")
    if clean in self._folders:
      raise self.refuse(name, "a file that is also a folder")
    self._add_folder(name, clean.rpartition("/")[0])
    self._files.add(clean)
    self._total += size
    if len(self._files) > MAX_MEMBERS:
      raise self.refuse(name, f"more than {MAX_MEMBERS} members")
    if self._total > MAX_TOTAL_BYTES:
      raise self.refuse(name, f"more than {MAX_TOTAL_BYTES} bytes in all")
    return clean

  def _add_folder(self, name: str, folder: str) -> None:
    while folder not in self._folders:
      if folder in self._files:
        raise self.refuse(name, f"below {folder!r}, which is a file")
      self._folders.add(folder)
      if len(self._folders) > MAX_MEMBERS:
        raise self.refuse(name, f"more than {MAX_MEMBERS} folders")
      folder = folder.rpartition("/")[0]


def too_dense(unpacked: int, packed: int) -> bool:
  """Returns whether unpacking so many bytes from so few is a bomb."""
  return unpacked > MAX_RATIO * packed + RATIO_FREE_BYTES


def check_size(size: int) -> None:
  """Raises an OSError for a file of more bytes than are read at once."""
  if size > MAX_MEMBER_BYTES:
    raise OSError(f"{size} bytes; valid: at most {MAX_MEMBER_BYTES}")


def has_control_character(name: str) -> bool:
  """Returns whether a name would break a line or steer a terminal."""
  if name.isascii() and name.isprintable():
    return False
  kinds = {unicodedata.category(letter) for letter in name}
  return bool(kinds & {"Cc", "Zl", "Zp"})


def _name_problem(name: str) -> str | None:
  parts = name.split("/")
  if not name:
    return "an empty name"
  if "\0" in name or "\\" in name:
    return "a null byte or backslash in its name"
  if has_control_character(name):
    return "a control character in its name"
  if name.startswith("/") or ":" in parts[0]:
    return "an absolute name"
  if ".." in parts:
    return "a name that leaves the archive"
  if len(name.encode(errors="surrogateescape")) > MAX_NAME_BYTES:
    return f"a name of more than {MAX_NAME_BYTES} bytes"
  return None
