"""The layout of many data sets: `.../<class>/<file>`, one folder per class.

What lies above the class folders does not matter, so an archive, its unpacked
folder and a part of it read alike. An image is its own group: names of classes
and files say nothing of what belongs together.
"""

import numpy as np

from mn_jax.data.archive import Files
from mn_jax.data.listing import Listing
from mn_jax.errors import InputError

# Of the formats that `decode` reads.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def list_images(
  files: Files,
  classes: tuple[str, ...],
  *,
  suffixes: tuple[str, ...] = SUFFIXES,
) -> Listing:
  """Lists the images of a folder or archive, in order of class and name.

  An image is named `<class>/<file>`. Hidden files and folders, `__MACOSX`,
  other suffixes and images that are in no class folder are passed over.

  Args:
    files: the folder or archive.
    classes: names of the class folders in the order of the labels.
    suffixes: of images, in lower case.

  Raises:
    InputError: if nothing fits, a class has no image, a folder that is no
      class lies among the class folders and holds images, two images have one
      name, or a name cannot be printed.
  """
  label_of = {name: label for label, name in enumerate(classes)}
  rows = []
  found: dict[str, str] = {}
  # The folders with images, as (what is above, its own name).
  folders: set[tuple[str, str]] = set()
  count = 0
  for path, size in files.names():
    count += 1
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or _is_hidden(parts):
      continue
    if not parts[-1].lower().endswith(suffixes):
      continue
    above, folder = "/".join(parts[:-2]), "/".join(parts[-2:-1])
    folders.add((above, folder))
    if folder not in label_of:
      continue
    name = f"{folder}/{parts[-1]}"
    if not name.isprintable():  # a fingerprint and a message are lines of text
      raise InputError(
        f"data.path: got a file named {path!r}; valid: names of printable "
        "characters"
      )
    if name in found:
      first, second = sorted((found[name], path))
      raise InputError(
        f"data.path: {name} is there twice, {first!r} and {second!r}; valid: "
        "one copy of the data set"
      )
    found[name] = path
    rows.append((label_of[folder], name, path, size))
  _check_folders(folders, classes, count)
  rows.sort()
  labels, names, paths, sizes = zip(*rows, strict=True)
  return Listing(
    paths=list(paths),
    names=np.array(names),
    sizes=np.array(sizes, np.int64),
    labels=np.array(labels, np.int32),
    groups=np.array(names),
    positions=np.zeros((len(rows), 2), np.int32),
  )


def _is_hidden(parts: list[str]) -> bool:
  """Whether a path is what systems leave behind, not what people put there."""
  return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _check_folders(
  folders: set[tuple[str, str]], classes: tuple[str, ...], count: int
) -> None:
  """Refuses folders that are not those of the classes.

  Args:
    folders: (what is above, its own name) of every folder with images.
    classes: the known ones.
    count: of all files, for the message.
  """
  valid = ", ".join(classes)
  known = {name for _, name in folders}.intersection(classes)
  if not known:
    raise InputError(
      f"data.path: no image in a folder named after a class among {count} "
      f"files; valid: CLASS/FILE with the classes {valid}"
    )
  roots = {above for above, name in folders if name in known}
  foreign = sorted(
    name for above, name in folders if above in roots and name not in classes
  )
  # Images right above the class folders are in no folder of their own.
  foreign = [name for name in foreign if name]
  if foreign:
    raise InputError(
      f"data.path: {foreign[0]!r} lies among the class folders and holds "
      f"images; valid: only {valid}"
    )
  missing = [name for name in classes if name not in known]
  if missing:
    raise InputError(
      f"data.path: no image of the class {', '.join(missing)}; valid: at least "
      f"one in each of {valid}"
    )
