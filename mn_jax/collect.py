"""What came of a study: its runs' summaries as one table of numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import comparison
from mn_jax.study import Run, Study


def collect(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
  """The results of a study, of values that JSON keeps.

  Args:
    study: which.
    runs: all of its runs, complete or not.

  Returns:
    'members': for each row its runs' number, the metrics as 'mean', 'std'
    (sample standard deviation), 'low' and 'high' (95 % confidence interval of
    the mean by Student's t) and 'values' by seed, parameters, mult-adds, wall
    time and digests of splits; and 'pairs': for each compared pair the mean
    difference over the seeds that both have, its interval and the p-values of
    the paired t test ('p', and 'p_holm', adjusted for the number of pairs) and
    of Wilcoxon's. What is not defined for so few seeds is None.
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
          _values(done[one], f"test/{name}"),
          _values(done[other], f"test/{name}"),
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
    "members": [
      {
        "name": member.name,
        "config": member.config,
        "published": dict(member.published),
        "note": member.note,
        "seeds": sorted(done[member.name]),
        "wanted": sum(run.member.name == member.name for run in runs),
        "metrics": {
          name: _spread(_values(done[member.name], f"test/{name}"))
          for name in study.metrics
        },
        **_facts(list(done[member.name].values())),
      }
      for member in study.members
    ],
    "pairs": pairs,
  }


def _values(summaries: dict[int, dict], key: str) -> dict[int, float]:
  """Seed -> metric, of runs in which it is defined."""
  return {
    seed: summary[key]
    for seed, summary in sorted(summaries.items())
    if summary.get(key) is not None
  }


def _spread(values: dict[int, float]) -> dict[str, Any]:
  numbers = list(values.values())
  mean = low = high = std = math.nan
  if numbers:
    # The interval of a mean is that of its difference from nothing.
    alone = comparison.across_seeds(numbers, [0.0] * len(numbers))
    mean, low, high = alone.mean, alone.low, alone.high
  if len(numbers) > 1:
    std = float(np.std(numbers, ddof=1))
  spread = {"mean": mean, "std": std, "low": low, "high": high}
  return {**_defined(spread), "values": numbers}


def _paired(one: dict[int, float], other: dict[int, float]) -> dict[str, Any]:
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


def _facts(summaries: list[dict[str, Any]]) -> dict[str, Any]:
  """What all runs of a row share, and their mean time."""
  if not summaries:
    return {}
  first = summaries[0]
  return {
    "params": first["params"],
    "macs": first["macs"],
    "wall_seconds": float(np.mean([s["wall_seconds"] for s in summaries])),
    "split": first["split"],
    "split_sha256": sorted({s["split_sha256"] for s in summaries}),
    "images_sha256": sorted({s["images_sha256"] for s in summaries}),
    "device": first["device"],
  }


def _defined(numbers: dict[str, Any]) -> dict[str, Any]:
  """NaN as None, which JSON has."""
  return {
    name: None if isinstance(x, float) and math.isnan(x) else x
    for name, x in numbers.items()
  }
