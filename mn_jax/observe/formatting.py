"""Numbers and names as people read them, and values that JSON can hold."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MINUS = "\N{MINUS SIGN}"
UNDEFINED = "-"
_ABBREVIATIONS = {
  "auroc": "AUROC",
  "mcc": "MCC",
  "f1": "F1",
  "ece": "ECE",
  "brier": "Brier",
}


def number(value: float | None, *, signed: bool = False) -> str:
  """Formats a metric; '-' if None or not finite.

  It has three decimals, and none from 100 on, as seconds may be.
  """
  return _number(value, _decimals(value), signed=signed)


def _decimals(*values: float | None) -> int:
  """How many decimals numbers have that are shown beside each other."""
  return 3 if all(x is None or not abs(x) >= 100 for x in values) else 0


def _number(value: float | None, decimals: int, *, signed: bool = False) -> str:
  if value is None or not math.isfinite(value):
    return UNDEFINED
  sign = "+" if signed else ""
  return f"{value:{sign},.{decimals}f}".replace("-", MINUS)


def compact(value: float) -> str:
  """Formats a number with the digits it was written with: 0.74 as '0.74'."""
  return f"{value:g}".replace("-", MINUS)


def mean_std(mean: float | None, std: float | None) -> str:
  """Formats '0.512 ± 0.010'; the mean alone without a standard deviation."""
  if UNDEFINED in (number(mean), number(std)):
    return number(mean)
  decimals = _decimals(mean, std)
  return f"{_number(mean, decimals)} ± {_number(std, decimals)}"


def mean_std_of(values: Sequence[float | None]) -> str:
  """Formats mean and sample standard deviation; '-' if one is undefined."""
  if any(number(value) == UNDEFINED for value in values):
    return UNDEFINED
  std = statistics.stdev(values) if len(values) > 1 else None
  return mean_std(statistics.fmean(values), std)


def interval(
  low: float | None, high: float | None, *, signed: bool = False
) -> str:
  """Formats '0.400 to 0.600'; '-' without an interval."""
  if low is None or high is None:
    return UNDEFINED
  decimals = _decimals(low, high)
  ends = (_number(x, decimals, signed=signed) for x in (low, high))
  return " to ".join(ends)


def p_value(p: float | None) -> str:
  """Formats a p-value with three decimals, or as '< 0.001'."""
  return "< 0.001" if p is not None and p < 0.001 else number(p)


def percent(share: float | None) -> str:
  """Formats a share with one decimal; '-' if None."""
  return UNDEFINED if share is None else f"{share:.1%}"


def duration(seconds: float) -> str:
  """Formats seconds as '42 s', '3:05' or '2:03:05'."""
  seconds = round(seconds)
  if seconds < 60:
    return f"{seconds} s"
  minutes, seconds = divmod(seconds, 60)
  if minutes < 60:
    return f"{minutes}:{seconds:02}"
  return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def rough_duration(seconds: float) -> str:
  """Formats an estimate of seconds as '42 s', '12 min' or '3 h 5 min'."""
  if seconds < 60:
    return f"{seconds:.0f} s"
  hours, minutes = divmod(round(seconds / 60), 60)
  return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def metric_name(key: str) -> str:
  """Spells out a metric's key: 'test/macro_auroc' is 'test macro AUROC'.

  Of the last epoch, 'last/val/f1' is 'val F1, last epoch'.
  """
  name = key.removeprefix("last/")
  words = name.replace("/", " ").replace("_", " ").split()
  spelt = " ".join(_ABBREVIATIONS.get(word, word) for word in words)
  return spelt if name == key else f"{spelt}, last epoch"


def count(n: int, noun: str) -> str:
  """Formats '1 seed' or '2 seeds'."""
  return f"{n:,} {noun}{'' if n == 1 else 's'}"


def left_out(kinds: Sequence[tuple[str, str, int]], most: int) -> list[str]:
  """Formats files that are left out: 'left out: .txt files of cat (3)'.

  Args:
    kinds: (class, or '' for none; what they are; count) of each kind.
    most: number of kinds that are named, those of a class and large ones first.
  """
  ranked = sorted(kinds, key=lambda kind: (not kind[0], -kind[2]))
  lines = [
    f"left out: {what}{f' of {name}' if name else ''} ({n:,})"
    for name, what, n in ranked[:most]
  ]
  if rest := ranked[most:]:
    files = sum(n for *_, n in rest)
    lines.append(f"... and {files:,} files of {len(rest)} more kinds")
  return lines


def jsonable(values: Any) -> Any:
  """Returns values that JSON can hold; undefined numbers are None.

  Args:
    values: nested mappings, sequences, dataclasses and arrays of numbers and
      strings.
  """
  if dataclasses.is_dataclass(values):
    values = vars(values)
  if isinstance(values, np.ndarray | np.generic):
    values = values.tolist()
  if isinstance(values, Mapping):
    return {name: jsonable(value) for name, value in values.items()}
  if isinstance(values, list | tuple):
    return [jsonable(value) for value in values]
  undefined = isinstance(values, float) and not math.isfinite(values)
  return None if undefined else values
