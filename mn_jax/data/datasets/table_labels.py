"""Labels in the cells of a table: one class, or several labels, of an image."""

import itertools
import math

from mn_jax.data.files import members
from mn_jax.data.files.table import Table, shown, without_value
from mn_jax.errors import InputError

_YES_NO = {
  **dict.fromkeys(("1", "1.0", "true"), 1),
  **dict.fromkeys(("0", "0.0", "false"), 0),
}
Labels = list[int] | list[tuple[int, ...]]


def read(
  table: Table,
  columns: tuple[str, ...],
  separator: str,
  classes: tuple[str, ...],
) -> tuple[tuple[str, ...], Labels]:
  """Reads the labels of all images.

  Args:
    table: whose rows are the images.
    columns: of the labels; of several each is a label, with cells of 0 and 1.
    separator: between several labels in a cell; '' for one.
    classes: names in the order of the labels, of which some may have no image;
      empty: the columns, or the labels that there are, sorted, numbers by
      value.

  Returns:
    The classes, and for each image its class index, or 0 or 1 for each class
    where it may have several.

  Raises:
    InputError: for a cell that is empty, no 0 or 1, or none of the classes that
      are given; for fewer than two classes.
  """
  if len(columns) > 1:
    if separator:
      raise InputError(
        f"data.label_separator: got {separator!r} with {len(columns)} columns "
        "in data.label; valid: '', or one column"
      )
    return _of_columns(table, columns, classes)
  (column,) = columns
  cells = table.column(column, "label")
  several = [
    [word for part in cell.split(separator) if (word := part.strip())]
    if separator
    else [cell]
    for cell in cells
  ]
  for row, words in enumerate(several):
    for word in words:
      if not word or members.has_control_character(word):
        raise table.refuse(row, f"the label {word!r}", "text, one line of it")
      if classes and word not in classes:
        raise table.refuse(
          row, f"the label {word!r}", f"the classes {shown(classes)}"
        )
  classes = classes or _sorted({word for words in several for word in words})
  if len(classes) < 2:
    raise InputError(
      f"data.label: got the column {column!r} with {len(classes)} labels; "
      "valid: two or more"
    )
  index = {name: i for i, name in enumerate(classes)}
  if not separator:
    return classes, [index[word] for (word,) in several]
  return classes, [
    tuple(int(name in words) for name in classes) for words in several
  ]


def _of_columns(
  table: Table, columns: tuple[str, ...], classes: tuple[str, ...]
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
  """Reads columns of 0 and 1, each of which is a label."""
  if len({*columns}) < len(columns):
    raise InputError(f"data.label: got {columns!r}; valid: each column once")
  if classes and {*classes} != {*columns}:
    raise InputError(
      f"data.label: got {shown(columns)}; valid: the labels {shown(classes)}"
    )
  values = []
  for column in classes or columns:
    cells = table.column(column, "label")
    for row, cell in enumerate(cells):
      if cell.lower() not in _YES_NO:
        raise table.refuse(row, f"{cell!r} in the column {column!r}", "0 or 1")
    values.append([_YES_NO[cell.lower()] for cell in cells])
  return classes or columns, [*zip(*values, strict=True)]


def _sorted(names: set[str]) -> tuple[str, ...]:
  """Sorts labels: numbers by value, others by letters."""
  try:
    value = {name: float(name) for name in names}
  except ValueError:
    return tuple(sorted(names))
  if not all(map(math.isfinite, value.values())):
    return tuple(sorted(names))
  ordered = tuple(sorted(names, key=lambda name: (value[name], name)))
  for one, other in itertools.pairwise(ordered):
    if value[one] == value[other]:
      raise InputError(
        f"data.label: got {one!r} and {other!r}, which are one number; valid: "
        "one spelling of each class"
      )
  return ordered


def notes(classes: tuple[str, ...], labels: Labels) -> list[str]:
  """Points out labels that exclude each other, or look like missing ones."""
  found = []
  if isinstance(labels[0], tuple) and all(sum(row) == 1 for row in labels):
    found.append(
      f"every image has exactly one of the {len(classes)} labels: if they "
      "exclude each other, they are the classes of one column"
    )
  if odd := without_value(classes):
    found.append(
      f"labels that look as if a value were missing, and are classes like "
      f"others: {shown(odd)}"
    )
  return found
