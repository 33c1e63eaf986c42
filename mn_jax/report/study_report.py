"""The report of a study: its claims, tables, and a section for each member."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.observe import report_figures
from mn_jax.observe.formatting import metric_name
from mn_jax.report import (
  claim_tables,
  document,
  kept_inspection,
  run_analysis,
  run_command,
  run_report,
  study_tables,
)
from mn_jax.report.document import Document, Figure
from mn_jax.report.inspection import Inspections
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.run import records
from mn_jax.run import workdir as workdir_lib
from mn_jax.studies import kept
from mn_jax.studies.study import Study

# What results.json must have.
_RESULTS = {
  **dict.fromkeys(("title", "source"), str),
  **dict.fromkeys(("claims", "members", "metrics", "pairs"), list),
}
# What of a claim decides its number; the rest is of how many seeds it needs.
_OF_CLAIM = ("text", "one", "other", "metric", "relation", "value")
_SAMPLE = "these are generated images, which decide no claim"


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
      run_command.of_member(member["config"], runs[0]),
    )
    for member in results["members"]
    if (runs := analyses[member["name"]])
  ]
  tables = {
    "Results": study_tables.results_table(results, firsts),
    "Published and reproduced": study_tables.published_table(results),
    "Comparisons": study_tables.comparison_table(results),
    "Images that one of two has right": study_tables.images_table(results),
    "Against colour": study_tables.baseline_table(results),
    "Seeds that claims need": claim_tables.plan_table(results),
    "Intervals": study_tables.interval_table(results),
    "Choices of validation": study_tables.choices_table(analyses),
  }
  return Document(
    title=results["title"],
    intro=f"Compared with: {results['source']}",
    warnings=[_SAMPLE] if results.get("sample") else [],
    claims=[claim_tables.claim_row(claim) for claim in results["claims"]],
    tables={title: table for title, table in tables.items() if table.rows},
    figures=[_members_figure(results)] if firsts else [],
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

  The numbers have the digests of these runs as 'kept', by which `read_report`
  finds out whether it is of other ones.

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
    found = kept_inspection.read(first.path, folder.parent / "figures")
    if found is not None:
      inspections.networks[first.path] = found
  numbers = results | run_report.numbers(firsts, inspections)
  numbers["kept"] = kept.digests(folder)
  return build(results, analyses, inspections), numbers


def read_report(folder: pathlib.Path) -> dict[str, Any]:
  """Reads the numbers of a study's page; {} if there is none.

  Args:
    folder: of the page, named as the study, with the kept runs that it is of. A
      page of an earlier version has none.

  Raises:
    InputError: if runs were kept or removed, or rows or claims declared or
      changed, since the page was made.
  """
  path = folder / "report.json"
  report = records.read_object(path) if path.is_file() else {}
  before, now = report.get("kept", {}), kept.digests(folder / "runs")
  if changed := before.items() ^ now.items():
    change = f"{min(changed)[0]} was kept, changed or removed"
  elif before and (changed := _declared(report) ^ _of_file(folder.name)):
    change = f"the {' '.join(min(changed))} was declared, changed or removed"
  else:
    return report
  raise InputError(
    f"{path}: it was made before {change}; valid: after `python -m "
    f"mn_jax.tools.study {folder.name} --collect --keep={folder.parent}`"
  )


def _declared(report: Mapping[str, Any]) -> set[tuple[str, str]]:
  """What a report says that its study declares: kind and JSON of each part."""
  rows = [
    {
      **{name: row[name] for name in ("name", "config", "fields", "note")},
      "published": {key: x["there"] for key, x in row["published"].items()},
    }
    for row in report["members"]
  ]
  pairs = [pair["members"] for pair in report["pairs"]]
  claims = [{x: claim[x] for x in _OF_CLAIM} for claim in report["claims"]]
  parts = {"row": rows, "pair": pairs, "claim": claims}
  return {
    (kind, json.dumps(x, sort_keys=True)) for kind in parts for x in parts[kind]
  }


def _of_file(name: str) -> set[tuple[str, str]]:
  """The same of a study's file."""
  study = files.load(name, "get_study", Study)
  rows = [
    {
      **vars(member),
      "published": {key: {"there": x} for key, x in member.published.items()},
    }
    for member in study.members
  ]
  pairs = [{"members": pair} for pair in study.pairs]
  claims = [vars(claim) for claim in study.claims]
  return _declared({"members": rows, "pairs": pairs, "claims": claims})


def _members_figure(results: Mapping[str, Any]) -> Figure:
  metric = results["metrics"][0]
  levels: dict[str, dict[str, float]] = {}
  for found in results.get("baseline_rows", ()):
    of_row = levels.setdefault(found["row"], {})
    of_row[found["name"]] = found["metrics"][metric]["mean"]
  rows = [
    report_figures.MemberRow(
      member["name"],
      *map(member["metrics"][metric].get, ("values", "mean", "low", "high")),
      member["published"].get(f"test/{metric}", {}).get("there"),
      levels.get(member["name"], {}),
    )
    for member in study_tables.wanted(results)
    if member["seeds"] or f"test/{metric}" in member["published"]
  ]
  name = metric_name(metric)
  return Figure(
    "rows",
    report_figures.members(rows, name, results["title"]),
    f"{name[:1].upper()}{name[1:]} on the test by row: each seed, their mean "
    "and its 95 % interval, which holds seeds and test; in gray the baselines "
    "on the same splits.",
  )
