"""What came of a study: its runs' summaries as one table of numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats

from mn_jax.study import Run, Study

_CONFIDENCE = 0.95


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
    difference over the seeds that both have, its interval and p (paired t
    test). What is not defined for so few seeds is None.
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
    "pairs": [
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
    ],
  }


def _values(summaries: dict[int, dict], key: str) -> dict[int, float]:
  """Seed -> metric, of runs in which it is defined."""
  return {
    seed: summary[key]
    for seed, summary in sorted(summaries.items())
    if summary.get(key) is not None
  }


def _spread(values: dict[int, float]) -> dict[str, Any]:
  numbers = np.array(list(values.values()), np.float64)
  count = len(numbers)
  mean = float(numbers.mean()) if count else math.nan
  std = float(numbers.std(ddof=1)) if count > 1 else math.nan
  half = _half_width(std, count)
  return _defined(
    {
      "mean": mean,
      "std": std,
      "low": mean - half,
      "high": mean + half,
      "values": list(values.values()),
    }
  )


def _paired(one: dict[int, float], other: dict[int, float]) -> dict[str, Any]:
  """The mean of one less the other, over the seeds that both have."""
  seeds = sorted(one.keys() & other.keys())
  differences = np.array([one[s] - other[s] for s in seeds], np.float64)
  found = _spread(dict(zip(seeds, differences.tolist(), strict=True)))
  p = math.nan
  if len(seeds) > 1 and differences.std() > 0:
    p = float(scipy.stats.ttest_1samp(differences, 0).pvalue)
  return {**found, "seeds": seeds, **_defined({"p": p})}


def _half_width(std: float, count: int) -> float:
  """Half of the confidence interval of a mean."""
  if count < 2:
    return math.nan
  quantile = scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1)
  return float(quantile * std / math.sqrt(count))


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
