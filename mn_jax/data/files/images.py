"""What is an image among the files of a folder or archive: one set of rules.

Files whose suffix is that of an image are images, readable or not; of other
files their first bytes decide. What a system, a program or a run of this
project leaves behind is not looked at.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable

from mn_jax.data import decode
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError, RunError

HIDDEN = "hidden files"
OF_A_RUN = "files of a run of this project"
# Folders of macOS, Windows and network disks; some hold small copies of images.
_OF_SYSTEMS = frozenset(
  {
    "__MACOSX",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
  }
)
# Texts, of which there may be one beside each image, half-written files, and
# copies of others: not opened.
_NO_IMAGE = re.compile(
  r"\.(txt|csv|tsv|jsonl?|xml|ya?ml|md|html|log|py|bak|orig|old|tmp|part"
  r"|crdownload)|~"
)
# Not a number that counts files, or a word of their names.
_SUFFIX = re.compile(r"\.[a-z]{1,6}\d?")
_HEAD_BYTES = 32
_CONFIG_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Found:
  """The images among some files.

  Attributes:
    images: name of each.
    passed_over: (name, what it is, in the plural) of all others.
    notes: what a reader should know of the images, a line each.
  """

  images: list[str]
  passed_over: list[tuple[str, str]]
  notes: tuple[str, ...]


def find(files: Files, suffixes: Iterable[str] | None = None) -> Found:
  """Finds the images among the files of a folder or archive.

  Args:
    files: the folder or archive.
    suffixes: in lower case, of the only files that are images; None: those of
      all formats that are decoded, and files that are such by their content.

  Raises:
    InputError: if the files cannot be listed, or are those of a run.
    RunError: if the system cannot read one of them.
  """
  known = frozenset(decode.SUFFIXES if suffixes is None else suffixes)
  listed = files.names()
  runs = _runs(files, {*listed})
  images, passed_over, by_content = [], [], []
  animations = 0

  @functools.cache
  def skipped_in(folder: str) -> str | None:
    if folder and not split(folder):
      return HIDDEN
    of_a_run = any(f"{folder}/".startswith(f"{run}/") for run in runs)
    return OF_A_RUN if of_a_run else None

  def skipped(name: str) -> str | None:
    folder, _, file = name.rpartition("/")
    return HIDDEN if _is_hidden(file) else skipped_in(folder)

  for name in listed:
    suffix = _suffix(name)
    if what := skipped(name):
      passed_over.append((name, what))
    elif suffix in known:
      images.append(name)
      animations += suffix == ".gif"
    elif suffixes is None and _is_image(files, name, suffix):
      images.append(name)
      by_content.append(name)
    else:
      passed_over.append((name, _kind(suffix)))
  passed_over += ((name, skipped(name) or what) for name, what in files.unread)
  notes = list(files.notes)
  if by_content:
    notes.append(
      "files without the suffix of an image that are read as the images that "
      f"they are: {len(by_content)}, the first {min(by_content)!r}"
    )
  if animations:
    notes.append(f"GIF files, of which the first frame is read: {animations}")
  return Found(images, passed_over, tuple(notes))


def split(name: str) -> list[str]:
  """Splits a name into its words; empty for what is hidden or a system's."""
  words = [word for word in name.split("/") if word not in ("", ".")]
  return [] if any(map(_is_hidden, words)) else words


def count(
  passed_over: Iterable[tuple[str, str]],
) -> tuple[tuple[str, str, int], ...]:
  """Counts (class or '', what it is) as a listing holds it."""
  counted = collections.Counter(passed_over)
  return tuple((*pair, n) for pair, n in sorted(counted.items()))


def summary(kinds: Iterable[str]) -> str:
  """Returns how many files there are of each: '.txt files (2), ...'."""
  counted = collections.Counter(kinds).most_common()
  return ", ".join(f"{what} ({n})" for what, n in counted) or "nothing"


def _is_hidden(word: str) -> bool:
  return word.startswith(".") or word in _OF_SYSTEMS


def _suffix(name: str) -> str:
  """Returns the suffix in lower case, as it is: '.2', '~', '' among them."""
  file = name.rpartition("/")[2].lower()
  return "~" if file.endswith("~") else "".join(file.rpartition(".")[1:])


def _kind(suffix: str) -> str:
  """Returns what a file is by its suffix, of which there may be very many."""
  return f"{suffix} files" if _SUFFIX.fullmatch(suffix) else "other files"


def _is_image(files: Files, name: str, suffix: str) -> bool:
  """Whether a file of another suffix is an image by its first bytes."""
  if _NO_IMAGE.fullmatch(suffix):
    return False
  try:
    kind = decode.sniff(files.read(name, _HEAD_BYTES))
  except OSError as error:
    if error.errno:  # the system's fault, which may pass
      raise RunError(
        f"data.path: {name!r} cannot be read to see whether it is an image "
        f"({error.strerror}); the same command again tries once more"
      ) from None
    return False
  # Raw files of cameras and scanned slides look like TIFF, and their first
  # image is a small or a far too large one.
  return bool(kind) and (kind != "TIFF" or not _SUFFIX.fullmatch(suffix))


def _runs(files: Files, names: set[str]) -> set[str]:
  """Returns the folders that are workdirs of this project's runs."""
  runs = set()
  for name in names:
    folder, _, file = name.rpartition("/")
    if file != "config.json":
      continue
    above = folder and f"{folder}/"
    if f"{above}split.json" in names or f"{above}metrics.jsonl" in names:
      try:
        if b'"result_fields"' in files.read(name, _CONFIG_BYTES):
          runs.add(folder)
      except OSError:
        continue
  if "" in runs:
    raise InputError(
      "data.path: got a folder that is the workdir of a run (it has its "
      "config.json); valid: a folder of images, without a run's files"
    )
  return runs
