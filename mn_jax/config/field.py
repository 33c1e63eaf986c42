"""A documented, typed, checked field of a section."""

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
):
  """A documented field.

  Args:
    default: its default, which also fixes its type.
    doc: what it means, with its unit.
    choices: the valid values, if they are few.
    low, high: the valid range, both ends included.
    result: whether it can change a run's numbers. A workdir is continued only
      by a config that agrees in all fields that can.
  """
  metadata = {
    "doc": doc,
    "choices": choices,
    "low": low,
    "high": high,
    "result": result,
  }
  return dataclasses.field(default=default, metadata=metadata)
