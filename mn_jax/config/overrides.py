"""Overrides of config fields on the command line: `section.field=value`."""

import ast
import dataclasses
import os
import types
import typing
from collections.abc import Iterable
from typing import Any

import ml_collections
import numpy as np

from mn_jax.config import checks, near
from mn_jax.config.experiment import Config
from mn_jax.errors import InputError


def parse(text: str) -> tuple[str, Any]:
  """Reads an override.

  Ranges are left to `checks.from_config_dict`, which sees the whole config.

  Args:
    text: `section.field=value` or `field=value`; a bool is true or false in
      any case, a tuple is written as in Python, one of strings also as words
      separated by commas.

  Returns:
    'section.field', and the value in the type of the field.

  Raises:
    InputError: if there is no such field, or the value has another type.
  """
  path, equals, value = text.partition("=")
  if not equals:
    raise InputError(f"got {text!r}; valid: SECTION.FIELD=VALUE")
  return path, _value(_field(path, value), path, value)


def from_keywords(keywords: Iterable[tuple[str, Any]]) -> dict[str, Any]:
  """Reads fields that Python code gives: `section__field=value`.

  Ranges are left to `checks.from_config_dict`, which sees the whole config.

  Args:
    keywords: pairs of 'section__field', 'section.field' or 'field' and a value
      of the field's type; a path may be a `pathlib.Path`, a number NumPy's.

  Returns:
    'section.field' -> value.

  Raises:
    InputError: if there is no such field, or it is given twice.
  """
  fields: dict[str, Any] = {}
  for keyword, value in keywords:
    path = keyword.replace("__", ".")
    if path in fields:
      raise InputError(f"{path}: got it twice; valid: once")
    if isinstance(value, os.PathLike):
      value = os.fsdecode(value)
    elif isinstance(value, np.generic):
      value = value.item()
    dot = "." if "." in keyword else "__"
    _field(path, value, dot=dot)
    fields[path] = value
  return fields


def apply(values: ml_collections.ConfigDict, overrides: Iterable[str]) -> None:
  """Changes fields of a config in place, later overrides over earlier ones.

  Raises:
    InputError: for the first override that is wrong.
  """
  for path, value in map(parse, overrides):
    put(values, path, value)


def put(
  values: ml_collections.ConfigDict | dict[str, Any], path: str, value: Any
) -> None:
  """Changes one field of a config in place; its value is not checked.

  Args:
    values: all sections.
    path: 'section.field' or 'field'.
    value: the new one.

  Raises:
    InputError: if there is no such field.
  """
  _field(path, value)
  section, _, field = path.rpartition(".")
  (values[section] if section else values)[field] = value


def _field(path: str, value: Any, dot: str = ".") -> dataclasses.Field:
  """The field of a path; messages write its dots as the caller does."""
  section, names = Config, path.split(".")
  written = path.replace(".", dot)
  for depth, name in enumerate(names, 1):
    fields = {f.name: f for f in dataclasses.fields(section)}
    if name not in fields:
      meant = near.hint(near.field(path).replace(".", dot))
      raise InputError(
        f"{written}: unknown field{meant}; valid: {', '.join(fields)}"
      )
    section = fields[name].type
    if dataclasses.is_dataclass(section) == (depth == len(names)):
      raise InputError(
        f"{written}: got {value!r}; valid: section{dot}field=value"
      )
  return fields[name]


def _value(field: dataclasses.Field, path: str, text: str) -> Any:
  kind = field.type
  if kind is bool:
    if text.lower() not in ("true", "false"):
      raise InputError(f"{path}: got {text!r}; valid: True or False")
    return text.lower() == "true"
  if isinstance(kind, types.GenericAlias):
    try:
      value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
      value = text
      if str in typing.get_args(kind):
        value = tuple(text.split(",")) if text else ()
    return checks.check_value(field, path, value)
  try:
    return kind(text)
  except ValueError:
    raise InputError(f"{path}: got {text!r}; valid: {kind.__name__}") from None
