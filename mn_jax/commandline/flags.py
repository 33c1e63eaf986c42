"""Flags of the command line, with errors that are one line.

The values of `--config.FIELD=VALUE` are read by ml_collections; this file
checks them first, because a traceback is no answer to a mistyped name.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from mn_jax import config as config_lib
from mn_jax.errors import InputError


def parse(argv: Sequence[str]) -> list[str]:
  """Parses all flags, `--config=FILE[:ARG]` and its overrides among them.

  Whatever is wrong ends the program with one line and exit code 2.

  Args:
    argv: the program's name and arguments.

  Returns:
    The program's name and what is no flag.
  """
  try:
    if not any(arg.lstrip("-").startswith("help") for arg in argv[1:]):
      _check_config_flags(argv)
    # The flag library wants the file before the overrides; people need not.
    rest = sorted(argv[1:], key=lambda arg: not _is_config_file(arg))
    return flags.FLAGS([argv[0], *rest])
  except (flags.Error, InputError) as error:
    report(error)
    sys.exit(2)


def _is_config_file(argument: str) -> bool:
  return argument.lstrip("-").startswith("config=")


def _check_config_flags(argv: Sequence[str]) -> None:
  """Refuses what ml_collections would answer with a traceback.

  Raises:
    InputError: for a missing file or a wrong `--config.FIELD=VALUE`.
  """
  given = [arg.lstrip("-").partition("=") for arg in argv[1:]]
  files = [value for name, _, value in given if name == "config"]
  if not files:
    raise InputError("--config: got nothing; valid: --config=FILE.py[:ARG]")
  path = files[-1].partition(":")[0]
  if not pathlib.Path(path).is_file():
    raise InputError(
      f"--config: got {path!r}; valid: --config=FILE with an existing file"
    )
  for name, equals, value in given:
    if name.startswith("config."):
      if not equals:
        raise InputError(f"--{name}: got no value; valid: --{name}=VALUE")
      check_override(name.removeprefix("config."), value)


def report(error: Exception) -> None:
  """Prints what is wrong as one line."""
  text = str(error).strip()
  if "Traceback (most recent call last)" in text:
    # The flag library quotes what `get_config` raised; its last line says it.
    text = text.splitlines()[-1].removeprefix("mn_jax.errors.InputError: ")
  print(f"mn_jax: {' '.join(text.split())}", file=sys.stderr)


def check_override(path: str, text: str) -> None:
  """Checks a field's value as given on the command line.

  Args:
    path: 'section.field' or 'field'.
    text: the value; tuples as Python writes them.

  Raises:
    InputError: if there is no such field or its type reads otherwise.
  """
  section, *names = config_lib.Config(), *path.split(".")
  for depth, name in enumerate(names):
    fields = {f.name: f for f in dataclasses.fields(section)}
    if name not in fields:
      raise InputError(f"{path}: unknown field; valid: {', '.join(fields)}")
    value = getattr(section, name)
    if dataclasses.is_dataclass(value) == (depth == len(names) - 1):
      raise InputError(f"{path}: got {text!r}; valid: section.field=value")
    section = value
  kind = type(section)
  if kind is bool and text.lower() not in ("true", "false"):
    raise InputError(f"{path}: got {text!r}; valid: True or False")
  if kind in (int, float):
    try:
      kind(text)
    except ValueError:
      raise InputError(
        f"{path}: got {text!r}; valid: {kind.__name__}"
      ) from None
