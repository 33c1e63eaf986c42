"""Lists images in one folder per class, `.../<class>/<file>`.

What lies above the class folders does not matter, so an archive, its unpacked
folder and a part of it read alike. Folders of parts lie right above those of
classes: `.../<part>/<class>/<file>`. Which images belong together only the
names of files can tell, if anything: the file of a data set says how.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NoReturn

from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import ImageFiles, of_files
from mn_jax.data.files import images
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError


def list_images(
  files: Files,
  classes: tuple[str, ...],
  *,
  folders: tuple[str, ...] | None = None,
  parts: Mapping[str, str] | None = None,
  name: Callable[[str], str] | None = None,
  group: Callable[[str], str] | None = None,
  position: Callable[[str], tuple[int, int]] | None = None,
  suffixes: tuple[str, ...] | None = None,
  copies: bool = False,
) -> Listing:
  """Lists the images of a folder or archive, in order of class and name.

  An image is named `<class folder>/<file>`, below the folder of its part if
  there are parts. What `images.find` passes over and images that are in no
  class folder are counted by class and kind.

  Args:
    files: the folder or archive.
    classes: class names in the order of the labels.
    folders: names of their folders, if they differ.
    parts: part of each folder right above the class folders; images below none
      of these folders are skipped. None: there are no parts.
    name: returns the published name of an image whose suffix may be another;
      None: they are the same.
    group: returns the group of a file by its name; None: each image is a group.
    position: returns x and y in pixels of a file by its name; None: unknown.
    suffixes: of images, in lower case; None: as `images.find` tells them.
    copies: whether the data set is known to hold nested copies of itself, of
      which the one nearest the root is listed.

  Raises:
    InputError: if nothing fits, a class has no image, a folder that is no
      class lies among the class folders and holds images, or two images have
      one name.
  """
  folders = classes if folders is None else folders
  label_of = {folder: label for label, folder in enumerate(folders)}
  files_by_name: dict[str, tuple] = {}  # (depth, path, label, part)
  image_folders: set[tuple[str, str]] = set()  # (path above, name)
  found = images.find(files, suffixes)
  passed_over = []
  for path, what in found.passed_over:
    label = label_of.get("".join(path.split("/")[-2:-1]))
    passed_over.append(("" if label is None else classes[label], what))
  for path in found.images:
    words = images.split(path)
    above, folder = words[:-2], "".join(words[-2:-1])
    in_part = parts is None or (above and above[-1] in parts)
    if in_part:
      image_folders.add(("/".join(above), folder))
    if not in_part or folder not in label_of:
      passed_over.append(("", "images in no class folder"))
      continue
    part = "" if parts is None else parts[above[-1]]
    listed = "/".join(words[-2 if parts is None else -3 :])
    listed = listed if name is None else name(listed)
    file = (len(words), path, label_of[folder], part)
    if listed in files_by_name:
      if not copies:
        _refuse_twice(listed, files_by_name[listed][1], path)
      passed_over.append((classes[label_of[folder]], "second copies of images"))
    files_by_name[listed] = min(files_by_name.get(listed, file), file)
  count = len(found.images) + len(found.passed_over)
  _check_folders(image_folders, folders, count)
  rows = []
  for listed, (_, path, label, part) in files_by_name.items():
    file = listed.rpartition("/")[2]
    group_id = listed if group is None else group(file)
    x, y = (0, 0) if position is None else position(file)
    stamp = files.stamp(path)
    rows.append((label, listed, path, stamp, group_id, part, x, y))
  return Listing.of_rows(
    classes,
    sorted(rows),
    passed_over=images.count(passed_over),
    notes=found.notes,
  )


def opener(
  classes: tuple[str, ...], **options
) -> Callable[[Files], ImageFiles]:
  """Returns the function that opens such a data set, for `SPEC.open`.

  Args:
    classes: class names in the order of the labels.
    **options: of `list_images`.
  """
  return of_files(functools.partial(list_images, classes=classes, **options))


def _refuse_twice(name: str, *paths: str) -> NoReturn:
  first, second = sorted(paths)
  raise InputError(
    f"data.path: {name!r} is there twice, {first!r} and {second!r}; valid: one "
    "copy of the data set"
  )


def _check_folders(
  image_folders: set[tuple[str, str]], folders: tuple[str, ...], count: int
) -> None:
  """Refuses missing class folders, and others with images beside them."""
  valid = ", ".join(folders)
  present = {name for _, name in image_folders}.intersection(folders)
  if not present:
    raise InputError(
      f"data.path: no image in a folder named after a class among {count} "
      f"files; valid: CLASS/FILE with the classes {valid}"
    )
  roots = {above for above, name in image_folders if name in present}
  # A folder without a name holds images right above the class folders.
  foreign = sorted(
    name
    for above, name in image_folders
    if above in roots and name and name not in folders
  )
  if foreign:
    raise InputError(
      f"data.path: {foreign[0]!r} lies among the class folders and holds "
      f"images; valid: only {valid}"
    )
  missing = [name for name in folders if name not in present]
  if missing:
    raise InputError(
      f"data.path: no image of the class {', '.join(missing)}; valid: at least "
      f"one in each of {valid}"
    )
