"""A saved config beside that of this version and of the resumed run.

A field that was added since a run was saved had its default then. What a
resumed run may change is what leaves the steps that are trained already as they
are: fields that cannot change results, those that only decide how it continues
(`field.later`), and its length, which may grow where the learning rate does not
depend on it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mn_jax.config import checks
from mn_jax.config.experiment import Config, items, resolved
from mn_jax.errors import InputError

LENGTHS = ("train.steps", "train.epochs", "train.examples")
# Where files are, which changes no number.
PLACES = ("data.path", "data.root", "data.cache_dir")
# With another value of these a run that has ended may have more to train.
EXTENDING = (*LENGTHS, "train.patience")
# A path whose content is compared by its digest, but for whether there is one.
TEACHER = "train.teacher"

# 'section.field' -> (value of the saved config, value now).
Changes = dict[str, tuple[Any, Any]]


def plain(values: Any) -> Any:
  """As JSON gives them back: tuples as lists."""
  return json.loads(json.dumps(values))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns {'section.field': value} of nested sections."""
  fields = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      fields |= {f"{name}.{key}": inner for key, inner in value.items()}
    else:
      fields[name] = value
  return fields


def read(saved: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
  """Reads a config that another version may have saved.

  Args:
    saved: by section.

  Returns:
    {'section.field': value} of all fields of this version, with defaults for
    those that are missing; and of the fields that this version does not have.

  Raises:
    InputError: for a value that its field cannot have.
  """
  known, unknown = _values(resolved(Config())), {}
  fields = {path: field for path, field, _ in items(Config())}
  sections = {path.partition(".")[0] for path in fields if "." in path}
  for path, value in flat(saved).items():
    if path in sections:
      raise InputError(f"{path}: got {value!r}; valid: a section")
    if path in fields:
      known[path] = plain(checks.check_value(fields[path], path, value))
    else:
      unknown[path] = value
  return known, unknown


def compare(saved: Mapping[str, Any], config: Config) -> Changes:
  """Returns what differs from a saved config; None for what is unknown now."""
  before, unknown = read(saved)
  now = _values(config)
  changes = {p: (before[p], now[p]) for p in now if before[p] != now[p]}
  return changes | {path: (value, None) for path, value in unknown.items()}


def refused(
  changes: Changes,
  config: Config,
  results: Mapping[str, Any],
  *,
  same: bool = False,
) -> list[str]:
  """Says for each change that a resumed run may not have what it is.

  Args:
    changes: from `compare`.
    config: of the resumed run.
    results: fields that could change results when the config was saved.
    same: whether it may change nothing that can change results.
  """
  fields = {path: field for path, field, _ in items(config)}
  reasons = []
  for path, (before, now) in sorted(changes.items()):
    text = f"{path}: {before!r} there, {now!r} now"
    if path not in fields:
      if path in results:
        reasons.append(f"{path}: {before!r} there, unknown to this version")
    elif (path == TEACHER and not (before and now)) or (
      same and fields[path].metadata["result"]
    ):
      reasons.append(text)
    elif path in LENGTHS and now < before:
      reasons.append(f"{text}, and a run can only grow")
    elif path in LENGTHS and config.optim.schedule != "constant":
      reasons.append(
        f"{text}, on which the learning rate of optim.schedule "
        f"{config.optim.schedule!r} depends"
      )
    elif _is_fixed(fields[path]):
      reasons.append(text)
  return reasons


def describe(changes: Mapping[str, tuple[Any, Any]]) -> str:
  """Formats changes in one line."""
  return ", ".join(
    f"{path} {now!r} (before: {before!r})"
    for path, (before, now) in changes.items()
  )


def sha256(config: Config) -> str:
  """Digest of the fields that a resumed run may not change at all."""
  lengths = () if config.optim.schedule == "constant" else LENGTHS
  fixed = {
    path: value
    for path, field, value in items(config)
    if path in lengths or _is_fixed(field)
  }
  return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def _values(config: Config) -> dict[str, Any]:
  return plain({path: value for path, _, value in items(config)})


def _is_fixed(field: dataclasses.Field) -> bool:
  return field.metadata["result"] and not field.metadata["later"]
