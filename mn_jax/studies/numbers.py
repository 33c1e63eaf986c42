"""A metric of a row of a study, or a difference of two, with its intervals."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mn_jax.metrics.estimates import Estimate
from mn_jax.observe import formatting

_UNKNOWN = (math.nan, math.nan)
# What an interval holds.
SHARED, OWN, SEEDS = "seeds and test", "seeds that split anew", "seeds only"
CHOSEN = "seeds, validation and test"
MIXED = "seeds that split anew, and the test of the row that does not"
BY_IMAGE = "seeds that split images anew, and groups"


@dataclasses.dataclass(frozen=True)
class Numbers:
  """A metric of a row, or its difference between two rows, over seeds.

  Attributes:
    seeds: whose runs count.
    values: the metric, or the difference, by seed.
    estimate: their mean and its error, of all sources there are.
    over_seeds: ends of the interval over seeds alone, or over new splits.
    over_groups: ends of the interval over the groups of the tests alone, for
      these networks.
    unit: that a test is resampled by, 'group' or 'image'; '' if there are no
      predictions.
    holds: what the interval of the estimate holds, one of those above.
    ratio: test over training images where seeds split anew, else 0.
    test_error: standard error from groups that seeds share, of a test and of
      the validation part that chose a threshold.
    undefined: seeds without the metric: of a class that is never predicted
      there is no precision.
  """

  seeds: Sequence[int]
  values: Sequence[float]
  estimate: Estimate
  over_seeds: tuple[float, float] = _UNKNOWN
  over_groups: tuple[float, float] = _UNKNOWN
  unit: str = ""
  holds: str = SEEDS
  ratio: float = 0.0
  test_error: float = 0.0
  undefined: Sequence[int] = ()

  @property
  def spread(self) -> float:
    """Sample standard deviation over seeds; NaN of fewer than two."""
    if len(self.values) < 2:
      return math.nan
    return float(np.std(self.values, ddof=1))

  def for_json(self) -> dict[str, Any]:
    """Returns the numbers as values that JSON can hold."""
    low, high = self.estimate.interval()
    return formatting.jsonable(
      {
        "mean": self.estimate.mean,
        "std": self.spread,
        "low": low,
        "high": high,
        "over_seeds": self.over_seeds,
        "over_groups": self.over_groups,
        "unit": self.unit,
        "holds": self.holds,
        "seeds": list(self.seeds),
        "undefined": list(self.undefined),
        "values": list(self.values),
      }
    )
