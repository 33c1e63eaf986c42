"""The command that repeats a run, from the config that the run saved.

It names every field that differs from the experiment's file of today, and no
path of a machine.
"""

import contextlib
import dataclasses
import json
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from mn_jax.config import Config, changes, files, own_data
from mn_jax.errors import InputError
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.run import ensemble_record
from mn_jax.weights import hub

# What `--data` decides, and where files are.
_OF_DATA = ("experiment", "data.name", *changes.PLACES)


def of_run(analysis: RunAnalysis) -> str:
  """Returns the command of a run; '' if its experiment has no file here."""
  if kept := analysis.summary.get("kept"):
    return kept["command"]
  if made := analysis.summary.get("ensemble"):
    return _of_ensemble(made)
  saved = analysis.config["config"]
  if saved["data"]["name"] == own_data.NAME:
    images = f"--data={analysis.summary['experiment']}"
    return _command(images, saved, _defaults(), _OF_DATA)
  return of_config(_config_of(saved["experiment"]), saved)


def of_folds(saved: Mapping[str, Any], *, folds: int, seeds: int) -> str:
  """Returns the command of a cross-validation; '' as `of_run`.

  Args:
    saved: config of a fold, by section.
    folds: their number; 0: one per group.
    seeds: of each fold.
  """
  options = [f"--folds={folds}", *([f"--seeds={seeds}"] if seeds > 1 else [])]
  left_out = ("data.split", "data.folds", "data.fold", "seed")
  program = ("mn_jax.tools.crossval", *options)
  if saved["data"]["name"] == own_data.NAME:
    return _command(
      f"--data={saved['experiment']}",
      saved,
      _defaults(),
      (*_OF_DATA, *left_out),
      program=program,
    )
  config = _config_of(saved["experiment"])
  try:
    defaults = files.read_config(config).to_dict()
  except InputError:
    return ""
  return _command(
    f"--config={config}",
    saved,
    changes.flat(changes.plain(defaults)),
    (*changes.PLACES, *left_out),
    program=program,
  )


def of_member(config: str, analysis: RunAnalysis) -> str:
  """Returns the command of a row's run; '' if its config is not there.

  Args:
    config: of the row, NAME[:ARG] or FILE.py[:ARG].
    analysis: of the run.
  """
  if made := analysis.summary.get("ensemble"):
    return _of_ensemble(made)
  return of_config(config, analysis.config["config"])


def of_config(config: str, saved: Mapping[str, Any]) -> str:
  """Returns the command of an experiment with the fields of a run.

  Args:
    config: NAME[:ARG] or FILE.py[:ARG].
    saved: the run's config, by section.

  Returns:
    '' if that config is not there.
  """
  try:
    defaults = files.read_config(config).to_dict()
  except InputError:
    return ""
  defaults = changes.flat(changes.plain(defaults))
  return _command(f"--config={config}", saved, defaults, changes.PLACES)


def _config_of(experiment: str) -> str:
  """Returns NAME or NAME:ARG of the file that names an experiment so."""
  for name in files.names("get_config"):
    if experiment.startswith(f"{name}_"):
      config = f"{name}:{experiment.removeprefix(f'{name}_')}"
      with contextlib.suppress(InputError):
        if files.read_config(config).experiment == experiment:
          return config
  return experiment


def _defaults() -> dict[str, Any]:
  return changes.flat(changes.plain(dataclasses.asdict(Config())))


def _of_ensemble(made: Mapping[str, Any]) -> str:
  runs = [pathlib.Path(run["name"]) for run in made["runs"]]
  arguments = ensemble_record.arguments(
    pathlib.Path("DIR"), runs, made["views"]
  )
  return shlex.join(["python", "-m", "mn_jax.tools.ensemble", *arguments])


def _command(
  subject: str,
  saved: Mapping[str, Any],
  defaults: Mapping[str, Any],
  left_out: tuple[str, ...],
  *,
  program: tuple[str, ...] = ("mn_jax.main",),
) -> str:
  arguments = ["python", "-m", program[0], subject, *program[1:]]
  for name, value in changes.flat(saved).items():
    if name in left_out or value == defaults.get(name, value):
      continue
    if isinstance(value, list):  # of a tuple
      value = json.dumps(value)
    elif name == "model.weights" and not value.startswith(hub.PREFIX):
      value = pathlib.Path(value).name
    elif name == changes.TEACHER:
      value = "/".join(pathlib.PurePath(value).parts[-2:])
    arguments.append(f"{name}={value}")
  return shlex.join(arguments)
