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
  by_kind: dict[str, dict[str, Report]] = {}
  for flags, report in reports.items():
    if "of" in report:
      by_kind.setdefault(report["of"], {})[flags] = report
  json = path.with_suffix(".json").name
  document = Document(
    title=f"Speed: {path.stem}",
    intro=_INTRODUCTION.format(json=json, missing=MISSING),
    claims=[],
    tables={},
    figures=[],
    sections=[
      section
      for kind, make in _SECTIONS.items()
      if kind in by_kind
      for section in make(by_kind[kind])
    ],
    protocol=[
      ("this page", f"`{command}`, see [how](README.md)"),
      *_machines([r for kind in by_kind.values() for r in kind.values()]),
    ],
    notes=_missing(reports),
  )
  return page.markdown(document, figures="")


def _section(title: str, text: str, *of_section: tables.Table) -> Section:
  return Section(title, "", text, "", list(of_section), [])


def _networks(reports: Mapping[str, Report]) -> list[Section]:
  of_section = tables.networks(list(reports.values()))
  return [_section("Whole networks", "", *of_section)]


def _operations(reports: Mapping[str, Report]) -> list[Section]:
  text = (
    "Milliseconds and, in brackets, percent of the floor of every formulation, "
    "for the whole batch; the last line of each table adds up the network's "
    "layers."
  )
  return [
    _section("Operations", text),
    *(
      _section(
        f"{tables.title(report)}, {report['device']}",
        "",
        *tables.operations(report),
      )
      for report in reports.values()
    ),
  ]


def _runs(reports: Mapping[str, Report]) -> list[Section]:
  named = {_config(flags): report for flags, report in reports.items()}
  return [_section("Whole runs", "", tables.runs(named))]


def _inputs(reports: Mapping[str, Report]) -> list[Section]:
  stages = [tables.input_stages(_config(f), r) for f, r in reports.items()]
  return [_section("Input", "Images/s on one core.", *stages)]


def _config(flags: str) -> str:
  """The config of a measurement and its changes, as code."""
  return f"`{flags.partition(' ')[2]}`"


# What is measured -> its sections of the page.
_SECTIONS = {
  "model": _networks,
  "ops": _operations,
  "run": _runs,
  "input": _inputs,
}


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
