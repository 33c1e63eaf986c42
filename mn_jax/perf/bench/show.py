"""Reports of the benchmark as tables in a terminal."""

import math
import statistics
from typing import Any

from mn_jax.observe.console import Console
from mn_jax.observe.formatting import duration

Report = dict[str, Any]
# Of a core, above which a waiting side disturbs the others.
_BUSY = 0.05


def _model(console: Console, report: Report) -> None:
  case, ours = report["case"], report["ours"]
  sides, notes = {"ours": ours}, []
  for name, peer in report["peers"].items():
    if "failed" in peer:
      notes.append(f"{name}: not measured ({peer['failed']})")
      continue
    sides[peer["variant"]] = peer
    for other, rate in peer.get("other_variants", {}).items():
      notes.append(f"{other}: {rate:,.0f} images/s")
  console.table(
    f"{case['mode']}: {case['model']}, {case['resolution']} px, batch "
    f"{case['batch']}, {case['dtype']}, {ours['device']}",
    ("", "images/s", "median ms", "ratio (95 %)", "% of floor"),
    [
      (
        name,
        f"{row['images_per_sec']:,.0f}",
        f"{1e3 * row['median_seconds']:.1f}",
        times_as_fast(row),
        f"{row['percent_of_floor']:.0f}",
      )
      for name, row in sides.items()
    ],
  )
  console.table(
    f"Spread of {ours['turns']} turns, and cost",
    ("", "min-max ms", "quartiles ms", "compile", "memory"),
    [
      (
        name,
        _span([row["min_seconds"], row["max_seconds"]]),
        _span(row["quartile_seconds"]),
        duration(row["compile_seconds"]),
        f"{peak_bytes(row) / 2**20:,.0f} MiB",
      )
      for name, row in sides.items()
    ],
  )
  floors = report["floors"]
  console.line(
    f"Floor: {floors['images_per_sec']:,.0f} images/s: arithmetic allows "
    f"{floors['flop_images_per_sec']:,.0f} "
    f"({floors['flops_per_image'] / 1e6:,.0f} MFLOP an image, "
    f"{floors['matmul_flops_per_sec'] / 1e9:,.0f} GFLOP/s), memory "
    f"{floors['byte_images_per_sec']:,.0f} "
    f"({floors['bytes_per_image'] / 1e6:,.1f} MB, "
    f"{floors['copy_bytes_per_sec'] / 1e9:,.1f} GB/s)"
  )
  for note in notes:
    console.line(note)
  for name, row in sides.items():
    if (row["idle_cpu_share"] or 0) > _BUSY:
      console.line(
        f"Note: {name} used {row['idle_cpu_share']:.0%} of a core while the "
        "others worked; their times are too long"
      )
  _machine(console, report, ours["versions"])


def times_as_fast(row: Report) -> str:
  """'1.65 x (1.43-1.98)'; empty for this package's own row."""
  if "ratio" not in row:
    return ""
  low, high = row["ratio_interval"]
  return f"{row['ratio']:.2f} x ({low:.2f}-{high:.2f})"


def peak_bytes(row: Report) -> int:
  """The most memory of a side: of its device, or of the host."""
  return row["peak_device_memory_bytes"] or row["peak_memory_bytes"]


def _span(seconds: list[float]) -> str:
  low, high = seconds
  return f"{1e3 * low:.1f}-{1e3 * high:.1f}"


def _ops(console: Console, report: Report) -> None:
  case = report["case"]
  for kind, direction in pairs(report):
    rows, names = by_shape(report, kind, direction)
    console.table(
      f"{kind}, {direction}: {case['model']}, {case['resolution']} px, batch "
      f"{case['batch']}, {case['dtype']}, {report['device']}; ms (% of floor)",
      ("shape", "layers", "floor", *names),
      rows,
    )
  _machine(console, report, report["versions"])


def pairs(report: Report) -> list[tuple[str, str]]:
  """The kinds of operations with their directions."""
  return list(
    dict.fromkeys(
      (found["kind"], direction)
      for found in report["operations"]
      for direction in found["floors"]
    )
  )


def by_shape(
  report: Report, kind: str, direction: str
) -> tuple[list[tuple[str, ...]], list[str]]:
  """A row for each shape and one for the whole network, and the formulations.

  Columns are the shape, how many layers have it, the floor in milliseconds,
  and each formulation's milliseconds with its percent of the floor.
  """
  rows, count, least = [], 0, 0.0
  totals: dict[str, float] = {}
  for found in report["operations"]:
    if found["kind"] != kind:
      continue
    calls, floor = (
      len(found["layers"]),
      max(found["floors"][direction].values()),
    )
    times = found["times"][direction]
    count, least = count + calls, least + calls * floor
    for name, time in times.items():
      spent = math.nan if time is None else time["milliseconds"]
      totals[name] = totals.get(name, 0.0) + calls * spent
    cells = [
      "not measured"
      if time is None
      else _cell(time["milliseconds"], time["percent_of_floor"])
      for time in times.values()
    ]
    rows.append((_shape(found), str(calls), f"{floor:.2f}", *cells))
  cells = [
    "not measured" if math.isnan(total) else _cell(total, 100 * least / total)
    for total in totals.values()
  ]
  rows.append(("all layers", str(count), f"{least:.2f}", *cells))
  return rows, list(totals)


def _cell(milliseconds: float, percent: float) -> str:
  return f"{milliseconds:.2f} ({percent:.0f})"


def _shape(found: Report) -> str:
  """'112x112x64 5x5 s2', '28x28x128 to 256' or '28x28x128'."""
  height, width, channels = found["input"]
  text = f"{height}x{width}x{channels}"
  if found["kind"] == "pointwise":
    return f"{text} to {found['output'][-1]}"
  if found["kind"] == "depthwise":
    return f"{text} {'x'.join(map(str, found['window']))} s{found['stride']}"
  return text


def _input(console: Console, report: Report) -> None:
  console.table(
    f"{report['data']}, {report['image_size']} px, batch {report['batch']}: "
    "images/s on one core",
    ("stage", "median", "min", "max"),
    [
      (name, *(f"{f(some):,.0f}" for f in (statistics.median, min, max)))
      for name, some in report["images_per_sec"].items()
    ],
  )


def _run(console: Console, report: Report) -> None:
  rate, wait = report["images_per_sec"], report["data_wait_share"]
  console.table(
    f"{report['experiment']}: {report['steps']} steps of {report['batch']} on "
    f"{report['device']}",
    ("", "measured"),
    [
      ("images/s in training", f"{rate:,.0f}" if rate else "-"),
      ("of that waiting for data", f"{wait:.1%}" if rate else "-"),
      ("of all time outside the step", f"{report['outside_share']:.1%}"),
      ("compiling", duration(report["compile_seconds"])),
      ("all of it", duration(report["wall_seconds"])),
      ("memory", f"{report['peak_memory_bytes'] / 2**20:,.0f} MiB"),
    ],
  )
  _machine(console, report, report["versions"])


def _machine(
  console: Console, report: Report, versions: dict[str, str]
) -> None:
  machine = report["machine"]
  shown = ", ".join(f"{name} {version}" for name, version in versions.items())
  console.line(
    f"{machine['cpu']}, {machine['cores']} cores; {shown}; {machine['date']}"
  )


# What prints a report of each kind.
SHOWN = {"model": _model, "ops": _ops, "input": _input, "run": _run}
