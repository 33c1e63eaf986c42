"""Images of the user: `<class>/<file>`, or `<part>/<class>/<file>`.

Classes are named after the folders at the top, below those that hold all the
others. The images are in parts if the folders at the top are called train, val
or test (or a usual synonym); such data is split as it lies there. Folders
inside that of a class are groups: its patients, say. Where these have folders
again, the outer ones are the groups: all studies of a patient stay together.
"""

import collections
import functools

from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import of_files
from mn_jax.data.datasets.spec import DatasetSpec
from mn_jax.data.files import images
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError

PARTS = {
  "train": "train",
  "training": "train",
  "val": "val",
  "valid": "val",
  "validation": "val",
  "test": "test",
  "testing": "test",
}
_SHOWN = 5  # names in a note


def list_images(files: Files, classes: tuple[str, ...] = ()) -> Listing:
  """Lists the images of a folder or archive, in order of class and name.

  Args:
    files: the folder or archive.
    classes: names in the order of the labels, of which some may have no folder
      or image; empty: all folders, sorted, of which none may be without.

  Raises:
    InputError: if there are fewer than two classes, one or a part has no image,
      or a folder is none of the classes that are given; if images lie outside
      the classes, or two folders are the same part; and see `images.find`.
  """
  found = images.find(files)
  folders = {_folder(path) for path in found.images}
  # Those without an image count as well: one may be a class.
  bare = {
    _folder(path)
    for path, what in found.passed_over
    if what not in (images.HIDDEN, images.OF_A_RUN)
  } - folders
  top = _top(folders, bare, {*classes})
  parts = _parts(folders, top)
  depth = top + (parts is not None)
  named = tuple(sorted({f[depth] for f in folders if len(f) > depth}))
  _check_places(folders, named, depth)
  if classes:
    _check_known(named, classes, found)
  else:
    classes = named
    _check_parts(bare, parts, top, found)
    _check_all(bare, classes, depth, found)
  label_of = {name: label for label, name in enumerate(classes)}
  end = depth + _group_length(folders, depth)
  rows = []
  for path in found.images:
    folder = _folder(path)
    name = "/".join((*folder[top:], path.rpartition("/")[2]))
    group = "/".join(folder[depth:end]) if len(folder) > depth + 1 else name
    part = "" if parts is None else parts[folder[top]]
    label, stamp = label_of[folder[depth]], files.stamp(path)
    rows.append((label, name, path, stamp, group, part, 0, 0))
  passed_over = [
    (
      name
      if (name := "".join(_folder(path)[depth : depth + 1])) in label_of
      else "",
      what,
    )
    for path, what in found.passed_over
  ]
  return Listing.of_rows(
    classes,
    sorted(rows),
    passed_over=images.count(passed_over),
    notes=(*found.notes, *_group_notes(folders, top, depth, end)),
  )


def _folder(path: str) -> tuple[str, ...]:
  """Returns the names of the folders that a file is in, from the top."""
  return _words(path.rpartition("/")[0])


@functools.lru_cache(1024)
def _words(folder: str) -> tuple[str, ...]:
  return tuple(word for word in folder.split("/") if word not in ("", "."))


def _top(folders: set[tuple], bare: set[tuple], classes: set[str]) -> int:
  """Returns how many folders hold all others, each inside the one before.

  Args:
    folders: those that images are in.
    bare: those that only other files are in.
    classes: names of classes that are known.
  """
  top = 0
  while True:
    names = {f[top] for f in folders | bare if len(f) > top}
    # Images are in one: it is a class. One that is called a part is one.
    if len(names) != 1 or min(map(len, folders), default=0) < top + 2:
      return top
    name = names.pop()
    if name.lower() in PARTS or name in classes:
      return top
    top += 1


def _parts(folders: set[tuple], top: int) -> dict[str, str] | None:
  """Returns the part of each folder at the top; None where they are classes."""
  names = {folder[top] for folder in folders if len(folder) > top}
  flat = {folder[top] for folder in folders if len(folder) == top + 1}
  called = {name for name in names if name.lower() in PARTS}
  if not called - flat:
    if called and called == names:
      raise InputError(
        f"data.path: got images right in {', '.join(sorted(called))}; valid: "
        "PART/CLASS/FILE, or classes of other names"
      )
    return None
  if called != names or flat:
    raise InputError(
      f"data.path: got the folders {', '.join(sorted(map(repr, names)))}, of "
      "which some are parts and others not, or with images right in them; "
      "valid: all CLASS/FILE, or all PART/CLASS/FILE with the parts train, val "
      "and test"
    )
  parts = {name: PARTS[name.lower()] for name in called}
  if len(set(parts.values())) < len(parts):
    raise InputError(
      f"data.path: got the folders {', '.join(sorted(parts))}, of which two "
      "are the same part; valid: one folder each of train, val and test"
    )
  return parts


