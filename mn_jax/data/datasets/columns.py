"""Which column of a table of images holds what, named or found by its name."""

import dataclasses
import pathlib
import re

from mn_jax.data.files.table import Table, shown
from mn_jax.errors import InputError

# Names of columns that are found when none is named, in lower case.
_USUAL = {
  "file": frozenset(
    (
      *("path", "file", "filename", "file_name", "filepath", "file_path"),
      *("image", "images", "image_path", "image_file", "image_filename"),
      *("image_name", "image_index", "img", "img_path"),
    )
  ),
  "label": frozenset(
    (
      *("label", "labels", "class", "classes", "class_name", "classname"),
      *("target", "targets", "category", "diagnosis", "dx", "finding_labels"),
    )
  ),
}
# Those that are only pointed out, and what naming them does.
_POINTED_OUT = {
  "group": (
    "keeps what belongs together in one part",
    frozenset(
      (
        *("group", "group_id", "patient", "patient_id", "patientid"),
        *("subject", "subject_id", "person", "person_id", "participant"),
        *("participant_id", "case", "case_id", "study_id", "lesion_id"),
        *("slide", "slide_id", "animal", "animal_id"),
      )
    ),
  ),
  "part": (
    "uses the parts as they are",
    frozenset(("part", "split", "subset", "partition", "set")),
  ),
}


@dataclasses.dataclass(frozen=True)
class Columns:
  """Where a table has what, by names of columns.

  Attributes:
    root: folder or archive that paths are relative to; '': the folder of the
      table.
    file: of paths; '': found by its name.
    label: of labels; several are of 0 and 1; (): found by its name.
    label_separator: between several labels in a cell; '' for one.
    group, part: of groups and parts; '' for none.
    attributes: that are kept.
  """

  root: str = ""
  file: str = ""
  label: tuple[str, ...] = ()
  label_separator: str = ""
  group: str = ""
  part: str = ""
  attributes: tuple[str, ...] = ()

  def root_of(self, path: pathlib.Path) -> pathlib.Path:
    """Returns what the paths in a table are relative to.

    Raises:
      InputError: if it does not exist.
    """
    root = pathlib.Path(self.root).expanduser()
    if not self.root:
      return path.parent
    if not root.exists():
      raise InputError(
        f"data.root: got {self.root!r}, which does not exist; valid: the "
        f"folder or archive of the images in {path.name}"
      )
    return root

  def check_unused(self) -> None:
    """Refuses fields that are of no use where there is no table.

    Raises:
      InputError: naming the first that is set.
    """
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value:
        raise InputError(
          f"data.{field.name}: got {value!r}, and data.path is no table; "
          f"valid: {field.default!r}, or data.path=TABLE (.csv, .tsv, .parquet)"
        )


def find(table: Table, field: str) -> str:
  """Returns the one column of a usual name.

  Args:
    table: whose columns are looked at.
    field: 'file' or 'label'.

  Raises:
    InputError: if there is none, or more than one.
  """
  fit = [name for name in table.names if _key(name) in _USUAL[field]]
  if not fit:
    raise InputError(
      f"data.{field}: got nothing, and no column of {table.path.name} has a "
      f"usual name; valid: one of {shown(table.names)}"
    )
  if len(fit) > 1:
    raise InputError(
      f"data.{field}: got nothing, and {len(fit)} columns of "
      f"{table.path.name} could be it; valid: one of {shown(fit)}"
    )
  return fit[0]


def point_out(table: Table, columns: Columns) -> list[str]:
  """Points out columns that look like groups or parts and are not used."""
  used = {columns.group, columns.part, *columns.attributes, *columns.label}
  return [
    f"the column {name!r} is not used; data.{field}={name} {what}"
    for field, (what, usual) in _POINTED_OUT.items()
    for name in table.names
    if not getattr(columns, field) and name not in used and _key(name) in usual
  ]


def unit(column: str) -> str:
  """Returns what a column of groups holds, as 'patient' of 'Patient ID'."""
  name = _key(re.sub(r"(?<=\w)[ _-]?(ID|Id|(?<=[ _-])id)$", "", column))
  is_word = name.isascii() and name.isalpha() and name != "id"
  return name if is_word else "group"


def _key(name: str) -> str:
  """Returns a name in lower case with single underscores between words."""
  return "_".join(name.lower().replace("-", " ").replace("_", " ").split())
