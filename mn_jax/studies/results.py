"""Results of a study: the summaries of its runs as tables of numbers.

Test metrics count only where the test set chose nothing: those of a run whose
checkpoint was selected on the test set are left out, and reported as refused.
"""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import comparison
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import jsonable, mean_std, metric_name
from mn_jax.run import records
from mn_jax.studies.study import Claim, Study, StudyRun

# Verdicts on a claim.
HOLDS, FAILS = "holds", "does not hold"
OPEN, NOT_RUN = "not decided", "not run"
# As many metrics as a terminal of 80 columns has room for.
_COLUMNS = 3

# Seed -> content of `summary.json`.
Summaries = Mapping[int, Mapping[str, Any]]


def collect(study: Study, runs: Sequence[StudyRun]) -> dict[str, Any]:
  """Returns the results of a study as values that JSON can hold.

  Args:
    study: the study.
    runs: all of its runs, complete or not.

  Returns:
    'members': for each member its number of runs, the metrics as 'mean', 'std'
    (sample standard deviation), 'low' and 'high' (95 % confidence interval of
    the mean by Student's t) and 'values' by seed, the same for each published
    metric ('published', with the published number as 'there'), 'refused' (seeds
    whose test metrics do not count), parameters, mult-adds, wall time and
    digests of splits; 'pairs': for each compared pair the mean difference over
    the seeds that both have, its interval and the p-values of the paired t test
    ('p', and 'p_holm', adjusted for the number of pairs) and of Wilcoxon's
    test; and 'claims', each with its 'verdict' and the numbers behind it. What
    is undefined for so few seeds is None.
  """
  summaries = summaries_by_member(runs)
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
        "seeds": sorted(of_seed),
        "refused": _refused_seeds(of_seed),
        "wanted": sum(run.member.name == member.name for run in runs),
        "metrics": {
          name: _statistics(_values(of_seed, f"test/{name}"))
          for name in study.metrics
        },
        "published": {
          key: {"there": value, **_statistics(_values(of_seed, key))}
          for key, value in member.published.items()
        },
        **_shared_facts(list(of_seed.values())),
      }
      for member in study.members
      for of_seed in [summaries[member.name]]
    ],
    "pairs": _compared_pairs(study, summaries),
    "claims": [judge_claim(claim, summaries) for claim in study.claims],
  }


def finish(console: Console, study: Study, runs: Sequence[StudyRun]) -> None:
  """Writes `results.json` and prints the metrics and the compared pairs."""
  results = collect(study, runs)
  path = runs[0].workdir.parents[1] / "results.json"
  records.write_object(path, results)
  show_damage(console, runs)
  show(console, results)
  console.line(f"Results: {path}")


def show(console: Console, results: Mapping[str, Any]) -> None:
  """Prints the metrics and the compared pairs of what `collect` returned."""
  metrics = results["metrics"][:_COLUMNS]
  rows = [
    (
      member["name"],
      f"{len(member['seeds'])}/{member['wanted']}",
      *(mean_std(spread[x]["mean"], spread[x]["std"]) for x in metrics),
    )
    for member in results["members"]
    for spread in [member["metrics"]]
  ]
  columns = ("member", "runs", *map(metric_name, metrics))
  console.table(results["title"], columns, rows)
  for pair in results["pairs"]:
    difference = pair["metrics"][metrics[0]]
    if difference["mean"] is None:
      continue
    line = f"{metric_name(metrics[0])}, {' minus '.join(pair['members'])}: "
    line += formatting.number(difference["mean"], signed=True)
    if difference["low"] is not None:
      ends = (difference["low"], difference["high"])
      line += f" ({formatting.interval(*ends, signed=True)})"
    console.line(line)


def show_damage(console: Console, runs: Sequence[StudyRun]) -> None:
  """Names the runs whose summaries cannot be read, and so do not count."""
  for run in runs:
    if damage := run.damage():
      console.line(f"Left out: {run.title()}: {damage}")


