"""The layout of many data sets: `.../<class>/<file>`, one folder per class.

What lies above the class folders does not matter, so an archive, its unpacked
folder and a part of it read alike; where there are folders for parts, they lie
right above: `.../<part>/<class>/<file>`. Which images belong together only the
names of files can tell, if anything: that is for the data set to say.
"""

from collections.abc import Callable, Mapping

import numpy as np

from mn_jax.data.datasets.listing import Listing
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError

# Of the formats that `decode` reads.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def list_images(
  files: Files,
  classes: tuple[str, ...],
  *,
  folders: tuple[str, ...] | None = None,
  parts: Mapping[str, str] | None = None,
  group: Callable[[str], str] | None = None,
  position: Callable[[str], tuple[int, int]] | None = None,
  suffixes: tuple[str, ...] = SUFFIXES,
  copies: bool = False,
) -> Listing:
  """Lists the images of a folder or archive, in order of class and name.

  An image is named `<class folder>/<file>`, with its part's folder in front
  where there are such. Hidden files and folders, `__MACOSX`, other suffixes
  and images that are in no class folder are passed over.

  Args:
    files: the folder or archive.
    classes: class names in the order of the labels.
    folders: names of their folders, if they differ.
    parts: folder right above the class folders -> publisher's part; images
      that lie below none of them are passed over. None: there are no such.
    group: name of a file -> what it belongs to; None: each image is its own.
    position: name of a file -> x and y in pixels; None: unknown.
    suffixes: of images, in lower case.
    copies: whether the data set is known to hold nested copies of itself, of
      which that nearest the root is taken.

  Raises:
    InputError: if nothing fits, a class has no image, a folder that is no
      class lies among the class folders and holds images, two images have one
      name, or a name cannot be printed.
  """
  folders = classes if folders is None else folders
  label_of = {folder: label for label, folder in enumerate(folders)}
  found: dict[str, tuple] = {}  # name -> (depth, path, size, label, part)
  # The folders with images, as (what is above, its own name).
  holders: set[tuple[str, str]] = set()
  count = 0
  for path, size in files.names():
    count += 1
    words = split_path(path)
    if not words or not words[-1].lower().endswith(suffixes):
      continue
    above, folder = words[:-2], "".join(words[-2:-1])
    if parts is not None and (not above or above[-1] not in parts):
      continue
    holders.add(("/".join(above), folder))
    if folder not in label_of:
      continue
    part = "" if parts is None else parts[above[-1]]
    name = "/".join(words[-2 if parts is None else -3 :])
    if not name.isprintable():  # a fingerprint and a message are lines of text
      raise InputError(
        f"data.path: got a file named {path!r}; valid: names of printable "
        "characters"
      )
    row = (len(words), path, size, label_of[folder], part)
    if name in found and not copies:
      first, second = sorted((found[name][1], path))
      raise InputError(
        f"data.path: {name} is there twice, {first!r} and {second!r}; valid: "
        "one copy of the data set"
      )
    found[name] = min(found.get(name, row), row)
  _check_folders(holders, folders, count)
  rows = sorted((row[3], name, *row[1:]) for name, row in found.items())
  labels, names, paths, sizes, _, given = zip(*rows, strict=True)
  plain = [name.rpartition("/")[2] for name in names]
  positions = np.zeros((len(rows), 2), np.int32)
  if position is not None:
    positions = np.array([position(file) for file in plain], np.int32)
  return Listing(
    classes=classes,
    paths=list(paths),
    names=np.array(names),
    stamps=np.array(sizes, np.int64),
    labels=np.array(labels, np.int32),
    groups=np.array(names if group is None else [group(f) for f in plain]),
    parts=np.array(given),
    positions=positions,
  )


def split_path(path: str) -> list[str]:
  """The words of a path; none for what systems leave behind, not people."""
  words = [word for word in path.split("/") if word not in ("", ".")]
  hidden = any(word.startswith(".") or word == "__MACOSX" for word in words)
  return [] if hidden else words


def _check_folders(
  holders: set[tuple[str, str]], folders: tuple[str, ...], count: int
) -> None:
  """Refuses folders that are not those of the classes.

  Args:
    holders: (what is above, its own name) of every folder with images.
    folders: the known ones.
    count: of all files, for the message.
  """
  valid = ", ".join(folders)
  known = {name for _, name in holders}.intersection(folders)
  if not known:
    raise InputError(
      f"data.path: no image in a folder named after a class among {count} "
      f"files; valid: CLASS/FILE with the classes {valid}"
    )
  roots = {above for above, name in holders if name in known}
  foreign = sorted(
    name for above, name in holders if above in roots and name not in folders
  )
  # Images right above the class folders are in no folder of their own.
  foreign = [name for name in foreign if name]
  if foreign:
    raise InputError(
      f"data.path: {foreign[0]!r} lies among the class folders and holds "
      f"images; valid: only {valid}"
    )
  missing = [name for name in folders if name not in known]
  if missing:
    raise InputError(
      f"data.path: no image of the class {', '.join(missing)}; valid: at least "
      f"one in each of {valid}"
    )
