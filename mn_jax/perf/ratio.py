"""Ratios of paired times, with bootstrap intervals."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 2000


def paired_ratio(
  ours: Sequence[float], theirs: Sequence[float]
) -> tuple[float, tuple[float, float]]:
  """How many times as fast `ours` is, with its 95 % interval.

  Args:
    ours, theirs: seconds per step of the same repeats.

  Returns:
    The ratio of the medians, theirs over ours: above 1 where ours is faster;
    and the percentile bootstrap's interval, from resampled pairs.
  """
  pairs = np.array([ours, theirs])
  draw = np.random.default_rng(0)
  chosen = draw.integers(0, len(ours), (_RESAMPLES, len(ours)))
  medians = np.median(pairs[:, chosen], axis=2)
  low, high = np.quantile(medians[1] / medians[0], (0.025, 0.975))
  first, second = np.median(pairs, axis=1)
  return float(second / first), (float(low), float(high))
