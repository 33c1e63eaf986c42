"""The report of a study: its claims, tables, and a section for each member."""

import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.config import changes, files
from mn_jax.errors import InputError
from mn_jax.observe import report_figures
from mn_jax.observe.formatting import (
  compact,
  count,
  duration,
  interval,
  mean_std,
  metric_name,
  number,
)
from mn_jax.report import (
  document,
  kept_inspection,
  run_analysis,
  run_report,
)
from mn_jax.report.document import Document, Figure
from mn_jax.report.inspection import Inspections
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.report.tables import Table
from mn_jax.run import records
from mn_jax.run import workdir as workdir_lib
from mn_jax.studies import results as study_results
from mn_jax.weights import hub

# Paths of one computer mean nothing on another.
# What results.json must have.
_RESULTS = {
  **dict.fromkeys(("title", "source"), str),
  **dict.fromkeys(("claims", "members", "metrics", "pairs"), list),
}
# How a page marks a verdict.
_SIGNS = {
  study_results.HOLDS: "yes",
  study_results.FAILS: "no",
  study_results.OPEN: "open",
  study_results.NOT_RUN: "missing",
}


def read(
  folder: pathlib.Path,
) -> tuple[dict[str, Any], dict[str, list[RunAnalysis]]]:
  """Reads the results of a study, and analyzes its complete runs.

  Returns:
    The content of results.json, with a line for each run that cannot be read
    as 'left_out'; and member -> its other runs in the order of seeds.

  Raises:
    InputError: if the results are not there or cannot be read.
  """
  return analyze(records.read_object(folder / "results.json", _RESULTS), folder)


def analyze(
  results: Mapping[str, Any], folder: pathlib.Path
) -> tuple[dict[str, Any], dict[str, list[RunAnalysis]]]:
  """Analyzes the complete runs of a study.

  Args:
    results: content of results.json.
    folder: of the runs, as the study left or kept them.

  Returns:
    As `read`.
  """
  analyses: dict[str, list[RunAnalysis]] = {}
  left_out = []
  for member in results["members"]:
    analyses[member["name"]] = []
    for seed in member["seeds"]:
      path = workdir_lib.of_seed(folder / member["name"], seed)
      try:
        analyses[member["name"]].append(run_analysis.analyze(path))
      except InputError as error:
        left_out.append(f"{member['name']} seed {seed} is left out: {error}")
  return {**results, "left_out": left_out}, analyses


def build(
  results: Mapping[str, Any],
  analyses: Mapping[str, Sequence[RunAnalysis]],
  inspections: Inspections,
) -> Document:
  """Returns the report of a study.

  Args:
    results: content of results.json.
    analyses: member -> its complete runs in the order of seeds.
    inspections: of the first run of each member, or empty.
  """
  firsts = [runs[0] for runs in analyses.values() if runs]
  sections = [
    run_report.section(
      member["name"],
      document.anchor(member["name"]),
      runs,
      inspections.of(runs[0]),
      _repeat_run(member["config"], runs[0].config),
    )
    for member in results["members"]
    if (runs := analyses[member["name"]])
  ]
  tables = {
    "Results": results_table(results, inspections, firsts),
    "Published and reproduced": published_table(results),
    "Comparisons": _comparison_table(results),
  }
  return Document(
    title=results["title"],
    intro=f"Compared with: {results['source']}",
    claims=[claim_row(claim) for claim in results["claims"]],
    tables={title: table for title, table in tables.items() if table.rows},
    figures=[_members_figure(results, inspections, firsts)],
    sections=sections,
    protocol=run_report.protocol(firsts),
    notes=[
      *results["left_out"],
      *run_report.notes([run for runs in analyses.values() for run in runs]),
    ],
  )


def of_kept(
  results: Mapping[str, Any], folder: pathlib.Path
) -> tuple[Document, dict[str, Any]]:
  """Returns the report of a study's kept runs, and all of its numbers.

  Args:
    results: content of results.json.
    folder: of the kept runs.

  Raises:
    InputError: if a kept inspection is damaged.
  """
  results, analyses = analyze(results, folder)
  firsts = [runs[0] for runs in analyses.values() if runs]
  inspections = Inspections({}, {})
  for first in firsts:
    kept = kept_inspection.read(first.path, folder.parent / "figures")
    if kept is not None:
      inspections.networks[first.path] = kept
  numbers = results | run_report.numbers(firsts, inspections)
  return build(results, analyses, inspections), numbers


def claim_row(claim: Mapping[str, Any]) -> tuple[str, str, str, str]:
  """Returns (sign, verdict, text, numbers) of a claim of results.json."""
  relation = {">": "above", "<": "below", "=": "within"}[claim["relation"]]
  goal = compact(claim["value"])
  if claim["relation"] == "=":
    goal = f"±{goal}"
  metric = metric_name(claim["metric"].removeprefix("test/"))
  signed = bool(claim["other"])
  subject = f"{claim['one']} minus {claim['other']}" if signed else claim["one"]
  numbers = f"{metric} of {subject}: "
  if claim["mean"] is None:
    numbers += "no runs"
  else:
    numbers += number(claim["mean"], signed=signed)
    if claim["low"] is not None:
      numbers += f" ({interval(claim['low'], claim['high'], signed=signed)})"
    numbers += f", {count(len(claim['seeds']), 'seed')}"
  numbers += f"; claimed: {relation} {goal}"
  return _SIGNS[claim["verdict"]], claim["verdict"], claim["text"], numbers


