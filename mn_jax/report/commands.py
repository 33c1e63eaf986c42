"""The command that repeats a run."""

import pathlib
import runpy
from typing import Any

from mn_jax.run import workdir as workdir_lib

# Where things lie on one computer means nothing on another.
_PLACES = ("data.path", "data.cache_dir")
_WEIGHTS = "model.weights"


def repeat(config: str, folder: pathlib.Path) -> str:
  """The command line, without `--workdir`; '' if the config is not there.

  Args:
    config: stem of a file in `configs`, with `:ARG` where one was given.
    folder: of the run.

  Raises:
    InputError: if its config.json cannot be read.
  """
  stem, colon, arg = config.partition(":")
  file = pathlib.Path("configs") / f"{stem}.py"
  if not file.is_file():
    return ""
  before = runpy.run_path(str(file))["get_config"](arg).to_dict()
  saved = workdir_lib.read_object(folder / "config.json")
  now, then = _flat(saved["config"]), _flat(workdir_lib.plain(before))
  fields = [
    f"--config.{name}={_shown(name, value)}"
    for name, value in now.items()
    if name not in _PLACES and name in then and value != then[name]
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
