"""Results of a sweep: its points ranked by a validation metric.

The test set chooses nothing: its metrics are read for the best point alone, and
only once every run is complete, so that no point can be preferred for them.
"""

import math
import operator
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from mn_jax.config import Config
from mn_jax.metrics import selection
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import jsonable, mean_std, metric_name
from mn_jax.run import records
from mn_jax.studies import results as study_results
from mn_jax.studies.sweep_plan import SweepPlan, SweepPoint


def rank(plan: SweepPlan) -> dict[str, Any]:
  """Ranks the points of a sweep; returns values that JSON can hold.

  Args:
    plan: the runs of the sweep, complete or not.

  Returns:
    'title', 'config', 'metric' (of validation), 'complete' (whether all runs
    are), 'points' and 'chosen'. A point has 'name', 'fields', the metric's
    'values' by seed (None of a run that diverged), their 'mean' and 'std'
    (sample standard deviation), 'wanted' runs, 'diverged' ones and 'rank', from
    1. The best mean comes first; points of which a run diverged come after all
    others, and those that lack runs last, with the rank None. 'chosen' is None
    until all runs are complete, and where all points diverged; else the first
    point's name, its 'arguments' of `mn_jax.main`, and 'val' and 'test': metric
    -> 'mean' and 'std' over its seeds.
  """
  summaries = study_results.summaries_by_member(plan.runs)
  wanted = len(plan.runs) // len(plan.points)
  points = [
    _score_point(point, plan.metric, summaries[point.name], wanted)
    for point in plan.points
  ]
  points.sort(key=lambda point: _sort_key(point, plan.metric))
  for place, point in enumerate(points, 1):
    point["rank"] = place if len(point["values"]) == wanted else None
  complete = all(point["rank"] is not None for point in points)
  chosen, best = None, points[0]
  if complete and not best["diverged"]:
    runs = list(summaries[best["name"]].values())
    chosen = {
      "name": best["name"],
      "arguments": [f"{name}={x}" for name, x in best["fields"].items()],
      "val": _mean_metrics(runs, "val/"),
      "test": _mean_metrics(runs, "test/"),
    }
  return {
    "title": plan.title,
    "config": plan.config,
    "metric": plan.metric,
    "complete": complete,
    "points": points,
    "chosen": chosen,
  }


def finish(console: Console, plan: SweepPlan) -> None:
  """Writes `sweep.json`; prints the ranking and, once complete, the best."""
  results = rank(plan)
  path = plan.folder / "sweep.json"
  records.write_object(path, results)
  study_results.show_damage(console, plan.runs)
  configs = {point.name: point.config for point in plan.points}
  rows = [
    (
      _describe(configs[point["name"]], plan.fields()),
      "-" if point["rank"] is None else str(point["rank"]),
      f"{len(point['values'])}/{point['wanted']}",
      "diverged"
      if point["diverged"]
      else mean_std(point["mean"], point["std"]),
    )
    for point in results["points"]
  ]
  metric = metric_name(f"val {plan.metric}")
  console.table(plan.title, ("point", "rank", "runs", metric), rows)
  for point in results["points"]:
    if point["diverged"]:
      console.line(
        f"Diverged, so ranked last: {point['name']}, {point['diverged']} of "
        f"{point['wanted']} runs"
      )
  _show_chosen(console, plan, results)
  console.line(f"Results: {path}")


def _show_chosen(
  console: Console, plan: SweepPlan, results: Mapping[str, Any]
) -> None:
  if not results["complete"]:
    done = sum(len(point["values"]) for point in results["points"])
    console.line(
      f"{done} of {len(plan.runs)} runs are complete. The test of the best "
      "point is shown once all are."
    )
    return
  chosen = results["chosen"]
  if chosen is None:
    console.line("All points diverged: none is chosen.")
    return
  rows = [
    (metric_name(name), mean_std(**chosen["val"][name]), mean_std(**test))
    for name, test in chosen["test"].items()
    if name != "count"
  ]
  columns = ("metric", "validation", "test")
  console.table(f"Chosen: {chosen['name']}", columns, rows)
  console.line(
    f"It was chosen among {len(plan.points)} points on validation, whose "
    "metrics are therefore optimistic; those of the test are not."
  )
  if chosen["arguments"]:
    console.line(f"Its fields: {shlex.join(chosen['arguments'])}")


def _score_point(
  point: SweepPoint, metric: str, summaries: Mapping[int, Mapping], wanted: int
) -> dict[str, Any]:
  values = {
    seed: jsonable(summary[f"val/{metric}"])
    for seed, summary in sorted(summaries.items())
  }
  return {
    "name": point.name,
    "fields": dict(point.fields),
    **_mean_and_std(list(values.values())),
    "values": values,
    "wanted": wanted,
    "diverged": list(values.values()).count(None),
  }


def _sort_key(point: Mapping[str, Any], metric: str) -> tuple:
  score = -math.inf
  if point["mean"] is not None:
    score = selection.score(metric, point["mean"])
  missing = len(point["values"]) < point["wanted"]
  return missing, -score


def _mean_metrics(
  summaries: list[Mapping[str, Any]], part: str
) -> dict[str, Any]:
  return {
    name.removeprefix(part): _mean_and_std(
      [jsonable(s.get(name)) for s in summaries]
    )
    for name in summaries[0]
    if name.startswith(part)
  }


def _mean_and_std(values: list[float | None]) -> dict[str, float | None]:
  """None where a value is undefined or there are too few."""
  defined = bool(values) and None not in values
  return {
    "mean": float(np.mean(values)) if defined else None,
    "std": float(np.std(values, ddof=1)) if defined and values[1:] else None,
  }


def _describe(config: Config, fields: tuple[str, ...]) -> str:
  """Those fields of a config in which points differ, as 'width=0.5'."""
  leaves = [field.rpartition(".")[2] for field in fields]
  described = []
  for field, leaf in zip(fields, leaves, strict=True):
    value = operator.attrgetter(field)(config)
    shown = f"{value:g}" if isinstance(value, float) else value
    described.append(f"{leaf if leaves.count(leaf) == 1 else field}={shown}")
  return " ".join(described)
