"""What a kept run says of paths: names of files, and nothing of a machine."""

import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from mn_jax.config import Config, changes, experiment
from mn_jax.run import ensemble_record
from mn_jax.studies.study import StudyRun
from mn_jax.weights import locate, manifest

# Fields that are paths of the machine.
_PATHS = [
  path
  for path, field, _ in experiment.items(Config())
  if field.metadata["path"]
]


def command_of(run: StudyRun, saved: Mapping[str, Any]) -> str:
  """Returns the command of a run, with names of files in place of paths.

  Args:
    run: the run.
    saved: content of its `config.json`.
  """
  if run.parts:
    output, *parts = (
      pathlib.Path(*path.parts[-2:]) for path in (run.workdir, *run.parts)
    )
    made = ensemble_record.arguments(output, parts, run.member.views)
    return shlex.join(["python", "-m", "mn_jax.tools.ensemble", *made])
  named = changes.flat(config_of(saved["config"]))
  arguments = []
  for argument in run.arguments:
    name, _, value = argument.partition("=")
    if name in _PATHS:
      value = named[name]
    if value:
      arguments.append(f"{name}={value}")
  return shlex.join(["python", "-m", "mn_jax.main", *arguments])


def config_of(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a config by section, without paths of this machine."""
  sections = {
    name: dict(value) if isinstance(value, Mapping) else value
    for name, value in config.items()
  }
  for path in _PATHS:
    section, _, name = path.partition(".")
    if value := sections[section].get(name):
      sections[section][name] = path_of(path, value)
  return sections


def change_of(entry: Mapping[str, Any]) -> dict[str, Any]:
  """Returns an entry of a config's history without such paths."""
  fields = {
    path: [
      path_of(path, value) if path in _PATHS and value else value
      for value in both
    ]
    for path, both in entry["fields"].items()
  }
  return {**entry, "fields": fields}


def path_of(field: str, value: str) -> str:
  """Returns what stays of a path: the name of weights or of a teacher's run."""
  if field == "model.weights":
    return pathlib.Path(value).name if locate.is_path(value) else value
  if field == changes.TEACHER:  # ROW/seedK
    return "/".join(pathlib.PurePath(value).parts[-2:])
  return ""


def weights_name(run: StudyRun, config: Mapping[str, Any]) -> str:
  """Returns the name of the weights of a run, whatever their path.

  Args:
    run: the run; an ensemble has none.
    config: of the run, by section.
  """
  if run.parts:
    return ""
  value, wanted = config["model"]["weights"], run.member.weights
  name = path_of("model.weights", value)
  if wanted:
    published = manifest.load().get(wanted)
    names = () if published is None else locate.file_names(published)
    if not value or name in names:
      return wanted
  return name
