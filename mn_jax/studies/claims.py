"""Verdicts on the claims of a study, and how many seeds they need.

A claim is decided by a test of its number against its value: by the interval
that holds seeds and test images, and after Holm's adjustment over all claims of
the study, also those that are not run yet. One seed or two decide nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.metrics import comparison, estimates
from mn_jax.observe import formatting
from mn_jax.studies import numbers as numbers_lib
from mn_jax.studies.evidence import Evidence
from mn_jax.studies.numbers import Numbers
from mn_jax.studies.study import Claim

HOLDS, FAILS = "holds", "does not hold"
OPEN, NOT_RUN = "not decided", "not run"
BY_HOLM = "after Holm's adjustment for all claims"
LEAST_SEEDS = 3
_LEVEL = 0.05


def judge(
  claims: Sequence[Claim], evidence: Evidence, ratios: Mapping[str, float]
) -> list[dict[str, Any]]:
  """Decides the claims of a study.

  Args:
    claims: all of the study, as they are tested together: of one without runs
      p counts as 1.
    evidence: of its runs.
    ratios: row -> test over training images that its runs are going to have,
      as for `plan`.

  Returns:
    For each the claim's fields, the numbers of `Numbers.for_json`, 'p'
    (two-sided, of the verdict that is nearer), 'p_holm', 'verdict', 'reason'
    why it is not decided, or '', and 'seeds_needed' with the spread that this
    is for and whether it was 'measured', or 'expected' by the study file.
  """
  measured = [evidence.measure(x.one, x.other, x.metric) for x in claims]
  chances = [_chances(*x) for x in zip(claims, measured, strict=True)]
  p_values = [min(*both, 1.0) for both in chances]
  adjusted = comparison.holm(p_values).tolist()
  judged = []
  for claim, numbers, (for_it, against), p, p_holm in zip(
    claims, measured, chances, p_values, adjusted, strict=True
  ):
    verdict, reason = OPEN, _reason(claim, numbers, p, p_holm)
    if not numbers.values:
      verdict = NOT_RUN
    elif not reason:
      verdict = HOLDS if for_it < against else FAILS
    judged.append(
      {
        **vars(claim),
        **numbers.for_json(),
        **formatting.jsonable({"p": p, "p_holm": p_holm}),
        "verdict": verdict,
        "reason": reason,
        **plan(claim, numbers, ratios.get(claim.one, 0.0), tests=len(claims)),
      }
    )
  return judged


def plan(
  claim: Claim, numbers: Numbers, ratio: float, *, tests: int
) -> dict[str, Any]:
  """Returns how many seeds a claim needs, as values that JSON can hold.

  Args:
    claim: the claim.
    numbers: of the runs there are. Before there are three, the error of a test
      that all seeds share is not known, and left out.
    ratio: test over training images, where seeds are going to split the data
      anew; else 0.
    tests: number of claims that are tested together.

  Returns:
    'spread' (standard deviation over seeds; None if not known), 'spread_from',
    'seeds_needed' for an error of 5 % and a power of 80 %, None if it is not
    known or no hundred seeds suffice, and 'seeds_alone', the same without
    Holm's adjustment.
  """
  spread, source = claim.spread, "expected" if claim.spread else ""
  test_error = 0.0
  if len(numbers.values) >= LEAST_SEEDS:
    spread, source = numbers.spread, "measured"
    ratio, test_error = numbers.ratio, numbers.test_error
  needed = {"seeds_needed": None, "seeds_alone": None}
  equivalence = claim.relation == "="
  margin = claim.value if equivalence else claim.margin
  if source and not math.isnan(ratio):
    for name, count in (("seeds_needed", tests), ("seeds_alone", 1)):
      needed[name] = estimates.seeds_needed(
        margin,
        spread,
        ratio=ratio,
        test_error=test_error,
        tests=count,
        equivalence=equivalence,
      )
  return {
    "margin": margin,
    "spread": spread if source else None,
    "spread_from": source,
    **needed,
  }


def _chances(claim: Claim, numbers: Numbers) -> tuple[float, float]:
  """Two-sided p-values of 'holds' and of 'does not hold'; NaN if untested."""
  estimate, value = numbers.estimate, claim.value
  if _untested(claim, numbers):
    return math.nan, math.nan
  if claim.relation == "=":
    for_it = max(estimate.chance_below(-value), estimate.chance_above(value))
    against = min(estimate.chance_below(value), estimate.chance_above(-value))
  else:
    for_it, against = estimate.chance_below(value), estimate.chance_above(value)
    if claim.relation == "<":
      for_it, against = against, for_it
  return 2 * for_it, 2 * against


def _untested(claim: Claim, numbers: Numbers) -> str:
  """Why a claim cannot be tested; '' if it can."""
  count = len(numbers.values)
  if missing := numbers.undefined:
    seeds = ", ".join(map(str, missing))
    return f"{claim.metric} is undefined of seed {seeds}"
  if count < LEAST_SEEDS:
    return f"{LEAST_SEEDS} seeds are the least that decide"
  is_of_training = claim.metric.startswith(("train/", "last/train/"))
  if numbers.holds == numbers_lib.SEEDS and not is_of_training:
    return "the predictions of a run are not there"
  if math.isnan(numbers.estimate.interval()[0]):
    return "its error is not known"
  return ""


def _reason(claim: Claim, numbers: Numbers, p: float, p_holm: float) -> str:
  if why := _untested(claim, numbers):
    return why
  if p_holm <= _LEVEL:
    return ""
  if p <= _LEVEL:
    return BY_HOLM
  return "the interval has both sides"
