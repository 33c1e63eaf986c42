"""What all folds of a cross-validation are trained with.

That is an experiment, on its own data or on the user's; or what is recommended
for the user's images. A recommendation is made once, for all folds, and kept:
another one, after weights were downloaded, would make folds that differ.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from mn_jax.config import Config, changes, checks, files, overrides, own_data
from mn_jax.observe.console import Console
from mn_jax.own_images import settings
from mn_jax.run import records

# The experiment whose fields a recommendation changes.
_BASE = "image_folder_v2"
_NAME = "settings.json"
_FIELDS = {"config": str, "fields": dict}


@dataclasses.dataclass(frozen=True)
class FoldSettings:
  """The settings of all folds.

  Attributes:
    name: of the experiment, NAME[:ARG] or FILE.py[:ARG].
    fields: 'section.field' -> value, over those of the experiment.
    config: all of them, checked.
  """

  name: str
  fields: Mapping[str, Any]
  config: Config

  def write(self, folder: pathlib.Path) -> None:
    """Keeps them in the folder of all folds, for the next call."""
    folder.mkdir(parents=True, exist_ok=True)
    records.write_object(
      folder / _NAME,
      {"config": self.name, "fields": changes.plain(self.fields)},
    )


def of_experiment(
  name: str,
  given: Mapping[str, Any],
  *,
  data: str | None = None,
  fine_tune: bool = False,
) -> FoldSettings:
  """Returns the settings of an experiment.

  Args:
    name: NAME[:ARG] or FILE.py[:ARG].
    given: 'section.field' -> value, over the experiment's.
    data: path of a user's images in place of the experiment's, or None.
    fine_tune: whether an experiment from scratch starts from weights instead.

  Raises:
    InputError: for whatever is wrong with one of them.
  """
  fields = own_data.over_experiment(
    files.read_config(name), given, data=data, fine_tune=fine_tune
  )
  return _settings(name, fields)


def of_images(
  data: str,
  given: Mapping[str, Any],
  folder: pathlib.Path,
  console: Console,
  *,
  folds: int,
) -> FoldSettings:
  """Returns what is recommended for a user's images, or was for these folds.

  Args:
    data: path of a folder, an archive or a table.
    given: 'section.field' -> value, which the user has fixed.
    folder: of all folds.
    console: for people.
    folds: as `data.folds`.

  Raises:
    InputError: for data that cannot be used, or a field with a wrong value.
  """
  place = {"data.path": own_data.fields(data)["data.path"]}
  if (folder / _NAME).is_file():
    saved = records.read_object(folder / _NAME, _FIELDS)
    console.line(
      f"{folder} has a cross-validation already: its settings are used, but "
      "for those that you give."
    )
    return _settings(saved["config"], {**saved["fields"], **place, **given})
  split = {"data.split": "kfold", "data.folds": folds, "data.fold": 0}
  new = settings.recommended(data, {**given, **split})
  settings.print_recommendation(console, new)
  base = checks.from_config_dict(files.read_config(_BASE))
  before = {path: value for path, _, value in changes.items(base)}
  fields = {
    path: value
    for path, _, value in changes.items(new.config)
    if value != before[path] and path not in split
  }
  return _settings(_BASE, {**fields, **place})


def _settings(name: str, fields: Mapping[str, Any]) -> FoldSettings:
  """Returns checked settings; lists of JSON become tuples."""
  typed = {
    path: tuple(value) if isinstance(value, list) else value
    for path, value in fields.items()
  }
  values = files.read_config(name)
  for path, value in typed.items():
    overrides.put(values, path, value)
  return FoldSettings(name, typed, checks.from_config_dict(values))
