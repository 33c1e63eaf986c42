"""The page of a suite of benchmarks, for docs/benchmarks."""

import pathlib
from collections.abc import Mapping, Sequence

from mn_jax.perf.bench import tables
from mn_jax.perf.bench.tables import MISSING, Report
from mn_jax.report import page
from mn_jax.report.document import Document, Section

_INTRODUCTION = (
  "The step of every network is timed interleaved with those of other "
  "libraries, each in a process of its own that waits while the others work. "
  "Ratios are medians over these repeats, with 95 % bootstrap intervals, and "
  "above 1 where this package is faster. Absolute times hold for the hour in "
  "which they were measured. The floor is the roofline of the same machine for "
  "the FLOPs and bytes that `mn_jax/perf/bench/roofline.py` counts. All "
  "measurements are in [{json}]({json}), with versions and commands; "
  "*{missing}* stands for what was not measured."
)


_OPERATIONS = (
  "Milliseconds and, in brackets, percent of the floor of every formulation, "
  "for the whole batch; the last line of each table adds up the network's "
  "layers."
)


def render(
  path: pathlib.Path, command: str, reports: Mapping[str, Report]
) -> str:
  """Renders the page as Markdown.

  Args:
    path: where it will be.
    command: that makes it.
    reports: of the whole suite, by the flags of their measurement; {} where
      there is none.
  """
  sections = []

  def add(title: str, text: str, *tables_of_section: tables.Table) -> None:
    sections.append(Section(title, "", text, tables=tables_of_section))

  def of(kind: str) -> dict[str, Report]:
    return {
      f: report for f, report in reports.items() if report.get("of") == kind
    }

  def config(flags: str) -> str:
    return f"`{flags.partition(' ')[2]}`"

  if networks := of("model"):
    add("Whole networks", "", *tables.networks(list(networks.values())))
  if operations := of("ops"):
    folded = {
      f"{tables.title(report)}, {report['device']}: {table.columns[0]}": table
      for report in operations.values()
      for table in tables.operations(report)
    }
    sections.append(Section("Operations", "", _OPERATIONS, folded=folded))
  if runs := of("run"):
    runs = {config(flags): report for flags, report in runs.items()}
    add("Whole runs", "", tables.runs(runs))
  if inputs := of("input"):
    stages = [tables.input_stages(config(f), r) for f, r in inputs.items()]
    add("Input", "Images/s on one core.", *stages)
  json = path.with_suffix(".json").name
  document = Document(
    title=f"Speed: {path.stem}",
    intro=_INTRODUCTION.format(json=json, missing=MISSING),
    sections=sections,
    protocol=[
      ("this page", f"`{command}`, see [how](README.md)"),
      *_machines([r for r in reports.values() if "of" in r]),
    ],
    notes=_missing(reports),
    is_markdown=True,
  )
  return page.markdown(document, figures="")


def _missing(reports: Mapping[str, Report]) -> list[str]:
  """What could not be measured, or was not yet, with the reason."""
  notes = []
  for flags, report in reports.items():
    if "of" not in report:
      reason = report.get("failed", "not yet")
      notes.append(f"{MISSING}: `{flags}` ({reason})")
    for peer in report.get("peers", {}).values():
      if "failed" in peer:
        notes.append(f"{MISSING}: {tables.title(report)}, {peer['failed']}")
  return list(dict.fromkeys(notes))


def _machines(reports: Sequence[Report]) -> list[tuple[str, str]]:
  """The machines, versions and dates of the measurements, each once."""
  machines, versions, dates = {}, {}, []
  for report in reports:
    machine, ours = report["machine"], report.get("ours", {})
    device = report.get("device") or ours.get("device", "cpu")
    machines[
      f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
      f"device: {device}"
    ] = None
    dates.append(machine["date"])
    for side in (report, ours, *report.get("peers", {}).values()):
      for name, version in side.get("versions", {}).items():
        versions.setdefault(name, set()).add(version)
  if not machines:
    return [("measured", "nothing yet")]
  listed = [f"{n} {' and '.join(sorted(v))}" for n, v in versions.items()]
  return [
    *(("measured on", machine) for machine in machines),
    ("versions", ", ".join(listed)),
    ("measured", f"{min(dates)} to {max(dates)}"),
  ]
