"""Finds and runs the Python files of configs, studies, sweeps and papers.

Each defines one function, such as `get_config`. A file may lie anywhere and is
named by its path; those of this project are also found by their name alone.
"""

import contextlib
import pathlib
import runpy
import sys
import traceback
import types
from collections.abc import Iterator, Sequence

import ml_collections

from mn_jax.config import checks, overrides, paths
from mn_jax.config.experiment import Config
from mn_jax.errors import InputError

_PACKAGE = pathlib.Path(__file__).parents[1]
# Function that a file defines -> folder in `configs`.
_FOLDERS = {
  "get_config": "",
  "get_study": "studies",
  "get_sweep": "sweeps",
  "get_paper": "papers",
}


def load_config(name: str, changes: Sequence[str] = ()) -> Config:
  """Reads an experiment with changed fields, and checks all of it.

  Args:
    name: NAME[:ARG] or FILE.py[:ARG].
    changes: `section.field=value`, each over what comes before it.

  Raises:
    InputError: for whatever is wrong with one of them.
  """
  values = read_config(name)
  overrides.apply(values, changes)
  return checks.from_config_dict(values)


def read_config(name: str) -> ml_collections.ConfigDict:
  """Reads the fields of an experiment, not checked yet.

  Args:
    name: NAME[:ARG] or FILE.py[:ARG].

  Raises:
    InputError: if there is no such file, or it fails.
  """
  path, _, argument = name.partition(":")
  return load(path, "get_config", ml_collections.ConfigDict, argument)


def load[T](name: str, getter: str, kind: type[T], *arguments: str) -> T:
  """Runs a file and calls the function that it defines.

  Args:
    name: of one of this project's files, or the path of any.
    getter: 'get_config', 'get_study', 'get_sweep' or 'get_paper'.
    kind: type of the result.
    *arguments: of the function.

  Raises:
    InputError: if there is no such file, it fails, or gives something else.
  """
  path = find(name, getter)
  try:
    with _neighbours_importable(path):
      function = runpy.run_path(str(path)).get(getter)
      result = None if function is None else function(*arguments)
  except InputError:
    raise
  except Exception as error:  # anything that a user's file may raise
    raise InputError(f"{_where(path, error)}: {_describe(error)}") from error
  if not isinstance(result, kind):
    got = f"{type(result).__name__} from" if function else "no"
    raise InputError(
      f"{path}: got {got} {getter}(); valid: a file whose {getter}() returns a "
      f"{kind.__name__}"
    )
  return result


def find(name: str, getter: str) -> pathlib.Path:
  """Returns the file of a name or path.

  Raises:
    InputError: if there is none.
  """
  if name.endswith(".py"):
    path = paths.local(name, getter.removeprefix("get_"))
  else:
    path = _folder(getter) / f"{name}.py"
  if not path.is_file():
    raise InputError(
      f"{getter.removeprefix('get_')}: got {name!r}; valid: the path of an "
      f"existing FILE.py, or {', '.join(names(getter))}"
    )
  return path


def names(getter: str) -> list[str]:
  """Returns the names of this project's files that define a function."""
  return sorted(path.stem for path in _folder(getter).glob("*.py"))


def _folder(getter: str) -> pathlib.Path:
  """Returns a folder of `configs`, in the package or beside it."""
  installed = _PACKAGE / "configs"
  root = installed if installed.is_dir() else _PACKAGE.parent / "configs"
  return root / _FOLDERS[getter]


@contextlib.contextmanager
def _neighbours_importable(path: pathlib.Path) -> Iterator[None]:
  """Lets a file import those beside it, and `configs` of this project.

  Wherever the file and the current folder are; what is beside it, or in a
  folder `configs` that it is in, comes before this project's.
  """
  folder = path.absolute().parent
  package = types.ModuleType("configs")
  package.__path__ = [
    *(
      str(parent)
      for parent in path.absolute().parents
      if parent.name == "configs"
    ),
    str(_folder("get_config")),
  ]
  before = dict(sys.modules)
  sys.modules["configs"] = package
  sys.path.append(str(folder))
  try:
    yield
  finally:
    sys.path.remove(str(folder))
    # The neighbours of another file may have the same names.
    for name in sys.modules.keys() - before.keys():
      file = getattr(sys.modules[name], "__file__", None)
      if name.partition(".")[0] == "configs" or (
        file and pathlib.Path(file).parent == folder
      ):
        del sys.modules[name]
    if "configs" in before:
      sys.modules["configs"] = before["configs"]


def _where(path: pathlib.Path, error: Exception) -> str:
  if isinstance(error, SyntaxError):
    return f"{error.filename}, line {error.lineno}"
  lines = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if frame.filename == str(path)
  ]
  return f"{path}, line {lines[-1]}" if lines else str(path)


def _describe(error: Exception) -> str:
  text = error.msg if isinstance(error, SyntaxError) else error
  return " ".join(f"{type(error).__name__}: {text}".split())
