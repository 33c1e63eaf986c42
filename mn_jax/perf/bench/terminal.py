"""Prints benchmark reports in a terminal."""

from collections.abc import Mapping
from typing import Any

from mn_jax.observe.console import Console
from mn_jax.perf.bench import program_tables, tables

# Share of a core above which an idle process disturbs the others.
_BUSY = 0.05


def show(
  console: Console, report: Mapping[str, Any], *, layers: bool = False
) -> None:
  """Prints what `tools.bench --json` would print, as tables.

  Args:
    console: to print on.
    report: of any measurement.
    layers: whether to list every layer of a compiled program.
  """
  if report["of"] == "model":
    _show_network(console, report)
  elif report["of"] == "program":
    for title, table in program_tables.of_report(report, layers=layers):
      table.show(console, title)
    for note in program_tables.notes(report):
      console.line(note)
  elif report["of"] == "ops":
    title = f"{tables.title(report)}, {report['device']}; ms (% of floor)"
    for table in tables.operations(report):
      table.show(console, f"{table.columns[0]}: {title}")
  elif report["of"] == "input":
    title = (
      f"{report['data']}, {report['image_size']} px, batch {report['batch']}"
    )
    tables.input_stages("stage", report).show(
      console, f"{title}: images/s on one core"
    )
  else:
    title = f"{report['steps']} steps of {report['batch']}"
    tables.runs({report["model"]: report}).show(
      console, f"{report['experiment']}: {title} on {report['device']}"
    )
  versions = report.get("versions") or report.get("ours", {}).get(
    "versions", {}
  )
  machine = report["machine"]
  listed = ", ".join(f"{name} {version}" for name, version in versions.items())
  about = f"{machine['cpu']}, {machine['cores']} cores"
  console.line("; ".join(filter(None, (about, listed, machine["date"]))))


def _show_network(console: Console, report: Mapping[str, Any]) -> None:
  case, ours, floors = report["case"], report["ours"], report["floors"]
  speed, cost = tables.libraries(report)
  speed.show(
    console, f"{case['mode']}: {tables.title(report)}, {ours['device']}"
  )
  cost.show(console, f"Spread of {ours['repeats']} repeats, and cost")
  console.line(
    f"Floor: {floors['images_per_sec']:,.0f} images/s: arithmetic allows "
    f"{floors['flop_images_per_sec']:,.0f} "
    f"({floors['flops_per_image'] / 1e6:,.0f} MFLOP an image, "
    f"{floors['matmul_flops_per_sec'] / 1e9:,.0f} GFLOP/s), memory "
    f"{floors['byte_images_per_sec']:,.0f} "
    f"({floors['bytes_per_image'] / 1e6:,.1f} MB, "
    f"{floors['copy_bytes_per_sec'] / 1e9:,.1f} GB/s)"
  )
  for name, row in {"mn_jax": ours, **report["peers"]}.items():
    if "failed" in row:
      console.line(f"not measured: {row['failed']}")
      continue
    for other, rate in row.get("other_variants", {}).items():
      console.line(f"{other}: {rate:,.0f} images/s")
    if (row["idle_cpu_share"] or 0) > _BUSY:
      console.line(
        f"Note: {name} used {row['idle_cpu_share']:.0%} of a core while the "
        "others worked; their times are too long"
      )
