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
_WEIGHTS = "model.weights"


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
  fields = [
    f"{name}={_shown(name, value)}"
    for name, value in values.items()
    if name not in _PATHS and name in defaults and value != defaults[name]
  ]
  return shlex.join(
    ["python", "-m", "mn_jax.main", f"--config={config}", *fields]
  )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
  """Returns {'section.field': value}."""
  flat = {}
  for name, value in values.items():
    if isinstance(value, dict):
      flat |= {f"{name}.{key}": each for key, each in value.items()}
    else:
      flat[name] = value
  return flat


def _shown(name: str, value: Any) -> Any:
  if isinstance(value, list):  # of a tuple
    return json.dumps(value)
  return pathlib.Path(value).name if name == _WEIGHTS else value
