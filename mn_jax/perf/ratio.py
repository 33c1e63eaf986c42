"""Ratios of paired times, with bootstrap intervals."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 2000


def paired_ratio(
  seconds: Sequence[float], reference: Sequence[float]
) -> tuple[float, tuple[float, float]]:
  """Speed relative to a reference, with its 95 % interval.

  Args:
    seconds, reference: seconds per step of the same repeats, f[repeats] each.

  Returns:
    The ratio of the medians, the reference's over the other: above 1 where the
    reference is slower; and the percentile bootstrap's interval, from resampled
    pairs.
  """
  pairs = np.array([seconds, reference])
  draw = np.random.default_rng(0)
  chosen = draw.integers(0, len(seconds), (_RESAMPLES, len(seconds)))
  medians = np.median(pairs[:, chosen], axis=2)
  low, high = np.quantile(medians[1] / medians[0], (0.025, 0.975))
  first, second = np.median(pairs, axis=1)
  return float(second / first), (float(low), float(high))