def summaries_by_member(
  runs: Sequence[StudyRun],
) -> dict[str, dict[int, dict[str, Any]]]:
  """Returns member -> seed -> `summary.json` of its complete runs."""
  summaries = collections.defaultdict(dict)
  for run in runs:
    if (summary := run.summary()) is not None:
      summaries[run.member.name][run.seed] = summary
  return summaries


def _refused_seeds(summaries: Summaries) -> list[int]:
  """Returns the seeds whose checkpoint was selected on the test set."""
  return sorted(k for k, s in summaries.items() if s["chosen_on"] == "test")


def _values(summaries: Summaries, key: str) -> dict[int, float]:
  """Returns seed -> metric, of the runs in which it is defined and counts."""
  refused = _refused_seeds(summaries) if "test/" in key else []
  return {
    seed: summary[key]
    for seed, summary in sorted(summaries.items())
    if summary.get(key) is not None and seed not in refused
  }


def judge_claim(
  claim: Claim, summaries: Mapping[str, Summaries]
) -> dict[str, Any]:
  """Decides whether a claim holds in the runs.

  Args:
    claim: the claim.
    summaries: of the runs of each member.

  Returns:
    The claim's fields, 'mean', 'low', 'high', 'seeds' and 'verdict': the claim
    holds, or does not, where the whole 95 % interval over seeds is on one side
    of its value; otherwise, or with one seed, it is not decided.
  """
  values = _values(summaries[claim.one], claim.metric)
  if claim.other:
    others = _values(summaries[claim.other], claim.metric)
    numbers = _paired_difference(values, others)
  else:
    numbers = {**_statistics(values), "seeds": list(values)}
  numbers = {name: numbers[name] for name in ("mean", "low", "high", "seeds")}
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


def _compared_pairs(
  study: Study, summaries: Mapping[str, Summaries]
) -> list[dict[str, Any]]:
  pairs = [
    {
      "members": [one, other],
      "metrics": {
        name: _paired_difference(
          _values(summaries[one], f"test/{name}"),
          _values(summaries[other], f"test/{name}"),
        )
        for name in study.metrics
      },
    }
    for one, other in study.pairs
  ]
  for name in study.metrics:
    differences = [pair["metrics"][name] for pair in pairs]
    p_values = [math.nan if d["p"] is None else d["p"] for d in differences]
    adjusted = comparison.holm(p_values).tolist()
    for difference, p in zip(differences, adjusted, strict=True):
      difference |= jsonable({"p_holm": p})
  return pairs


def _statistics(value_of_seed: Mapping[int, float]) -> dict[str, Any]:
  """Mean, standard deviation and interval of the mean over seeds."""
  values = list(value_of_seed.values())
  mean = low = high = std = math.nan
  if values:
    # The interval of a mean is that of its difference from zero.
    from_zero = comparison.across_seeds(values, [0.0] * len(values))
    mean, low, high = from_zero.mean, from_zero.low, from_zero.high
  if len(values) > 1:
    std = float(np.std(values, ddof=1))
  numbers = {"mean": mean, "std": std, "low": low, "high": high}
  return {**jsonable(numbers), "values": values}


def _paired_difference(
  one: Mapping[int, float], other: Mapping[int, float]
) -> dict[str, Any]:
  """The mean of one minus the other, over the seeds that both have."""
  seeds = sorted(one.keys() & other.keys())
  names = ("mean", "low", "high", "p", "p_wilcoxon")
  numbers = [math.nan] * len(names)
  if seeds:
    numbers = dataclasses.astuple(
      comparison.across_seeds(
        [one[seed] for seed in seeds], [other[seed] for seed in seeds]
      )
    )
  return {"seeds": seeds, **jsonable(dict(zip(names, numbers, strict=False)))}


def _shared_facts(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  if not summaries:
    return {}
  first = summaries[0]
  shared = ("model", "params", "macs", "epochs", "split", "device", "versions")
  return {
    **{name: first[name] for name in shared},
    "wall_seconds": float(np.mean([s["wall_seconds"] for s in summaries])),
    "split_sha256": sorted({s["split_sha256"] for s in summaries}),
    "images_sha256": sorted({s["images_sha256"] for s in summaries}),
  }
