"""What came of a sweep: its points in the order that validation gives them.

The test chooses nothing: its numbers are read for the chosen point alone, and
only once every run is complete, so that no point can be preferred for them.
"""

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from mn_jax.config import Config
from mn_jax.data import atomic
from mn_jax.metrics import choices
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import mean_std, metric_name
from mn_jax.studies.sweep_plan import Plan, Point


def rank(plan: Plan) -> dict[str, Any]:
  """The results of a sweep, of values that JSON keeps.

  Args:
    plan: its runs, complete or not.

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
  summaries = {
    point.name: {
      run.seed: summary
      for run in plan.runs
      if run.member.name == point.name
      and (summary := run.summary()) is not None
    }
    for point in plan.points
  }
  wanted = len(plan.runs) // len(plan.points)
  points = [
    _judge(point, plan.metric, summaries[point.name], wanted)
    for point in plan.points
  ]
  points.sort(key=lambda point: _order(point, plan.metric))
  for place, point in enumerate(points, 1):
    point["rank"] = place if len(point["values"]) == wanted else None
  complete = all(point["rank"] is not None for point in points)
  chosen = None
  if complete and not points[0]["diverged"]:
    name = points[0]["name"]
    chosen = {
      "name": name,
      "arguments": [
        f"--config.{field}={value}"
        for field, value in points[0]["fields"].items()
      ],
      "val": _means(list(summaries[name].values()), "val/"),
      "test": _means(list(summaries[name].values()), "test/"),
    }
  return {
    "title": plan.title,
    "config": plan.config,
    "metric": plan.metric,
    "complete": complete,
    "points": points,
    "chosen": chosen,
  }


def finish(console: Console, plan: Plan) -> None:
  """Ranks what is complete, writes `sweep.json` beside it and shows it."""
  results = rank(plan)
  path = plan.folder / "sweep.json"
  atomic.write_json(path, results)
  show(console, plan, results)
  console.line(f"Results: {path}")


def show(console: Console, plan: Plan, results: Mapping[str, Any]) -> None:
  """Prints the ranking and, of a sweep that is complete, the chosen point."""
  configs = {point.name: point.config for point in plan.points}
  rows = [
    (
      _told(configs[point["name"]], plan.fields()),
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
        f"Diverged, and so last: {point['name']}, {point['diverged']} of "
        f"{point['wanted']} runs"
      )
  _show_chosen(console, plan, results)


def _show_chosen(
  console: Console, plan: Plan, results: Mapping[str, Any]
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
  console.table(
    f"Chosen: {chosen['name']}",
    ("metric", "validation", "test"),
    [
      (
        metric_name(name),
        *(
          mean_std(chosen[part][name]["mean"], chosen[part][name]["std"])
          for part in ("val", "test")
        ),
      )
      for name in chosen["test"]
      if name != "count"
    ],
  )
  console.line(
    f"Validation chose it among {len(plan.points)} and flatters it; the test "
    "does not."
  )
  if chosen["arguments"]:
    console.line(f"Its fields: {' '.join(chosen['arguments'])}")


def _judge(
  point: Point, metric: str, summaries: Mapping[int, Mapping], wanted: int
) -> dict[str, Any]:
  """A point's validation over its seeds; nothing of the test is read."""
  values = {
    seed: _defined(summary[f"val/{metric}"])
    for seed, summary in sorted(summaries.items())
  }
  diverged = sum(value is None for value in values.values())
  found = [] if diverged else list(values.values())
  return {
    "name": point.name,
    "fields": dict(point.fields),
    **_over_seeds(found),
    "values": values,
    "wanted": wanted,
    "diverged": diverged,
  }


def _order(point: Mapping[str, Any], metric: str) -> tuple:
  """What points are sorted by; equal ones keep their order."""
  score = -math.inf
  if point["mean"] is not None:
    score = choices.score(metric, point["mean"])
  missing = len(point["values"]) < point["wanted"]
  return missing, -score


def _means(summaries: list[Mapping[str, Any]], part: str) -> dict[str, Any]:
  """Every metric of a part over some runs; None where one is undefined."""
  names = [name for name in summaries[0] if name.startswith(part)]
  means = {}
  for name in names:
    values = [_defined(summary[name]) for summary in summaries]
    means[name.removeprefix(part)] = _over_seeds(
      [] if None in values else values
    )
  return means


def _over_seeds(values: list[float]) -> dict[str, float | None]:
  return {
    "mean": float(np.mean(values)) if values else None,
    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
  }


def _defined(value: float | None) -> float | None:
  return None if value is None or not math.isfinite(value) else value


def _told(config: Config, fields: tuple[str, ...]) -> str:
  """What a config has in those fields in which points differ."""
  leaves = [field.rpartition(".")[2] for field in fields]
  told = []
  for field, leaf in zip(fields, leaves, strict=True):
    value = operator.attrgetter(field)(config)
    shown = f"{value:g}" if isinstance(value, float) else value
    told.append(f"{leaf if leaves.count(leaf) == 1 else field}={shown}")
  return " ".join(told)
