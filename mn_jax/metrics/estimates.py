"""Means with standard errors from one source or several: intervals and tests.

A metric between two bounds has an interval between them: Student's t is used
on the logit scale (of a metric without an upper bound, the logarithm), with the
error carried over by the delta method, as is usual for proportions and for
areas under curves (Pepe, "The Statistical Evaluation of Medical Tests", 2003,
section 5.2). Where the error is small beside the distance from the bounds, that
is the plain interval; the centre is the mean itself. A difference has a plain
interval, cut off where no difference can be, which costs no coverage.

Of independent sources the half-widths are added in squares, each with Student's
t of its own degrees of freedom (Zou and Donner, "Construction of confidence
limits about effect measures", Statistics in Medicine 27 (2008)). So an interval
that holds another source is never the narrower for it, as it can be with pooled
degrees of freedom, and few seeds do not widen what many patients tell.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

_ONE = (0.0, 1.0)
_POSITIVE = (0.0, math.inf)
_SIGNED = (-1.0, 1.0)
_BOUNDS = {
  "loss": _POSITIVE,
  "mcc": _SIGNED,
  "gain": _SIGNED,
  "brier": (0.0, 2.0),
}
MOST_SEEDS = 100
_MANY = 1e6  # degrees of freedom
_LEAST_TAIL = 1e-12


def bounds_of(key: str) -> tuple[float, float]:
  """Returns the least and the greatest value that a metric can have.

  Args:
    key: in `summary.json`, such as 'test/accuracy', or the metric's name.
      A time, such as 'wall_seconds', is any number above 0.
  """
  part, _, name = key.rpartition("/")
  if not part and name.endswith("_seconds"):
    return _POSITIVE
  return _BOUNDS.get(name, _ONE)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean, its standard error, and how well that error is known.

  Attributes:
    mean: of a metric, or of the differences of one.
    errors: its standard error from each source; NaN where nothing tells it.
    freedoms: degrees of freedom of each error, above 0.
    bounds: the least and the greatest value of the metric.
    is_difference: whether it is one of two such metrics.
  """

  mean: float
  errors: tuple[float, ...]
  freedoms: tuple[float, ...]
  bounds: tuple[float, float] = _ONE
  is_difference: bool = False

  def interval(self, level: float = 0.95) -> tuple[float, float]:
    """Returns the ends of the confidence interval.

    NaN where there is no error, and where the mean is at a bound: seeds that
    are all at 1 do not tell how far from 1 another one can be.

    Args:
      level: confidence, between 0 and 1.
    """
    scale = self._scale()
    if math.isnan(scale):
      return math.nan, math.nan
    reach = scale * _reach(self.errors, self.freedoms, (1 - level) / 2)
    if not reach:
      return self.mean, self.mean
    low, high = self.bounds
    centre = self._scaled(self.mean)
    if self.is_difference:
      most = high - low
      return max(centre - reach, -most), min(centre + reach, most)
    if math.isinf(high):
      return tuple(low + math.exp(x) for x in (centre - reach, centre + reach))
    ends = scipy.special.expit([centre - reach, centre + reach])
    return tuple((low + (high - low) * ends).tolist())

  def chance_below(self, value: float) -> float:
    """Returns the one-sided p-value against a true mean of at most a value.

    The smaller, the surer the true mean is above it; NaN without an interval.
    """
    return self._tail(self._scaled(self.mean) - self._scaled(value))

  def chance_above(self, value: float) -> float:
    """Returns the one-sided p-value against a true mean of at least a value."""
    return self._tail(self._scaled(value) - self._scaled(self.mean))

  def _tail(self, gap: float) -> float:
    """The one-sided p-value of a gap on the scale of the interval.

    It is the tail whose interval ends at the gap.
    """
    scale = self._scale()
    if math.isnan(scale):
      return math.nan
    if not any(self.errors):
      return 0.0 if gap > 0 else 1.0
    if math.isinf(gap):
      return 0.0 if gap > 0 else 1.0

    def missing(tail: float) -> float:
      return scale * _reach(self.errors, self.freedoms, tail) - abs(gap)

    if missing(_LEAST_TAIL) <= 0:
      tail = _LEAST_TAIL
    else:
      tail = float(scipy.optimize.brentq(missing, _LEAST_TAIL, 0.5, xtol=1e-15))
    return tail if gap > 0 else 1 - tail

  def _scaled(self, value: float) -> float:
    low, high = self.bounds
    if self.is_difference:
      return value
    if math.isinf(high):
      return math.log(value - low) if value > low else -math.inf
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return float(scipy.special.logit(share))

  def _scale(self) -> float:
    """What the errors are multiplied by on the scale, by the delta method."""
    low, high = self.bounds
    if any(map(math.isnan, (self.mean, *self.errors))):
      return math.nan
    if self.is_difference:
      return 1.0
    if not low < self.mean < high:
      return math.nan
    if math.isinf(high):
      return 1 / (self.mean - low)
    return (high - low) / ((self.mean - low) * (high - self.mean))


def _reach(
  errors: Sequence[float], freedoms: Sequence[float], tail: float
) -> float:
  """Half the width of the interval with this share on either side."""
  limits = scipy.special.stdtrit(freedoms, 1 - tail)
  return float(np.linalg.norm(np.multiply(errors, limits)))


def _pooled_freedom(
  errors: Sequence[float], freedoms: Sequence[float]
) -> float:
  """Degrees of freedom of a sum of variances, by Satterthwaite (1946)."""
  variances = np.square(errors)
  return float(variances.sum() ** 2 / (variances**2 / freedoms).sum())


def seeds_needed(
  margin: float,
  spread: float,
  *,
  ratio: float = 0.0,
  test_error: float = 0.0,
  tests: int = 1,
  equivalence: bool = False,
  power: float = 0.8,
  level: float = 0.95,
) -> int | None:
  """Returns how many seeds decide a claim, if the truth is a margin away.

  Args:
    margin: the distance; of an equivalence the largest one that is allowed,
      where the truth is no difference.
    spread: standard deviation over seeds.
    ratio: images of the test over those of training where every seed splits
      the data anew, for the correction of Nadeau and Bengio; else 0.
    test_error: standard error that stems from the images of a test which all
      seeds share.
    tests: number of claims of the study, by which Holm's first step divides.
    equivalence: whether the claim is that there is no larger distance.
    power: the wanted chance of a decision.
    level: confidence.

  Returns:
    The number, at least 3, as fewer decide nothing; None if a hundred do not
    suffice: then it is the test that is too small, or the overlap of splits too
    large.
  """
  tail = (1 - level) / 2 / tests
  for seeds in range(3, MOST_SEEDS + 1):
    errors = (spread * math.sqrt(1 / seeds + ratio), test_error)
    freedoms = (seeds - 1, _MANY)
    error = math.hypot(*errors)
    if not error:
      return seeds
    limit = _reach(errors, freedoms, tail) / error
    freedom = _pooled_freedom(errors, freedoms)
    if equivalence:
      inside = float(scipy.special.stdtr(freedom, margin / error - limit))
      chance = 2 * inside - 1
    else:
      chance = float(scipy.stats.nct.sf(limit, freedom, margin / error))
    if chance >= power:
      return seeds
  return None
