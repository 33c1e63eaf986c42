"""Means with standard errors: their intervals, and the errors put together.

A metric between two bounds has an interval between them: Student's t is used
on the logit scale (of a metric without an upper bound, the logarithm), with the
error carried over by the delta method, as is usual for proportions and for
areas under curves (Pepe, "The Statistical Evaluation of Medical Tests", 2003,
section 5.2). Where the error is small beside the distance from the bounds, that
is the plain interval; the centre is the mean itself. A difference has a plain
interval, cut off where no difference can be, which costs no coverage.
"""

import dataclasses
import math
from collections.abc import Sequence

import scipy.special
import scipy.stats

_ONE = (0.0, 1.0)
_POSITIVE = (0.0, math.inf)
_BOUNDS = {"loss": _POSITIVE, "mcc": (-1.0, 1.0), "brier": (0.0, 2.0)}
MOST_SEEDS = 100


def bounds_of(key: str) -> tuple[float, float]:
  """Returns the least and the greatest value that a metric can have.

  Args:
    key: in `summary.json`, such as 'test/accuracy', or the metric's name.
      What has no part, such as 'wall_seconds', is any number above 0.
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
    error: its standard error; NaN where nothing tells it.
    freedom: degrees of freedom of the error, above 0.
    bounds: the least and the greatest value of the metric.
    is_difference: whether it is one of two such metrics.
  """

  mean: float
  error: float
  freedom: float
  bounds: tuple[float, float] = _ONE
  is_difference: bool = False

  def interval(self, level: float = 0.95) -> tuple[float, float]:
    """Returns the ends of the confidence interval.

    NaN where there is no error, and where the mean is at a bound: seeds that
    are all at 1 do not tell how far from 1 another one can be.

    Args:
      level: confidence, between 0 and 1.
    """
    reach = self._scaled_error()
    if math.isnan(reach):
      return math.nan, math.nan
    if not reach:
      return self.mean, self.mean
    reach *= scipy.special.stdtrit(self.freedom, (1 + level) / 2)
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
    error = self._scaled_error()
    if math.isnan(error):
      return math.nan
    gap = self._scaled(self.mean) - self._scaled(value)
    if not error:
      return 0.0 if gap > 0 else 1.0
    return float(scipy.special.stdtr(self.freedom, -gap / error))

  def chance_above(self, value: float) -> float:
    """Returns the one-sided p-value against a true mean of at least a value."""
    error = self._scaled_error()
    if math.isnan(error):
      return math.nan
    gap = self._scaled(self.mean) - self._scaled(value)
    if not error:
      return 0.0 if gap < 0 else 1.0
    return float(scipy.special.stdtr(self.freedom, gap / error))

  def _scaled(self, value: float) -> float:
    low, high = self.bounds
    if self.is_difference:
      return value
    if math.isinf(high):
      return math.log(value - low) if value > low else -math.inf
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return float(scipy.special.logit(share))

  def _scaled_error(self) -> float:
    """The error on the scale of the interval, by the delta method."""
    low, high = self.bounds
    if self.is_difference or math.isnan(self.mean):
      return self.error
    if not low < self.mean < high:
      return math.nan
    if math.isinf(high):
      return self.error / (self.mean - low)
    return self.error * (high - low) / ((self.mean - low) * (high - self.mean))


def combine(
  variances: Sequence[float], freedoms: Sequence[float]
) -> tuple[float, float]:
  """Adds independent sources of variance of one mean.

  Args:
    variances: of the mean, by source.
    freedoms: degrees of freedom of each of these estimates.

  Returns:
    The standard error, and its degrees of freedom by Satterthwaite, "An
    approximate distribution of estimates of variance components", Biometrics 2
    (1946).
  """
  total = sum(variances)
  parts = [v**2 / f for v, f in zip(variances, freedoms, strict=True)]
  if not total:
    return 0.0, min(freedoms)
  return math.sqrt(total), total**2 / sum(parts)


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
    error, freedom = combine(
      [spread**2 * (1 / seeds + ratio), test_error**2], [seeds - 1, 1e6]
    )
    if not error:
      return seeds
    limit = scipy.special.stdtrit(freedom, 1 - tail)
    if equivalence:
      inside = float(scipy.special.stdtr(freedom, margin / error - limit))
      chance = 2 * inside - 1
    else:
      chance = float(scipy.stats.nct.sf(limit, freedom, margin / error))
    if chance >= power:
      return seeds
  return None