def results_table(
  results: Mapping[str, Any],
  inspections: Inspections,
  firsts: Sequence[RunAnalysis],
) -> Table:
  """Returns the test metrics of every member, then those of the baselines.

  Args:
    results: content of results.json.
    inspections: with the baselines of splits.
    firsts: the first run of each member.
  """
  metrics = results["metrics"]
  rows = []
  for member in _wanted(results):
    refused = " (selected on the test: refused)" if member["refused"] else ""
    facts = ["-"] * 5
    if member["seeds"]:
      facts = [
        member["split"],
        f"{member['epochs']:.3g}",
        f"{member['params'] / 1e6:.2f}",
        f"{member['macs'] / 1e6:,.0f}",
        duration(member["wall_seconds"]),
      ]
    spreads = map(member["metrics"].get, metrics)
    values = (mean_std(spread["mean"], spread["std"]) for spread in spreads)
    runs = f"{len(member['seeds'])}/{member['wanted']}"
    rows.append((member["name"] + refused, runs, *values, *facts))
  below = run_report.baseline_rows(inspections.baselines, firsts, metrics)
  rows += [(x, "", *cells, split, *[""] * 4) for x, split, cells in below]
  columns = ("row", "seeds", *map(metric_name, metrics), "split", "epochs")
  return Table(
    (*columns, "M parameters", "M mult-adds", "time"),
    rows,
    "Test metrics of the checkpoint that validation selected: mean ± standard "
    "deviation over seeds. Time is that of one run, on "
    f"{run_report.devices(firsts)}.",
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
          number(None if mean is None else mean - published, signed=True),
          member["note"],
        )
      )
  return Table(
    ("row", "metric", "published", "here", "difference", "note"),
    rows,
    "Published: single runs on the paper's own split. Here: means over seeds.",
  )


def _comparison_table(results: Mapping[str, Any]) -> Table:
  rows = []
  for pair in results["pairs"]:
    for name, difference in pair["metrics"].items():
      if difference["mean"] is None:
        continue
      rows.append(
        (
          " minus ".join(pair["members"]),
          metric_name(name),
          number(difference["mean"], signed=True),
          interval(difference["low"], difference["high"], signed=True),
          _p_value(difference["p"]),
          _p_value(difference["p_holm"]),
          str(len(difference["seeds"])),
        )
      )
  return Table(
    ("pair", "metric", "difference", "95 %", "p", "p, Holm", "seeds"),
    rows,
    "Paired over seeds, by Student's t; Holm's p is adjusted for the number of "
    "pairs.",
  )


def _members_figure(
  results: Mapping[str, Any],
  inspections: Inspections,
  firsts: Sequence[RunAnalysis],
) -> Figure:
  metric = results["metrics"][0]
  rows = [
    report_figures.MemberRow(
      member["name"],
      *map(member["metrics"][metric].get, ("values", "mean", "low", "high")),
      member["published"].get(f"test/{metric}", {}).get("there"),
    )
    for member in _wanted(results)
  ]
  split = firsts[0].summary["split_sha256"] if firsts else ""
  baselines = inspections.baselines.get(split, {})
  levels = {name: values[metric] for name, values in baselines.items()}
  name = metric_name(metric)
  return Figure(
    "rows",
    report_figures.members(rows, levels, name, results["title"]),
    f"{name[:1].upper()}{name[1:]} on the test by row: each seed, their mean "
    "and its 95 % interval by Student's t.",
  )


def _wanted(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  return [member for member in results["members"] if member["wanted"]]


def _p_value(p: float | None) -> str:
  return "< 0.001" if p is not None and p < 0.001 else number(p)


def _repeat_run(config: str, saved: Mapping[str, Any]) -> str:
  """Returns the command that repeats a run; '' if its config is not there."""
  try:
    defaults = files.read_config(config).to_dict()
  except InputError:
    return ""
  defaults = changes.flat(changes.plain(defaults))
  arguments = ["python", "-m", "mn_jax.main", f"--config={config}"]
  for name, value in changes.flat(saved["config"]).items():
    if name in changes.PLACES or value == defaults.get(name, value):
      continue
    if isinstance(value, list):  # of a tuple
      value = json.dumps(value)
    elif name == "model.weights" and not value.startswith(hub.PREFIX):
      value = pathlib.Path(value).name
    elif name == "train.teacher":
      value = "/".join(pathlib.PurePath(value).parts[-2:])
    arguments.append(f"{name}={value}")
  return shlex.join(arguments)
