"""The command line that repeats a run."""

import json
import pathlib
import shlex
from typing import Any

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.run import workdir as workdir_lib

# Paths of one computer mean nothing on another.
_PATHS = ("data.path", "data.cache_dir")


def repeat_run(config: str, folder: pathlib.Path) -> str:
  """Returns the command line without `--workdir`; '' if there is no config.

  Args:
    config: NAME[:ARG] or FILE.py[:ARG] of the experiment.
    folder: of the run.

  Raises:
    InputError: if its config.json cannot be read.
  """
  try:
    defaults = files.read_config(config).to_dict()
  except InputError:
    return ""
  saved = workdir_lib.read_object(folder / "config.json")
  values, defaults = _flat(saved["config"]), _flat(workdir_lib.plain(defaults))
  arguments = ["python", "-m", "mn_jax.main", f"--config={config}"]
  for name, value in values.items():
    if name in _PATHS or value == defaults.get(name, value):
      continue
    if isinstance(value, list):  # of a tuple
      value = json.dumps(value)
    elif name == "model.weights":
      value = pathlib.Path(value).name
    arguments.append(f"{name}={value}")
  return shlex.join(arguments)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
  """Returns {'section.field': value}."""
  flat = {}
  for name, value in values.items():
    if isinstance(value, dict):
      flat |= {f"{name}.{key}": each for key, each in value.items()}
    else:
      flat[name] = value
  return flat
