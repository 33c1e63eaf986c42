"""What came of a study: its runs' summaries as one table of numbers.

A number of the test counts only where the test chose nothing: those of a run
whose checkpoint was chosen by the test part are left out, and said to be.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import comparison
from mn_jax.studies.study import Claim, Run, Study

# Verdicts on a claim.
HOLDS, FAILS = "holds", "does not hold"
OPEN, NOT_RUN = "not decided", "not run"

Summaries = Mapping[int, Mapping[str, Any]]


def collect(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
  """The results of a study, of values that JSON keeps.

  Args:
    study: which.
    runs: all of its runs, complete or not.

  Returns:
    'members': for each row its runs' number, the metrics as 'mean', 'std'
    (sample standard deviation), 'low' and 'high' (95 % confidence interval of
    the mean by Student's t) and 'values' by seed, the same of what was
    published ('published', with the number as 'there'), 'refused' (seeds whose
    test numbers do not count), parameters, mult-adds, wall time and digests of
    splits; 'pairs': for each compared pair the mean difference over the seeds
    that both have, its interval and the p-values of the paired t test ('p',
    and 'p_holm', adjusted for the number of pairs) and of Wilcoxon's; and
    'claims', each with its 'verdict' and the numbers that it rests on. What is
    not defined for so few seeds is None.
  """
  done = {
    member.name: {
      run.seed: summary
      for run in runs
      if run.member.name == member.name
      and (summary := run.summary()) is not None
    }
    for member in study.members
  }
  pairs = [
    {
      "members": [one, other],
      "metrics": {
        name: _paired(
          values(done[one], f"test/{name}"),
          values(done[other], f"test/{name}"),
        )
        for name in study.metrics
      },
    }
    for one, other in study.pairs
  ]
  for name in study.metrics:
    found = [pair["metrics"][name] for pair in pairs]
    adjusted = comparison.holm([_number(f["p"]) for f in found])
    for each, p in zip(found, adjusted.tolist(), strict=True):
      each |= _defined({"p_holm": p})
  return {
    "title": study.title,
    "source": study.source,
    "metrics": list(study.metrics),
    "members": [
      {
        "name": member.name,
        "config": member.config,
        "fields": dict(member.fields),
        "weights": member.weights,
        "note": member.note,
        "seeds": sorted(done[member.name]),
        "refused": refused(done[member.name]),
        "wanted": sum(run.member.name == member.name for run in runs),
        "metrics": {
          name: spread(values(done[member.name], f"test/{name}"))
          for name in study.metrics
        },
        "published": {
          key: {"there": there, **spread(values(done[member.name], key))}
          for key, there in member.published.items()
        },
        **_facts(list(done[member.name].values())),
      }
      for member in study.members
    ],
    "pairs": pairs,
    "claims": [judge(claim, done) for claim in study.claims],
  }


def refused(summaries: Summaries) -> list[int]:
  """Seeds of the runs whose selection touched the test set."""
  return sorted(
    seed
    for seed, summary in summaries.items()
    if summary["chosen_on"] == "test"
  )


def values(summaries: Summaries, key: str) -> dict[int, float]:
  """Seed -> metric, of runs in which it is defined and counts."""
  left_out = refused(summaries) if "test/" in key else []
  return {
    seed: summary[key]
    for seed, summary in sorted(summaries.items())
    if summary.get(key) is not None and seed not in left_out
  }


def judge(claim: Claim, done: Mapping[str, Summaries]) -> dict[str, Any]:
  """A claim, its numbers here, and what they say about it.

  Args:
    claim: which.
    done: row -> its runs.

  Returns:
    The claim's fields, 'mean', 'low', 'high', 'seeds' and 'verdict': it holds,
    or not, where the whole 95 % interval over seeds is on one side; else, or
    with one seed, it is not decided.
  """
  first = values(done[claim.one], claim.metric)
  if claim.other:
    numbers = _paired(first, values(done[claim.other], claim.metric))
    numbers = {k: numbers[k] for k in ("mean", "low", "high", "seeds")}
  else:
    whole = spread(first)
    numbers = {k: whole[k] for k in ("mean", "low", "high")}
    numbers["seeds"] = list(first)
  return {**vars(claim), **numbers, "verdict": _verdict(claim, numbers)}


def _verdict(claim: Claim, numbers: Mapping[str, Any]) -> str:
  low, high, value = numbers["low"], numbers["high"], claim.value
  if numbers["mean"] is None:
    return NOT_RUN
  if low is None:
    return OPEN
  if claim.relation == "=":
    inside = -value <= low and high <= value
    outside = low > value or high < -value
  else:
    inside, outside = low > value, high < value
    if claim.relation == "<":
      inside, outside = outside, inside
  return HOLDS if inside else FAILS if outside else OPEN


def spread(numbers: Mapping[int, float]) -> dict[str, Any]:
  """Mean, deviation and interval of a metric, from seed -> its value."""
  found = list(numbers.values())
  mean = low = high = std = math.nan
  if found:
    # The interval of a mean is that of its difference from nothing.
    alone = comparison.across_seeds(found, [0.0] * len(found))
    mean, low, high = alone.mean, alone.low, alone.high
  if len(found) > 1:
    std = float(np.std(found, ddof=1))
  numbers = {"mean": mean, "std": std, "low": low, "high": high}
  return {**_defined(numbers), "values": found}


def _paired(
  one: Mapping[int, float], other: Mapping[int, float]
) -> dict[str, Any]:
  """The mean of one less the other, over the seeds that both have."""
  seeds = sorted(one.keys() & other.keys())
  names = ("mean", "low", "high", "p", "p_wilcoxon")
  if not seeds:
    return {"seeds": seeds, **dict.fromkeys(names)}
  found = comparison.across_seeds(
    [one[seed] for seed in seeds], [other[seed] for seed in seeds]
  )
  numbers = (
    found.mean,
    found.low,
    found.high,
    found.t_p_value,
    found.wilcoxon_p_value,
  )
  return {"seeds": seeds, **_defined(dict(zip(names, numbers, strict=True)))}


def _number(value: float | None) -> float:
  return math.nan if value is None else value


def _facts(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """What all runs of a row share, and their mean time."""
  if not summaries:
    return {}
  first = summaries[0]
  return {
    "model": first["model"],
    "params": first["params"],
    "macs": first["macs"],
    "epochs": first["epochs"],
    "wall_seconds": float(np.mean([s["wall_seconds"] for s in summaries])),
    "split": first["split"],
    "split_sha256": sorted({s["split_sha256"] for s in summaries}),
    "images_sha256": sorted({s["images_sha256"] for s in summaries}),
    "device": first["device"],
    "versions": first["versions"],
  }


def _defined(numbers: Mapping[str, Any]) -> dict[str, Any]:
  """NaN as None, which JSON has."""
  return {
    name: None if isinstance(x, float) and math.isnan(x) else x
    for name, x in numbers.items()
  }
