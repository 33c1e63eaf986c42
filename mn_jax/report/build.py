"""The report of a study, or of one run, from what is in its folder."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.observe import report_figures, writers
from mn_jax.observe.formatting import metric_name, number
from mn_jax.report import commands, findings
from mn_jax.report import study_tables as tables
from mn_jax.report.document import (
  Document,
  Figure,
  claim_row,
  run_section,
)
from mn_jax.report.findings import Findings
from mn_jax.report.opening import Opened
from mn_jax.report.tables import Table
from mn_jax.run import workdir as workdir_lib


def of_run(found: Findings, opened: Opened) -> Document:
  """The report of one run."""
  summary = found.summary
  title = f"{summary['experiment']}, seed {summary['seed']}"
  metrics = [name for name in found.intervals if name != "majority_rate"][:6]
  rows = [
    (
      summary["model"],
      *(number(found.intervals[name].value) for name in metrics),
    )
  ]
  rows += tables.guess_rows(opened.guesses, [found], metrics)
  shown = {}
  if not found.refused:
    shown["Test"] = Table(("", *map(metric_name, metrics)), rows)
  section = run_section(
    summary["model"], "run", [found], opened.insides.get(found.path)
  )
  return Document(
    title=title,
    intro="",
    claims=[],
    tables=shown,
    figures=[],
    sections=[section],
    protocol=_protocol([found]),
    notes=_notes([found]),
  )


def of_study(
  results: Mapping[str, Any],
  members: Mapping[str, Sequence[Findings]],
  opened: Opened,
) -> Document:
  """The report of a study.

  Args:
    results: from `studies.results.collect`.
    members: row -> its complete runs, in the order of seeds.
    opened: of the first run of each row, or of none.
  """
  firsts = [found[0] for found in members.values() if found]
  metrics = results["metrics"]
  shown = {
    "Results": tables.main(results, opened.guesses, firsts),
    **tables.published(results),
    **tables.comparisons(results),
  }
  sections = [
    run_section(
      member["name"],
      member["name"].replace(".", "_"),
      found,
      opened.insides.get(found[0].path),
      commands.repeat(member["config"], found[0].path),
    )
    for member in results["members"]
    if (found := members[member["name"]])
  ]
  return Document(
    title=results["title"],
    intro=f"Compared with: {results['source']}",
    claims=[claim_row(claim) for claim in results["claims"]],
    tables=shown,
    figures=[_rows_figure(results, metrics[0], opened, firsts)],
    sections=sections,
    protocol=_protocol(firsts),
    notes=_notes(firsts),
  )


def numbers(
  results: Mapping[str, Any] | None, firsts: Sequence[Findings], opened: Opened
) -> dict[str, Any]:
  """All numbers of a report, of values that JSON keeps.

  Args:
    results: of the study, or None for one run.
    firsts: the runs that are judged one by one.
    opened: of these.
  """
  found = {
    "runs": {
      f"{first.path.parent.name}/{first.path.name}": {
        **first.numbers(),
        "by_batches": writers.jsonable(_by_batches(opened, first)),
      }
      for first in firsts
    },
    "baselines": writers.jsonable(opened.guesses),
  }
  return found if results is None else {**results, **found}


def _by_batches(opened: Opened, found: Findings) -> Mapping[str, float]:
  inside = opened.insides.get(found.path)
  return inside.by_batches if inside else {}


def read_study(
  folder: pathlib.Path,
) -> tuple[dict[str, Any], dict[str, list[Findings]]]:
  """The results of a study's folder, and its complete runs.

  Raises:
    InputError: if they are not there or cannot be read.
  """
  results = workdir_lib.read_object(folder / "results.json")
  if not results.keys() >= {"claims", "members", "metrics", "pairs"}:
    raise InputError(
      f"got {str(folder)!r}, whose results.json is of another version; valid: "
      "one of this version, by `python -m mn_jax.tools.study --collect`"
    )
  members = {
    member["name"]: [
      findings.examine(folder / member["name"] / f"seed{seed}")
      for seed in member["seeds"]
    ]
    for member in results["members"]
  }
  return results, members


def _rows_figure(
  results: Mapping[str, Any],
  metric: str,
  opened: Opened,
  firsts: Sequence[Findings],
) -> Figure:
  found = []
  for member in tables.wanted(results):
    spread = member["metrics"][metric]
    there = member["published"].get(f"test/{metric}")
    found.append(
      report_figures.MemberRow(
        member["name"],
        spread["values"],
        spread["mean"],
        spread["low"],
        spread["high"],
        None if there is None else there["there"],
      )
    )
  levels: dict[str, float] = {}
  if firsts:
    levels = {
      name: values[metric]
      for name, values in opened.guesses.get(
        firsts[0].summary["split_sha256"], {}
      ).items()
    }
  name = metric_name(metric)
  return Figure(
    "rows",
    report_figures.members(found, levels, name, results["title"]),
    f"{name[:1].upper()}{name[1:]} on the test by row: each seed, their "
    "mean and its 95 % interval by Student's t.",
  )


def _protocol(firsts: Sequence[Findings]) -> list[tuple[str, str]]:
  """What was run, as far as it is the same or can be listed."""
  rows = []
  splits = {}
  for found in firsts:
    images = found.split["images"]
    counts = " / ".join(f"{images[p]:,}" for p in ("train", "val", "test"))
    splits.setdefault(
      found.summary["split_sha256"],
      f"{found.summary['split']}, seed {found.split['seed']}: {counts} images "
      "in training / validation / test",
    )
  rows += [(f"split {digest[:12]}", text) for digest, text in splits.items()]
  for digest in sorted({f.summary["images_sha256"] for f in firsts}):
    rows.append(("images", f"sha256 of all pixels {digest[:12]}"))
  for versions in {
    ", ".join(f"{k} {v}" for k, v in f.summary["versions"].items())
    for f in firsts
  }:
    rows.append(("versions", versions))
  rows.append(("device", tables.devices(firsts)))
  return rows


def _notes(firsts: Sequence[Findings]) -> list[str]:
  """What the splits say of themselves, once each."""
  notes = [note for found in firsts for note in found.split["notes"]]
  return list(dict.fromkeys(notes))
