"""Images of the user in a table: a row each, with its path and label.

Paths are relative to a folder or archive. Labels are one class in a cell, or
several labels: in a cell, separated by some character, or in columns of 0 and
1. Further columns may hold a group, a part, and attributes that are kept.
"""

import functools
import pathlib
import posixpath
import unicodedata

from mn_jax.data import decode
from mn_jax.data.datasets import table_labels
from mn_jax.data.datasets.columns import Columns, find, point_out
from mn_jax.data.datasets.image_folder import PARTS
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import ImageFiles, of_files
from mn_jax.data.files import images, members
from mn_jax.data.files.archive import Files
from mn_jax.data.files.table import Table, shown, without_value
from mn_jax.errors import InputError


def open_source(
  files: Files,
  table: Table,
  columns: Columns,
  root: pathlib.Path,
  classes: tuple[str, ...],
) -> ImageFiles:
  """Opens the images of a table; see `list_images`."""
  return of_files(list_images)(
    files, table=table, columns=columns, root=root, classes=classes
  )


def list_images(
  files: Files,
  table: Table,
  columns: Columns,
  root: pathlib.Path,
  classes: tuple[str, ...] = (),
) -> Listing:
  """Lists the images of a table, in the order of its rows.

  An image is named by its path below the root, with slashes.

  Args:
    files: of the root.
    table: has a row for each image.
    columns: what its columns hold.
    root: the folder or archive of `files`.
    classes: names in the order of the labels, of which some may have no image;
      empty: as the table has them, sorted, numbers by value.

  Raises:
    InputError: naming the row, for a path that is empty, leaves the root, is
      no file there, or is in two rows; for a label that is empty, or none of
      the classes that are given; for an unknown part; for a column that is
      missing; for fewer than two classes.
  """
  notes = [*files.notes, *table.notes]
  file = columns.file or find(table, "file")
  label = columns.label or (find(table, "label"),)
  if not (columns.file and columns.label):
    notes.append(
      f"images are in the column {file!r} and labels in {shown(label)} of "
      f"{table.path.name}; data.file and data.label name others"
    )
  names = _paths(files, table, file, root)
  classes, labels = table_labels.read(
    table, label, columns.label_separator, classes
  )
  notes += table_labels.notes(classes, labels)
  groups = names
  if columns.group:
    groups, more = _groups(table, columns.group, names)
    notes += more
  notes += point_out(table, columns)
  rows = [
    (label, name, name, files.stamp(name), group, part, 0, 0)
    for label, name, group, part in zip(
      labels, names, groups, _parts(table, columns.part), strict=True
    )
  ]
  found = images.find(files, decode.SUFFIXES).images
  unlisted = len({*found}.difference(names))
  return Listing.of_rows(
    classes,
    rows,
    passed_over=[("", "images that are not in the table", unlisted)]
    if unlisted
    else (),
    notes=notes,
    attributes={n: table.column(n, "attributes") for n in columns.attributes},
  )


def _paths(
  files: Files, table: Table, column: str, root: pathlib.Path
) -> list[str]:
  """Returns the path of every image below the root, as it is listed there."""
  there = frozenset(files.names())
  row_of_name: dict[str, int] = {}
  missing = []
  for row, cell in enumerate(table.column(column, "file")):
    name = _below(cell, root)
    if name not in there and not name.isascii():
      name = _composed(there).get(unicodedata.normalize("NFC", name), name)
    if not name:
      raise table.refuse(
        row, f"the path {cell!r}", f"a path inside {root} (data.root)"
      )
    if name in row_of_name:
      raise table.refuse(
        row,
        f"{name!r} again, which is in {table.place(row_of_name[name])}",
        "one row for each image",
      )
    row_of_name[name] = row
    if name not in there:
      missing.append(name)
  if missing:
    first = missing[0]
    raise table.refuse(
      row_of_name[first],
      f"{first!r}, which is not among the {len(there):,} files in {root} "
      f"({len(missing):,} of {len(table):,} paths are not)",
      f"files that are there{_hint(first, files, there)}",
    )
  return [*row_of_name]


@functools.lru_cache(1)
def _composed(names: frozenset[str]) -> dict[str, str]:
  """Returns names by themselves with letters and accents composed.

  Some systems take these apart: the same name has other bytes then.
  """
  return {unicodedata.normalize("NFC", name): name for name in names}


def _below(cell: str, root: pathlib.Path) -> str:
  """Returns a path below the root without '.' and '..'; '' if it is outside."""
  if cell.startswith("/"):
    absolute = posixpath.normpath(cell)
    for folder in (root.absolute(), root.resolve()):
      above = f"{folder.as_posix().rstrip('/')}/"
      if root.is_dir() and absolute.startswith(above):
        return absolute.removeprefix(above)
    return ""
  name = posixpath.normpath(cell) if cell else ""
  return "" if name in (".", "..") or name.startswith("../") else name


def _hint(name: str, files: Files, there: frozenset[str]) -> str:
  """Returns what may have been meant by a file that is not there."""
  unread = dict(files.unread).get(name)
  if unread:
    return f"; among them are {unread}, which are not read"
  if name.replace("\\", "/") in there:
    return ", with slashes instead of backslashes"
  file = name.rpartition("/")[2]
  alike = (
    other
    for other in there
    if file in (other.rpartition("/")[2], pathlib.PurePosixPath(other).stem)
  )
  other = min(alike, default=None)
  return "" if other is None else f", such as {other!r}"


def _groups(
  table: Table, column: str, names: list[str]
) -> tuple[list[str], list[str]]:
  """Returns groups, an image's own name where none is told, and notes."""
  cells = table.column(column, "group")
  for row, cell in enumerate(cells):
    if members.has_control_character(cell):
      raise table.refuse(row, f"the group {cell!r}", "text, one line of it")
  empty = [row for row, cell in enumerate(cells) if not cell]
  if len(empty) == len(cells):
    raise InputError(
      f"data.group: got {column!r}, whose cells are empty; valid: a column of "
      "groups"
    )
  notes = []
  if empty:
    notes.append(
      f"the column {column!r} is empty for {len(empty):,} images, the first "
      f"{names[empty[0]]!r}: each is a group of its own"
    )
  if odd := without_value(cells):
    notes.append(
      f"the column {column!r} has cells that look as if a value were missing, "
      f"and are groups like others: {shown(odd)}"
    )
  groups = [cell or name for cell, name in zip(cells, names, strict=True)]
  return groups, notes


def _parts(table: Table, column: str) -> list[str]:
  """Returns the part of each image, '' where there is none."""
  if not column:
    return [""] * len(table)
  parts = []
  for row, cell in enumerate(table.column(column, "part")):
    if cell and cell.lower() not in PARTS:
      raise table.refuse(
        row, f"the part {cell!r}", f"{', '.join(PARTS)}, or nothing"
      )
    parts.append(PARTS.get(cell.lower(), ""))
  return parts
