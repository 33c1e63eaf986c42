"""Sweeps: points of a search space, of which validation selects one.

A sweep file, `configs/sweeps/NAME.py`, returns a `Sweep` from `get_sweep()`,
whose points come from `grid`, from `random_search` or from both.
`sweep_plan.py` expands them into runs.
"""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError

# Samples are rounded to four digits, which can be read and typed.
_DIGITS = 4
# Samples in a row that repeat earlier points, before the search gives up.
_PATIENCE = 1000


@dataclasses.dataclass(frozen=True)
class Uniform:
  """Uniform distribution of a number between two others."""

  low: float
  high: float

  def __post_init__(self):
    _check_range(self, -math.inf)

  def at(self, share: float) -> float:
    """Returns the number at a share of the range, from 0 to below 1."""
    return _rounded(self.low + share * (self.high - self.low), self)


@dataclasses.dataclass(frozen=True)
class LogUniform:
  """Log-uniform distribution of a number between two others above 0."""

  low: float
  high: float

  def __post_init__(self):
    _check_range(self, 0)

  def at(self, share: float) -> float:
    """Returns the number at a share of the range of logarithms."""
    return _rounded(self.low * (self.high / self.low) ** share, self)


@dataclasses.dataclass(frozen=True)
class Choice:
  """Uniform choice among values."""

  values: Sequence[Any]

  def __post_init__(self):
    _check_values("Choice", self.values)

  def at(self, share: float) -> Any:
    """Returns the value at a share of their number."""
    return self.values[int(share * len(self.values))]


Distribution = Uniform | LogUniform | Choice


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A search for the best values of some fields of a config.

  Attributes:
    title: one line.
    config: NAME[:ARG] or FILE.py[:ARG], as for `mn_jax.main`.
    points: for each point, {'section.field': value} over the config.
    sample: fields over the config that let every point run in seconds on
      generated images.
  """

  title: str
  config: str
  points: Iterable[Mapping[str, Any]]
  sample: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    object.__setattr__(self, "points", tuple(self.points))
    if not self.points:
      raise InputError("sweep: got no points; valid: one or more")


def grid(space: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
  """Returns every combination of values, the last field varying fastest.

  Args:
    space: 'section.field' -> values.

  Raises:
    InputError: for a field without values.
  """
  for name, values in space.items():
    _check_values(name, values)
  return tuple(
    dict(zip(space, values, strict=True))
    for values in itertools.product(*space.values())
  )


def random_search(
  space: Mapping[str, Distribution], count: int, seed: int
) -> tuple[dict[str, Any], ...]:
  """Samples different points at random.

  A value is a function of seed, index and field alone: a larger count begins
  with the same points, and another field leaves the values of the others.

  Args:
    space: 'section.field' -> `LogUniform`, `Uniform` or `Choice`.
    count: number of points.
    seed: of the samples.

  Raises:
    InputError: if there are fewer points than `count`.
  """
  if count < 1:
    raise InputError(f"random_search: got count {count}; valid: 1 or more")
  for name, draw in space.items():
    if not isinstance(draw, Distribution):
      raise InputError(
        f"{name}: got {draw!r}; valid: LogUniform, Uniform or Choice"
      )
  points: list[dict[str, Any]] = []
  number = repeated = 0
  while len(points) < count:
    point = {
      name: draw.at(_share(seed, number, name)) for name, draw in space.items()
    }
    number += 1
    repeated = repeated + 1 if point in points else 0
    if not repeated:
      points.append(point)
    if repeated == _PATIENCE:
      raise InputError(
        f"random_search: got count {count}, but only {len(points)} different "
        "points were found; valid: no more than there are, or a grid"
      )
  return tuple(points)


def _share(seed: int, number: int, name: str) -> float:
  """A number from 0 to below 1, the same on every machine."""
  digest = hashlib.sha256(f"{seed} {number} {name}".encode()).digest()
  return (int.from_bytes(digest[:8]) >> 11) / 2**53


def _rounded(value: float, draw: Uniform | LogUniform) -> float:
  return min(max(float(f"{value:.{_DIGITS}g}"), draw.low), draw.high)


def _check_values(name: str, values: Sequence[Any]) -> None:
  if isinstance(values, str) or not len(values):
    raise InputError(f"{name}: got {values!r}; valid: a tuple of values")


def _check_range(draw: Uniform | LogUniform, above: float) -> None:
  if not above < draw.low < draw.high < math.inf:
    least = "" if above else ", above 0"
    raise InputError(f"{draw}: got it; valid: low below high{least}")
