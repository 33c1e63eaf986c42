"""Tables of benchmark reports, for the terminal and for a page.

A report is what `tools.bench --json` prints.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.observe.formatting import duration
from mn_jax.report.tables import Table

Report = Mapping[str, Any]
MISSING = "not measured"
_CASE = ("model", "resolution", "batch", "mode", "dtype")


def title(report: Report) -> str:
  """'mobilenet_v1, 50 px, batch 32, float32': what a report is of."""
  case = report["case"]
  return (
    f"{case['model']}, {case['resolution']} px, batch {case['batch']}, "
    f"{case['dtype']}"
  )


def libraries(report: Report) -> tuple[Table, Table]:
  """Speed of this package and the peers of one report, and what it costs."""
  rows = {"mn_jax": report["ours"]} | {
    peer["variant"]: peer
    for peer in report["peers"].values()
    if "failed" not in peer
  }
  speed = [
    (
      name,
      f"{row['images_per_sec']:,.0f}",
      f"{1e3 * row['median_seconds']:.1f}",
      _ratio(row),
      f"{row['percent_of_floor']:.0f}",
    )
    for name, row in rows.items()
  ]
  cost = [
    (
      name,
      f"{1e3 * row['min_seconds']:.1f}-{1e3 * row['max_seconds']:.1f}",
      duration(row["compile_seconds"]),
      _peak_mib(row),
    )
    for name, row in rows.items()
  ]
  titles = ("", "images/s", "median ms", "ratio (95 %)", "% of floor")
  return (
    Table(titles, speed),
    Table(("", "min-max ms", "compile", "peak MiB"), cost),
  )


def networks(reports: Sequence[Report]) -> list[Table]:
  """Speed of whole networks beside peers, and what it costs; a row each."""
  peers = list(dict.fromkeys(name for r in reports for name in r["peers"]))
  speed, cost = [], []
  for report in reports:
    what = [f"{report['case'][name]}" for name in _CASE]
    ours = report["ours"]
    sides = [report["peers"].get(name, {}) for name in peers]
    speed.append(
      (
        *what,
        f"{ours['images_per_sec']:,.0f}",
        f"{ours['percent_of_floor']:.0f}",
        *(_ratio(side) or MISSING for side in sides),
      )
    )
    estimate = f"{ours['compiler_memory_bytes'] / 2**20:,.0f}"
    cost.append((*what, _cost(ours), estimate, *map(_cost, sides)))
  titles = ("network", "px", "batch", "step", "dtype")
  return [
    Table(
      (*titles, "images/s", "% of floor", *peers),
      speed,
      "Under a peer: how many times as fast this package is, with a 95 % "
      "interval.",
    ),
    Table(
      (*titles, "mn_jax", "estimated MiB", *peers),
      cost,
      "Images/s, seconds to compile, and the peak of memory in MiB (of the "
      "device, or of the process where that is the host); estimated: the "
      "compiler's estimate for this package's step.",
    ),
  ]


def operations(report: Report) -> list[Table]:
  """Formulations of operations; a table per kind and direction.

  Columns are the shape, how many layers have it, the floor in milliseconds, and
  each formulation's milliseconds with its percent of the floor. The last row
  adds up the network's layers.
  """
  kinds = dict.fromkeys(
    (operation["kind"], direction)
    for operation in report["operations"]
    for direction in operation["floors"]
  )
  return [_operation_table(report, *kind) for kind in kinds]


def runs(reports: Mapping[str, Report]) -> Table:
  """Training runs from start to end, by their names; a row each."""
  rows = []
  for name, report in reports.items():
    rate, wait = report["images_per_sec"], report["data_wait_share"]
    rows.append(
      (
        name,
        f"{rate:,.0f}" if rate else "-",
        f"{wait:.1%}" if rate else "-",
        f"{report['outside_share']:.1%}",
        duration(report["compile_seconds"]),
        duration(report["wall_seconds"]),
        *(_first_step(report, state) for state in ("cold", "warm")),
        _peak_mib(report),
      )
    )
  titles = ("run", "images/s", "data wait", "outside the step", "compile")
  steps = ("first step, cold", "first step, warm")
  return Table((*titles, "wall time", *steps, "MiB"), rows)


def _first_step(report: Report, state: str) -> str:
  """Seconds to the first step; reports of earlier releases have none."""
  seconds = report.get(f"first_step_{state}_seconds")
  return MISSING if seconds is None else duration(seconds)


def input_stages(name: str, report: Report) -> Table:
  """Images/s of the stages of the input path, under a name."""
  rows = [
    (stage, *(f"{f(rates):,.0f}" for f in (statistics.median, min, max)))
    for stage, rates in report["images_per_sec"].items()
  ]
  return Table((name, "images/s, median", "min", "max"), rows)


def _ratio(row: Report) -> str:
  """'1.65 x (1.43-1.98)'; empty for this package's own row."""
  if "ratio" not in row:
    return ""
  low, high = row["ratio_interval"]
  return f"{row['ratio']:.2f} x ({low:.2f}-{high:.2f})"


def _peak_mib(row: Report) -> str:
  """The peak of memory: of the device, or of the host's process."""
  peak = row["peak_device_memory_bytes"] or row["peak_memory_bytes"]
  return f"{peak / 2**20:,.0f}"


def _cost(side: Report) -> str:
  if "images_per_sec" not in side:
    return MISSING
  return (
    f"{side['images_per_sec']:,.0f}; {side['compile_seconds']:.0f} s; "
    f"{_peak_mib(side)}"
  )


def _operation_table(report: Report, kind: str, direction: str) -> Table:
  operations = [o for o in report["operations"] if o["kind"] == kind]
  names = list(operations[0]["times"][direction])
  rows, totals, floor_total, count = [], dict.fromkeys(names, 0.0), 0.0, 0
  for operation in operations:
    layers = len(operation["layers"])
    floor = max(operation["floors"][direction].values())
    times = operation["times"][direction]
    milliseconds = {
      name: math.nan if time is None else time["milliseconds"]
      for name, time in times.items()
    }
    cells = [_against(ms, floor) for ms in milliseconds.values()]
    rows.append((_shape(operation), f"{layers}", f"{floor:.2f}", *cells))
    count, floor_total = count + layers, floor_total + layers * floor
    for name in names:
      totals[name] += layers * milliseconds[name]
  cells = [_against(total, floor_total) for total in totals.values()]
  rows.append(("all layers", f"{count}", f"{floor_total:.2f}", *cells))
  return Table((f"{kind}, {direction}", "layers", "floor", *names), rows)


def _against(milliseconds: float, floor: float) -> str:
  """'2.00 (50)': milliseconds, and percent of the floor."""
  if math.isnan(milliseconds):
    return MISSING
  return f"{milliseconds:.2f} ({100 * floor / milliseconds:.0f})"


def _shape(operation: Report) -> str:
  """'112x112x64 5x5 s2', '28x28x128 to 256' or '28x28x128'."""
  text = "x".join(map(str, operation["input"]))
  if operation["kind"] == "pointwise":
    return f"{text} to {operation['output'][-1]}"
  if operation["kind"] == "depthwise":
    window = "x".join(map(str, operation["window"]))
    return f"{text} {window} s{operation['stride']}"
  return text
