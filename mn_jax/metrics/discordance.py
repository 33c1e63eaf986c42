"""Images on which one network is right and another wrong: McNemar's test.

Images of one patient are alike, and the same image counts once for every seed,
so they are no independent trials. Where a group has several discordant images,
the test is that of Yang, Sun and Hardin, "A note on the tests for clustered
matched-pair binary data", Biometrical Journal 52 (2010), which is McNemar's
without correction for groups of one image; else it is exact (McNemar 1947).
The effect size is the odds ratio of the discordant images.
"""

import dataclasses
import math

import numpy as np
import scipy.special
import scipy.stats


@dataclasses.dataclass(frozen=True)
class Discordance:
  """Images that exactly one of two networks predicts rightly.

  Attributes:
    first_only: number of images that only the first has right.
    second_only: number of those that only the second has right.
    odds_ratio: the first over the second; infinite if that is 0, NaN if both
      are.
    low, high: its 95 % interval, by group; NaN with fewer than two groups that
      have such images.
    p_value: two-sided, against as many of each kind; 1 without such images.
    groups: number of groups that have such images.
  """

  first_only: int
  second_only: int
  odds_ratio: float
  low: float
  high: float
  p_value: float
  groups: int


def measure(
  first_right: np.ndarray, second_right: np.ndarray, groups: np.ndarray
) -> Discordance:
  """Counts discordant images and tests whether one network has more of them.

  Args:
    first_right, second_right: bool[n], whether the networks are right; several
      pairs of networks, such as those of several seeds, one after the other.
    groups: [n] numbers or names of the images' groups, or of the images.
  """
  codes = np.unique(groups, return_inverse=True)[1]
  ours = np.bincount(codes, first_right & ~second_right)
  theirs = np.bincount(codes, second_right & ~first_right)
  counted = ours + theirs > 0
  ours, theirs = ours[counted], theirs[counted]
  one, other = int(ours.sum()), int(theirs.sum())
  total, units = one + other, len(ours)
  if not total:
    return Discordance(0, 0, math.nan, math.nan, math.nan, 1.0, 0)
  odds = one / other if other else math.inf
  if units == total:
    exact = scipy.stats.binomtest(one, total)
    ends = exact.proportion_ci(0.95, "exact")
    with np.errstate(divide="ignore"):
      low, high = np.exp(scipy.special.logit([ends.low, ends.high])).tolist()
    return Discordance(one, other, odds, low, high, exact.pvalue, units)
  gaps = ours - theirs
  z = float(gaps.sum() / math.sqrt((gaps**2).sum())) if gaps.any() else 0.0
  p_value = float(2 * scipy.special.ndtr(-abs(z)))
  low = high = math.nan
  if units > 1 and one and other:
    # The share of the first among them is a ratio of sums over groups.
    share = one / total
    residuals = ours - share * (ours + theirs)
    error = math.sqrt((residuals**2).sum() * units / (units - 1)) / total
    reach = scipy.special.stdtrit(units - 1, 0.975) * error
    reach /= share * (1 - share)
    low, high = odds * math.exp(-reach), odds * math.exp(reach)
  return Discordance(one, other, odds, float(low), float(high), p_value, units)
