"""The command that repeats a run, from the config that the run saved.

It names every field that differs from the experiment's file of today, and no
path of a machine.
"""

import dataclasses
import json
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from mn_jax.config import Config, changes, files, own_data
from mn_jax.errors import InputError
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.weights import hub

# What `--data` decides, and where files are.
_OF_DATA = ("experiment", "data.name", *changes.PLACES)


def of_run(analysis: RunAnalysis) -> str:
  """Returns the command of a run; '' if its experiment has no file here."""
  if kept := analysis.summary.get("kept"):
    return kept["command"]
  saved = analysis.config["config"]
  if saved["data"]["name"] == own_data.NAME:
    defaults = changes.flat(changes.plain(dataclasses.asdict(Config())))
    images = f"--data={analysis.summary['experiment']}"
    return _command(images, saved, defaults, _OF_DATA)
  return of_config(saved["experiment"], saved)


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


def _command(
  subject: str,
  saved: Mapping[str, Any],
  defaults: Mapping[str, Any],
  left_out: tuple[str, ...],
) -> str:
  arguments = ["python", "-m", "mn_jax.main", subject]
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
