"""The command line that repeats a run."""

import pathlib
import runpy
from typing import Any

from mn_jax.run import workdir as workdir_lib

# Paths of one computer mean nothing on another.
_PATHS = ("data.path", "data.cache_dir")
_WEIGHTS = "model.weights"


def repeat_run(config: str, folder: pathlib.Path) -> str:
  """Returns the command line without `--workdir`; '' if there is no config.

  Args:
    config: stem of a file in `configs`, with `:ARG` where it takes one.
    folder: of the run.

  Raises:
    InputError: if its config.json cannot be read.
  """
  stem, colon, arg = config.partition(":")
  file = pathlib.Path("configs") / f"{stem}.py"
  if not file.is_file():
    return ""
  defaults = runpy.run_path(str(file))["get_config"](arg).to_dict()
  saved = workdir_lib.read_object(folder / "config.json")
  values, defaults = _flat(saved["config"]), _flat(workdir_lib.plain(defaults))
  fields = [
    f"--config.{name}={_shown(name, value)}"
    for name, value in values.items()
    if name not in _PATHS and name in defaults and value != defaults[name]
  ]
  return " ".join(
    ["python -m mn_jax.main", f"--config={file}{colon}{arg}", *fields]
  )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
  """'section.field' -> value."""
  flat = {}
  for name, value in values.items():
    if isinstance(value, dict):
      flat |= {f"{name}.{key}": each for key, each in value.items()}
    else:
      flat[name] = value
  return flat


def _shown(name: str, value: Any) -> Any:
  return pathlib.Path(value).name if name == _WEIGHTS else value
