"""`field`: a documented config field with its valid values."""

import dataclasses
from typing import Any


def field(
  default: Any,
  doc: str,
  *,
  choices: tuple[str, ...] | None = None,
  low: float | None = None,
  high: float | None = None,
  result: bool = True,
  later: bool = False,
  path: bool = False,
):
  """Returns a dataclass field with documentation and valid values.

  Args:
    default: its default value.
    doc: what it means, with its unit.
    choices: the valid values, if they are few.
    low, high: the valid range, both ends included.
    result: whether it can change the results of a run. A run is resumed only
      with a config that agrees in all fields that can, but for those of
      `later`.
    later: whether it leaves what is trained already as it is and only decides
      how a run continues; see `changes`.
    path: whether it is a path of this machine's file system, or empty.
  """
  metadata = {
    "doc": doc,
    "choices": choices,
    "low": low,
    "high": high,
    "result": result,
    "later": later,
    "path": path,
  }
  return dataclasses.field(default=default, metadata=metadata)
