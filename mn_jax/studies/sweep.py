"""A sweep: points of a search space, of which validation chooses one.

A sweep file, `configs/sweeps/NAME.py`, returns a `Sweep` from `get_sweep()`,
whose points come from `grid`, from `random_search` or from both. What is run of
them is in `sweep_plan.py`.
"""

import dataclasses
import hashlib
import itertools
import math
import pathlib
import runpy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from mn_jax.errors import InputError

# Draws are rounded to so many digits, which can be read and typed.
_DIGITS = 4
# Draws in a row that are none but old points.
_PATIENCE = 1000


class Draw(Protocol):
  """How a field of a random search is drawn."""

  def at(self, share: float) -> Any:
    """The value at a share of the range, from 0 to below 1."""


@dataclasses.dataclass(frozen=True)
class Uniform:
  """A number between two others, each as likely."""

  low: float
  high: float

  def __post_init__(self):
    _check_range(self, -math.inf)

  def at(self, share: float) -> float:
    """The number at a share of the range."""
    return _rounded(self.low + share * (self.high - self.low), self)


@dataclasses.dataclass(frozen=True)
class LogUniform:
  """A number between two above 0, each order of magnitude as likely."""

  low: float
  high: float

  def __post_init__(self):
    _check_range(self, 0)

  def at(self, share: float) -> float:
    """The number at a share of the range of logarithms."""
    return _rounded(self.low * (self.high / self.low) ** share, self)


@dataclasses.dataclass(frozen=True)
class Choice:
  """One of some values, each as likely."""

  values: Sequence[Any]

  def __post_init__(self):
    if isinstance(self.values, str) or not len(self.values):
      raise InputError(f"Choice: got {self.values!r}; valid: a tuple of values")

  def at(self, share: float) -> Any:
    """The value at a share of their number."""
    return self.values[int(share * len(self.values))]


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A search for the best fields of a config.

  Attributes:
    title: one line.
    config: stem of a file in `configs`, with `:ARG` where one is wanted.
    points: {'section.field': value} over the config, each; kept as a tuple.
    sample: fields over the config's that let every point run in seconds on an
      embedded sample.
  """

  title: str
  config: str
  points: Iterable[Mapping[str, Any]]
  sample: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    object.__setattr__(self, "points", tuple(self.points))


def grid(space: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
  """Every combination of some fields' values, those of the last turning first.

  Args:
    space: 'section.field' -> values.

  Raises:
    InputError: for a field without values.
  """
  for name, values in space.items():
    if isinstance(values, str) or not len(values):
      raise InputError(f"{name}: got {values!r}; valid: a tuple of values")
  return tuple(
    dict(zip(space, values, strict=True))
    for values in itertools.product(*space.values())
  )


def random_search(
  space: Mapping[str, Draw], count: int, seed: int
) -> tuple[dict[str, Any], ...]:
  """Points drawn at random, no two alike.

  A draw is a function of seed, number and field alone: of a larger count the
  first points are the same, and a field more leaves the values of others.

  Args:
    space: 'section.field' -> `LogUniform`, `Uniform` or `Choice`.
    count: of points.
    seed: of the draws.

  Raises:
    InputError: if there are not so many points.
  """
  if count < 1:
    raise InputError(f"random_search: got count {count}; valid: 1 or more")
  for name, draw in space.items():
    if not hasattr(draw, "at"):
      raise InputError(
        f"{name}: got {draw!r}; valid: LogUniform, Uniform or Choice"
      )
  points: list[dict[str, Any]] = []
  repeated = 0
  for number in itertools.count():
    point = {
      name: draw.at(_share(seed, number, name)) for name, draw in space.items()
    }
    repeated = repeated + 1 if point in points else 0
    if not repeated:
      points.append(point)
    if len(points) == count:
      return tuple(points)
    if repeated == _PATIENCE:
      raise InputError(
        f"random_search: got count {count}, but only {len(points)} different "
        "points were found; valid: no more than there are, or a grid"
      )


def load(path: str) -> Sweep:
  """The sweep of a file.

  Raises:
    InputError: if there is none, or it is none.
  """
  file = pathlib.Path(path)
  if not file.is_file() or file.suffix != ".py":
    known = sorted(
      p.as_posix() for p in pathlib.Path("configs/sweeps").glob("*.py")
    )
    valid = ", ".join(known) or "a file with get_sweep()"
    raise InputError(f"sweep: got {path!r}; valid: {valid}")
  found = runpy.run_path(str(file)).get("get_sweep")
  if found is None:
    raise InputError(f"sweep: {path} has no get_sweep(); valid: one that has")
  made = found()
  if not isinstance(made, Sweep) or not made.points:
    raise InputError(f"sweep: {path} gives no sweep with points")
  return made


def _share(seed: int, number: int, name: str) -> float:
  """From 0 to below 1, and the same on every machine."""
  digest = hashlib.sha256(f"{seed} {number} {name}".encode()).digest()
  return (int.from_bytes(digest[:8]) >> 11) / 2**53


def _rounded(value: float, draw: Uniform | LogUniform) -> float:
  return min(max(float(f"{value:.{_DIGITS}g}"), draw.low), draw.high)


def _check_range(draw: Uniform | LogUniform, above: float) -> None:
  if not above < draw.low < draw.high < math.inf:
    least = "" if above else ", above 0"
    raise InputError(f"{draw}: got it; valid: low below high{least}")
