"""Reads new labelled images by the rules of a run."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from mn_jax.config import checks
from mn_jax.config.sections.data import DataConfig
from mn_jax.data.datasets import registry
from mn_jax.data.datasets.columns import Columns
from mn_jax.data.files import table
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.run import split_data
from mn_jax.run.reopen import SavedRun
from mn_jax.run.split_data import SplitData

# Fields of the data that new images may have otherwise than those of the run.
FIELDS = (
  *("name", "root", "file", "label", "label_separator", "group"),
  *("group_pattern", "attributes", "positive", "max_unreadable", "cache_dir"),
)

# Fields of `data` that decide the pixels of new images.
READING = (
  *("image_size", "other_sizes", "crop_share", "bits"),
  *("stain_normalisation", "context"),
)


class Reader:
  """Reads the same new images by the rules of one run after the other."""

  def __init__(
    self, path: str | pathlib.Path, changes: Mapping[str, Any], console: Console
  ):
    """Reads nothing yet.

    Args:
      path: folder, archive or table of the images.
      changes: field of `data`, of FIELDS -> value.
      console: shows progress.
    """
    self._path, self._changes, self._console = path, changes, console
    self._read: dict[tuple, SplitData] = {}

  def __call__(self, run: SavedRun) -> SplitData:
    """Returns the images as a run reads them, decoded once for each rule.

    They are one part called 'new'; the classes are those of the run.

    Raises:
      InputError: for images or a table that cannot be used, an image of another
        class, or rules by which other images are left out than by those of the
        run before.
    """
    rule = reading(run)
    if rule not in self._read:
      data = self._load(run)
      if data.multi_label != run.multi_label:
        found = ("one class", "several labels")
        raise InputError(
          f"--data: got images of {found[data.multi_label]} each for a run of "
          f"{found[run.multi_label]}; valid, by data.label and "
          f"data.label_separator: images of {found[run.multi_label]}"
        )
      for other in self._read.values():
        if data.cache.names.tolist() != other.cache.names.tolist():
          raise InputError(
            "--workdir: got runs that leave out other images of these "
            "(data.other_sizes); valid: runs of one rule"
          )
      self._read[rule] = data
    return self._read[rule]

  def _load(self, run: SavedRun) -> SplitData:
    section = section_of(run, self._path, self._changes)
    try:
      with self._console.counting("decoding", "images") as progress:
        return split_data.load_all(section, run.classes, progress)
    except InputError as error:
      of_layout = str(error).startswith("data.path: ")
      if section.name == "image_folder" or not of_layout:
        raise
      raise InputError(
        f"{error}; or, if they do not lie as those of {section.name!r} do, "
        "data.name=image_folder: a folder for each class"
      ) from None


def reading(run: SavedRun) -> tuple[tuple[str, int | float | str], ...]:
  """Returns what decides the pixels a run sees of new images.

  Returns:
    ('data.FIELD', value) for each of `READING`.
  """
  section = run.config.data
  return tuple((f"data.{name}", getattr(section, name)) for name in READING)


def section_of(
  run: SavedRun, path: str | pathlib.Path, changes: Mapping[str, Any]
) -> DataConfig:
  """Returns how a run reads new images.

  They are decoded by the rules of the run's own (size, other sizes, crop share,
  bits). The columns of a table are called as in the run's own, unless changed.

  Args:
    run: the run.
    path: folder, archive or table of the images.
    changes: field of `data`, of FIELDS -> value.

  Raises:
    InputError: for another field, or a value that it cannot have.
  """
  for name in changes:
    if name not in FIELDS:
      valid = ", ".join(f"data.{x}" for x in FIELDS)
      raise InputError(f"data.{name}: got it for new images; valid: {valid}")
  section = run.config.data
  checks.check_fields("data", section, **changes)
  # A published part and the root of paths are of the run's own table.
  # All that is seen of them is the middle square.
  values: dict[str, Any] = {"path": str(path), "classes": 0, "short_side": 0}
  if table.is_table(pathlib.Path(path)):
    values |= {"name": "image_folder", "root": "", "part": ""}
  else:
    values |= {
      field.name: field.default for field in dataclasses.fields(Columns)
    }
  values |= changes
  if values.get("name", section.name) != section.name:
    # The positive class is that of the run's own data set.
    positive = registry.get(section.name).positive
    if positive is not None and not section.positive:
      values = {"positive": run.classes[positive]} | values
  return dataclasses.replace(section, **values)
