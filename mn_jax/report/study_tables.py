"""Tables of the report of a study: its rows, comparisons and baselines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.observe.formatting import (
  compact,
  duration,
  interval,
  mean_std,
  mean_std_of,
  metric_name,
  number,
  p_value,
)
from mn_jax.report import run_report
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.report.tables import Table
from mn_jax.studies import numbers as numbers_lib

# Baselines that look at no image.
_BLIND = ("majority class", "label shares")


def results_table(
  results: Mapping[str, Any], firsts: Sequence[RunAnalysis]
) -> Table:
  """Returns the test metrics of members with runs, then of the baselines.

  Members without a run are named in the caption.

  Args:
    results: content of results.json.
    firsts: the first run of each member.
  """
  metrics = results["metrics"]
  rows, without = [], []
  for member in wanted(results):
    if not member["seeds"]:
      without.append(member["name"])
      continue
    refused = " (selected on the test: refused)" if member["refused"] else ""
    facts = (
      member["split"],
      f"{member['epochs']:.3g}",
      f"{member['params'] / 1e6:.2f}",
      f"{member['macs'] / 1e6:,.0f}",
      duration(member["wall_seconds"]),
    )
    runs = f"{len(member['seeds'])}/{member['wanted']}"
    values = _means(member["metrics"], metrics)
    rows.append((member["name"] + refused, runs, *values, *facts))
  for found, split in _baselines(results):
    seeds = str(len(found["metrics"][metrics[0]]["seeds"]))
    values = _means(found["metrics"], metrics)
    rows.append((found["name"], seeds, *values, split, *[""] * 4))
  columns = ("row", "seeds", *map(metric_name, metrics), "split", "epochs")
  return Table(
    (*columns, "M parameters", "M mult-adds", "time"),
    rows,
    "Test metrics of the checkpoint that validation selected: mean ± standard "
    "deviation over seeds; of baselines over the splits of the same seeds. "
    f"Time is that of one run, on {run_report.devices(firsts)}."
    + (f" Without runs: {', '.join(without)}." if without else ""),
  )


def interval_table(results: Mapping[str, Any]) -> Table:
  """Returns the intervals of every number by what varies.

  Args:
    results: content of results.json.
  """
  rows, units = [], set()
  for member in wanted(results):
    for name, found in member["metrics"].items():
      if found["mean"] is None or "over_groups" not in found:
        continue
      units.add(found["unit"])
      rows.append(
        (
          member["name"],
          metric_name(name),
          number(found["mean"]),
          interval(found["low"], found["high"]),
          interval(*found["over_seeds"]),
          interval(*found["over_groups"]),
          found["holds"],
        )
      )
  unit = " or ".join(sorted(units - {""})) or "image"
  return Table(
    ("row", "metric", "mean", "95 %", "over seeds", "over the test", "holds"),
    rows,
    f"'Over the test': {unit}s resampled, for these networks. The first "
    f"interval holds both: of {numbers_lib.SHARED!r} half the widths of the "
    f"two add in squares; of {numbers_lib.OWN!r}, whose tests differ, it is "
    "that over seeds, with Nadeau and Bengio's correction for their overlap; "
    f"of {numbers_lib.BY_IMAGE!r} both, as all tests have the same groups.",
  )


def published_table(results: Mapping[str, Any]) -> Table:
  """Returns the numbers of the paper beside those of the study's runs.

  Args:
    results: content of results.json.
  """
  rows = []
  for member in results["members"]:
    for key, reproduced in member["published"].items():
      mean, published = reproduced["mean"], reproduced["there"]
      rows.append(
        (
          member["name"],
          metric_name(key),
          compact(published),
          mean_std(mean, reproduced["std"]),
          interval(reproduced["low"], reproduced["high"]),
          number(None if mean is None else mean - published, signed=True),
          member["note"],
        )
      )
  return Table(
    ("row", "metric", "published", "here", "95 %", "difference", "note"),
    rows,
    "Published: single runs on the paper's own split, whose error is not "
    "known. Here: means over seeds.",
  )


def comparison_table(results: Mapping[str, Any]) -> Table:
  """Returns the differences between rows.

  Args:
    results: content of results.json.
  """
  rows = []
  for pair in results["pairs"]:
    for name, difference in pair["metrics"].items():
      if difference["mean"] is not None:
        cells = _difference_cells(difference)
        rows.append(
          (" minus ".join(pair["members"]), metric_name(name), *cells)
        )
  return Table(
    (
      "pair",
      "metric",
      "difference",
      "95 %",
      "over the test",
      "p",
      "p, Holm",
      "seeds",
    ),
    rows,
    "Of rows with the same seed, and resampled on the same test images. The "
    "interval holds seeds and test; Holm's p is adjusted for the number of "
    "pairs. Fewer than three seeds are not tested.",
  )


def images_table(results: Mapping[str, Any]) -> Table:
  """Returns McNemar's test of the pairs that have the same test images.

  Args:
    results: content of results.json.
  """
  rows = []
  for pair in results["pairs"]:
    found = pair.get("images")
    if found and found["groups"]:
      odds = found["odds_ratio"]
      rows.append(
        (
          " against ".join(pair["members"]),
          f"{found['first_only']:,}",
          f"{found['second_only']:,}",
          "infinite" if odds is None else f"{odds:.2f}",
          _ratio_interval(found["low"], found["high"]),
          p_value(found["p_value"]),
          f"{found['groups']:,}",
        )
      )
  return Table(
    (
      "pair",
      "only the first right",
      "only the second",
      "odds ratio",
      "95 %",
      "p, McNemar",
      "groups",
    ),
    rows,
    "Test images that exactly one of two networks has right, of all seeds "
    "together; the odds ratio is the first number over the second. Test and "
    "interval count a patient (where none are known, an image) as one, "
    "whatever the number of its images and seeds; they hold for these "
    "networks, not for other seeds. These p are not adjusted for the number "
    "of pairs.",
  )


def baseline_table(results: Mapping[str, Any]) -> Table:
  """Returns how far each row is ahead of the models of colour.

  Args:
    results: content of results.json.
  """
  metric = results["metrics"][0]
  rows = []
  for found in results.get("baseline_rows", ()):
    numbers = found["metrics"][metric]
    ahead = numbers["ahead"]
    if found["name"] not in _BLIND and ahead["mean"] is not None:
      cells = _difference_cells(ahead)
      rows.append(
        (found["row"], found["name"], number(numbers["mean"]), *cells)
      )
  return Table(
    (
      "row",
      "baseline",
      metric_name(metric),
      "row minus baseline",
      "95 %",
      "over the test",
      "p",
      "p, Holm",
      "seeds",
    ),
    rows,
    f"{metric_name(metric)[:1].upper()}{metric_name(metric)[1:]} of linear "
    "models of colour, on each seed's own split, and of each row minus them, "
    "paired by split; Holm's p is adjusted for the number of rows, also those "
    "to come.",
  )


def choices_table(analyses: Mapping[str, Sequence[RunAnalysis]]) -> Table:
  """Returns what temperature and threshold of validation did to the test.

  Args:
    analyses: row -> its complete runs.
  """
  rows, worse = [], {"ece": [0, 0], "balanced_accuracy": [0, 0]}
  for name, runs in analyses.items():
    cells: list[str] = []
    for metric, field in (
      ("ece", "at_temperature"),
      ("balanced_accuracy", "at_threshold"),
    ):
      pairs = [
        (run.intervals[metric].value, getattr(run, field)[metric])
        for run in runs
        if not run.refused and metric in getattr(run, field)
      ]
      sign = 1 if metric == "ece" else -1
      lost = sum(sign * (after - before) > 0 for before, after in pairs)
      worse[metric][0] += lost
      worse[metric][1] += len(pairs)
      columns = list(zip(*pairs, strict=True)) or [(), ()]
      cells += [mean_std_of(x) if x else "-" for x in columns]
      cells.append(f"{lost} of {len(pairs)}" if pairs else "-")
    if set(cells) != {"-"}:
      rows.append((name, *cells))
  texts = []
  for metric, what in (
    ("ece", "The temperature that validation chose made the test's ECE worse"),
    ("balanced_accuracy", "its threshold the balanced accuracy"),
  ):
    if worse[metric][1]:
      texts.append(f"{what} in {worse[metric][0]} of {worse[metric][1]} runs")
  return Table(
    (
      "row",
      "ECE",
      "with temperature",
      "worse in",
      "balanced accuracy",
      "with threshold",
      "worse in",
    ),
    rows,
    f"{', '.join(texts)}." if texts else "",
  )


def wanted(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  """Returns the members of which runs were asked for."""
  return [member for member in results["members"] if member["wanted"]]


def _means(
  spreads: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]
) -> list[str]:
  cells = []
  for found in (spreads[x] for x in metrics):
    cell = mean_std(found["mean"], found["std"])
    if missing := found.get("undefined"):
      cell += f" (undefined in {len(missing)})"
    cells.append(cell)
  return cells


def _difference_cells(found: Mapping[str, Any]) -> tuple[str, ...]:
  over_groups = found.get("over_groups", (None, None))
  return (
    number(found["mean"], signed=True),
    interval(found["low"], found["high"], signed=True),
    interval(*over_groups, signed=True),
    p_value(found["p"]),
    p_value(found["p_holm"]),
    str(len(found["seeds"])),
  )


def _ratio_interval(low: float | None, high: float | None) -> str:
  if low is None:
    return "-"
  end = "infinite" if high is None or math.isinf(high) else f"{high:.2f}"
  return f"{low:.2f} to {end}"


def _baselines(
  results: Mapping[str, Any],
) -> list[tuple[Mapping[str, Any], str]]:
  """Each baseline with the kind of split, of each set of splits once.

  Rows of fewer seeds have a part of the splits of others, and are left out.
  """
  members = {member["name"]: member for member in results["members"]}
  found = results.get("baseline_rows", ())
  splits = [frozenset(members[x["row"]]["split_sha256"]) for x in found]
  shown: dict[tuple[str, frozenset[str]], tuple[Mapping[str, Any], str]] = {}
  for x, of_row in zip(found, splits, strict=True):
    if not any(of_row < other for other in splits):
      kind = members[x["row"]]["split"]
      shown.setdefault((x["name"], of_row), (x, kind))
  return list(shown.values())
