"""The page of a suite of benchmarks, for docs/benchmarks."""

import pathlib

from mn_jax.perf.bench import tables
from mn_jax.perf.bench.tables import MISSING, Measured, Report
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
  path: pathlib.Path,
  command: str,
  measured: Measured,
) -> str:
  """Renders the page as Markdown.

  Args:
    path: where it will be.
    command: that makes it.
    measured: the measurements of the suite.
  """
  sections = []
  for of, make in _SECTIONS.items():
    chosen = [
      (case, report)
      for case, report in measured
      if tables.flag_values(case).get("of", "model") == of
    ]
    sections += make(chosen) if chosen else []
  json = path.with_suffix(".json").name
  document = Document(
    title=f"Speed: {path.stem}",
    intro=_INTRODUCTION.format(json=json, missing=MISSING),
    claims=[],
    tables={},
    figures=[],
    sections=sections,
    protocol=[
      ("this page", f"`{command}`, see [how](README.md)"),
      *_machines([report for _, report in measured]),
    ],
    notes=[],
  )
  return page.markdown(document, figures="")


def _section(title: str, text: str, *rows: tables.Table) -> Section:
  return Section(title, "", text, "", list(rows), [])


def _networks(measured: Measured) -> list[Section]:
  failures = []
  for case, report in measured:
    what = " ".join(tables.describe_case(case))
    sides = {what: report} | {
      f"{what}, {name}": peer for name, peer in report.get("peers", {}).items()
    }
    failures += [
      f"- {name}: {side['failed']}"
      for name, side in sides.items()
      if "failed" in side
    ]
  text = "\n".join(["Failed measurements:\n", *failures]) if failures else ""
  return [_section("Whole networks", text, *tables.networks(measured))]


def _operations(measured: Measured) -> list[Section]:
  sections = [
    _section(
      "Operations",
      "Milliseconds and, in brackets, percent of the floor of every "
      "formulation, for the whole batch; the last line of each table adds up "
      "the network's layers.",
    )
  ]
  for case, report in measured:
    model, resolution, batch, _, dtype = tables.describe_case(case)
    title = f"{model}, {resolution} px, batch {batch}, {dtype}"
    if "operations" in report:
      title = f"{title}, {report['device']}"
      sections.append(_section(title, "", *tables.operations(report)))
    else:
      sections.append(_section(title, report.get("failed", MISSING)))
  return sections


def _runs(measured: Measured) -> list[Section]:
  return [
    _section(
      "Whole runs",
      "",
      tables.runs([(tables.config_of(c), r) for c, r in measured]),
    )
  ]


def _inputs(measured: Measured) -> list[Section]:
  stages = [
    tables.input_stages(tables.config_of(case), report)
    for case, report in measured
    if "images_per_sec" in report
  ]
  text = "Images/s on one core." if stages else MISSING.capitalize() + "."
  return [_section("Input", text, *stages)]


# What is measured -> its sections of the page.
_SECTIONS = {
  "model": _networks,
  "ops": _operations,
  "run": _runs,
  "input": _inputs,
}


def _machines(reports: list[Report]) -> list[tuple[str, str]]:
  """The machines, versions and dates of the measurements, each once."""
  machines, versions, dates = {}, {}, []
  for report in reports:
    if "machine" not in report:
      continue
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