def _check_places(
  folders: set[tuple], classes: tuple[str, ...], depth: int
) -> None:
  """Refuses images outside the classes."""
  outside = sorted("/".join(f) for f in folders if len(f) <= depth)
  if classes and outside:
    raise InputError(
      f"data.path: got images in {outside[0] or 'the top folder'!r}, beside "
      f"the folder {classes[0]!r}; valid: all CLASS/FILE, or all "
      "PART/CLASS/FILE with the parts train, val and test"
    )


def _check_known(
  named: tuple[str, ...], classes: tuple[str, ...], found: images.Found
) -> None:
  """Refuses folders that are none of the classes, or no image at all."""
  unknown = [name for name in named if name not in classes]
  if unknown or not named:
    held = images.summary(what for _, what in found.passed_over)
    got = f"the folder {unknown[0]!r}" if unknown else f"no image, but {held}"
    raise InputError(
      f"data.path: got {got}; valid: folders named after the "
      f"classes {', '.join(classes)}"
    )


def _summary(found: images.Found, depth: int, name: str) -> str:
  """Says what was passed over below the folders of a name at a depth."""
  return images.summary(
    what
    for path, what in found.passed_over
    if _folder(path)[depth : depth + 1] == (name,)
  )


def _check_parts(
  bare: set[tuple], parts: dict[str, str] | None, top: int, found: images.Found
) -> None:
  """Refuses parts without an image, as others would be drawn for them."""
  if parts is None:
    return
  without = {f[top] for f in bare if len(f) > top + 1} - {*parts}
  for name in sorted(without):
    if PARTS.get(name.lower()) not in {None, *parts.values()}:
      held = _summary(found, top, name)
      raise InputError(
        f"data.path: the part {name!r} has no image that can be read ({held}); "
        "valid: at least one in each part, and other folders elsewhere"
      )


def _check_all(
  bare: set[tuple],
  classes: tuple[str, ...],
  depth: int,
  found: images.Found,
) -> None:
  """Refuses classes without an image."""
  without = {f[depth] for f in bare if len(f) > depth} - {*classes}
  if classes and without:
    name = min(without)
    held = _summary(found, depth, name)
    raise InputError(
      f"data.path: the folder {name!r} has no image that can be read ({held}); "
      "valid: at least one in the folder of each class, and other folders "
      "elsewhere"
    )
  if len(classes) < 2:
    held = images.summary(what for _, what in found.passed_over)
    outside = "" if classes else f", {len(found.images)} images in no folder"
    folders = "1 folder" if classes else "0 folders"
    raise InputError(
      f"data.path: got {folders} of images{outside}, and passed "
      f"over {held}; valid: one folder for each of two or more classes, or a "
      "table (.csv) of images and labels"
    )


def _group_length(folders: set[tuple], depth: int) -> int:
  """Returns how many folders, from that of the class on, name a group.

  The outermost that can be patients: of which a class has enough for all parts
  of a split, or else more than one. None is inside a folder with images.
  """
  deep = {folder[depth:] for folder in folders if len(folder) > depth + 1}
  for least in (len({*PARTS.values()}), 2):
    for length in range(2, min(map(len, deep), default=0) + 1):
      groups = {folder[:length] for folder in deep}
      if max(collections.Counter(g[0] for g in groups).values()) >= least:
        return length
  return 2


def _group_notes(
  folders: set[tuple], top: int, depth: int, end: int
) -> list[str]:
  """Returns what to know of folders inside those of the classes.

  Args:
    folders: all that images are in.
    top, depth: where parts, if there are any, and classes are among these.
    end: where the folders end that name a group.
  """
  deep = sorted({f[depth:end] for f in folders if len(f) > depth + 1})
  if not deep:
    return []
  notes = [
    f"folders inside those of the classes, which are groups: {len(deep)}, the "
    f"first {'/'.join(deep[0])!r}; data.split=grouped keeps each in one part, "
    "and data.group_pattern finds others"
  ]
  inner = {f[depth:] for f in folders if len(f) > end}
  if inner:
    notes.append(
      f"folders inside those of groups, which stay together: {len(inner)}, the "
      f"first {'/'.join(min(inner))!r}; if each is a group of its own, "
      f"data.group_pattern='^((?:[^/]+/){{{end - top}}}[^/]+)/' says so"
    )
  inside = collections.Counter(name for _, name in {f[:2] for f in deep})
  alike = sorted(n for n in inside if inside[n] > 1 or n.lower() in PARTS)
  if alike:
    shown = ", ".join(map(repr, alike[:_SHOWN]))
    # Names start with the folder at the top: of a part, or of a class.
    above = "[^/]+/" * (depth - top + 1)
    notes.append(
      f"folders of one name inside several classes, or called like parts: "
      f"{len(alike)}, {shown}; they are groups of each class, and neither "
      f"classes nor parts; data.group_pattern='^{above}([^/]+)/' makes each "
      "name one group"
    )
  return notes


SPEC = DatasetSpec(
  title="Your own images in a folder for each class, or listed in a table",
  classes=(),
  image_size=224,
  origin="the user",
  licence="the user's to know",
  open=of_files(list_images),
  images=0,
  split="auto",
  other_sizes="crop",
  tables=True,
  page="your own disk",
)
