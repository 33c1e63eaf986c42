"""Reports of the benchmark as a page in Markdown."""

import pathlib
import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.observe.formatting import duration
from mn_jax.perf.bench import show

Report = dict[str, Any]
MISSING = "not measured"
# How the page begins.
_INTRODUCTION = """\
Every network's step is taken in turns with those of other libraries, each in a
process of its own that waits while the others work: ratios are medians over
the turns, with 95 % intervals from drawing turns with replacement, and above 1
where this package is faster. Absolute times hold for the hour in which they
were measured. The floor is what arithmetic and memory of the same machine allow
for the work that is counted in `mn_jax/perf/bench/floors.py`. All that was
measured is in [{json}]({json}), with versions and commands; *{missing}* stands
for what was not.
"""


def render(
  path: pathlib.Path,
  command: str,
  cases: Sequence[tuple[str, ...]],
  reports: Mapping[str, Report],
) -> str:
  """The page.

  Args:
    path: where it will be.
    command: that makes it.
    cases: flags of what belongs on it, each a row or a table.
    reports: of those that were measured, by their flags joined.
  """
  found = [(case, reports.get(shlex.join(case), {})) for case in cases]
  parts = [
    f"# Speed: {path.stem}",
    _INTRODUCTION.format(json=path.with_suffix(".json").name, missing=MISSING)
    + f"\nMade by `{command}`; see [how](README.md).",
    *_machines([report for _, report in found]),
  ]
  for of, section in _SECTIONS.items():
    chosen = [(c, r) for c, r in found if _flags(c).get("of", "model") == of]
    if chosen:
      parts += section(chosen)
  return "\n\n".join(parts) + "\n"


def _networks(found: list[tuple[tuple[str, ...], Report]]) -> list[str]:
  rows, costs, failures = [], [], []
  peers = list(
    dict.fromkeys(
      name for case, _ in found for name in _flags(case)["peer"].split(",")
    )
  )
  for case, report in found:
    flags = _flags(case)
    what = (
      flags["model"],
      flags["resolution"],
      flags["batch"],
      flags["mode"],
      flags.get("dtype", "float32"),
    )
    if "ours" not in report:
      rows.append((*what, *[MISSING] * (2 + len(peers))))
      costs.append((*what, *[MISSING] * (2 + len(peers))))
      failures += _failure(" ".join(what), report)
      continue
    ours = report["ours"]
    sides = {name: report["peers"].get(name, {}) for name in peers}
    rows.append(
      (
        *what,
        f"{ours['images_per_sec']:,.0f}",
        f"{ours['percent_of_floor']:.0f}",
        *(show.times_as_fast(side) or MISSING for side in sides.values()),
      )
    )
    costs.append(
      (
        *what,
        _cost(ours),
        f"{ours['compiler_memory_bytes'] / 2**20:,.0f}",
        *(_cost(side) for side in sides.values()),
      )
    )
    for name, side in sides.items():
      failures += _failure(f"{' '.join(what)}, {name}", side)
  head = ("network", "px", "batch", "step", "type")
  parts = [
    "## Whole networks",
    "How many times as fast this package is:",
    _table((*head, "images/s", "% of floor", *peers), rows),
    "Images/s, seconds to compile and the most memory in MiB (of the device, "
    "or of the process where that is the host), and the memory that the "
    "compiler reckons with for this package's step:",
    _table((*head, "ours", "reckoned", *peers), costs),
  ]
  if failures:
    parts.append("\n".join(f"- {line}" for line in failures))
  return parts


def _cost(side: Report) -> str:
  if "images_per_sec" not in side:
    return MISSING
  return (
    f"{side['images_per_sec']:,.0f}; {side['compile_seconds']:.0f} s; "
    f"{show.peak_bytes(side) / 2**20:,.0f}"
  )


def _operations(found: list[tuple[tuple[str, ...], Report]]) -> list[str]:
  parts = [
    "## Operations",
    "Milliseconds and, in brackets, percent of the floor of every formulation, "
    "for the whole batch; the last line of each table adds up the network's "
    "layers.",
  ]
  for case, report in found:
    flags = _flags(case)
    title = (
      f"{flags['model']}, {flags['resolution']} px, batch {flags['batch']}, "
      f"{flags.get('dtype', 'float32')}"
    )
    if "operations" not in report:
      parts.append(f"### {title}\n\n{report.get('failed', MISSING)}")
      continue
    parts.append(f"### {title}, {report['device']}")
    for kind, direction in show.pairs(report):
      rows, names = show.by_shape(report, kind, direction)
      head = (f"{kind}, {direction}", "layers", "floor", *names)
      parts.append(_table(head, rows))
  return parts


def _runs(found: list[tuple[tuple[str, ...], Report]]) -> list[str]:
  rows = []
  for case, report in found:
    flags = shlex.join(flag for flag in case if flag != "--of=run")
    if "wall_seconds" not in report:
      rows.append((f"`{flags}`", *[MISSING] * 6))
      continue
    rate, wait = report["images_per_sec"], report["data_wait_share"]
    memory = f"{show.peak_bytes(report) / 2**20:,.0f}"
    rows.append(
      (
        f"`{flags}`",
        f"{rate:,.0f}" if rate else "-",
        f"{wait:.1%}" if rate else "-",
        f"{report['outside_share']:.1%}",
        duration(report["compile_seconds"]),
        duration(report["wall_seconds"]),
        memory,
      )
    )
  head = (
    "run",
    "images/s",
    "data wait",
    "outside the step",
    "compile",
    "in all",
    "MiB",
  )
  return ["## From start to end", _table(head, rows)]


def _inputs(found: list[tuple[tuple[str, ...], Report]]) -> list[str]:
  parts = ["## Input", "Images/s on one core, medians."]
  for case, report in found:
    flags = shlex.join(flag for flag in case if flag != "--of=input")
    speeds = report.get("images_per_sec")
    if speeds is None:
      parts.append(f"`{flags}`: {MISSING}")
      continue
    rows = [(n, f"{statistics.median(s):,.0f}") for n, s in speeds.items()]
    parts.append(_table((f"`{flags}`", "images/s"), rows))
  return parts


# What is measured -> its part of the page.
_SECTIONS = {
  "model": _networks,
  "ops": _operations,
  "run": _runs,
  "input": _inputs,
}


def _machines(reports: Sequence[Report]) -> list[str]:
  """On what, when and with which versions, each once."""
  machines, versions, dates = [], {}, []
  for report in reports:
    if "machine" not in report:
      continue
    machine = report["machine"]
    device = report.get("device") or report.get("ours", {}).get("device", "cpu")
    machines.append(
      f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
      f"device: {device}"
    )
    dates.append(machine["date"])
    sides = [report, report.get("ours", {}), *report.get("peers", {}).values()]
    for side in sides:
      for name, version in side.get("versions", {}).items():
        versions.setdefault(name, set()).add(version)
  if not machines:
    return ["Nothing was measured yet."]
  shown = [f"{n} {' and '.join(sorted(v))}" for n, v in versions.items()]
  return [
    "\n".join(
      [
        *(f"- {machine}" for machine in dict.fromkeys(machines)),
        f"- {', '.join(shown)}",
        f"- {min(dates)} to {max(dates)}",
      ]
    )
  ]


def _failure(what: str, side: Report) -> list[str]:
  return [f"{what}: {side['failed']}"] if "failed" in side else []


def _flags(case: tuple[str, ...]) -> dict[str, str]:
  """'--name=value' -> {'name': 'value'}."""
  return {
    name.removeprefix("--"): value
    for name, _, value in (flag.partition("=") for flag in case)
  }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [head, ["---"] * len(head), *rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)
