"""Tables of compiled programs; bytes are those of one image, in MB (1e6)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mn_jax.perf.bench import tables
from mn_jax.perf.bench.tables import Report
from mn_jax.report.tables import Table

_ROWS = {"kinds": "kind", "parts": "part", "layers": "layer"}
_DIFFERENCES = 20
_WORST = 10
_NAME_WIDTH = 30


def of_report(
  report: Report, *, layers: bool = False
) -> Iterator[tuple[str, Table]]:
  """Makes the tables of a report, each with its title.

  Args:
    report: of `--of=program`.
    layers: whether to list every layer.
  """
  batch, mode = report["case"]["batch"], report["case"]["mode"]
  title = f"{tables.title(report)} on {report['chip']}, {mode}"
  programs = {"mn_jax": report["ours"], **report["peers"]}
  yield f"{title}: bytes an image", _totals(report, programs)
  for name, program in programs.items():
    shown = ["kinds", "parts", *(["layers"] if layers else [])]
    for rows in shown:
      yield f"{name}: {rows}, MB an image", _sums(program, rows, batch)
    if program["largest"]:
      yield f"{name}: largest kernels, MB an image", _largest(program, batch)
    if "registers" in program:
      title = f"{name}: kernels by spills and registers, of"
      yield f"{title} {len(program['registers'])}", _registers(program)
  for name, rows in report.get("differences", {}).items():
    for kind, compared in rows.items():
      if kind == "layers" and name in report["peers"]:
        continue  # which have other names
      yield f"mn_jax minus {name}: {kind}", _difference(compared, kind)


def notes(report: Report) -> list[str]:
  """What was compared, loops, and what the figures do not include."""
  found = []
  if before := report.get("before"):
    mode = before["case"]["mode"]
    found.append(f"before: {tables.title(before)} on {before['chip']}, {mode}")
  for name, program in {"mn_jax": report["ours"], **report["peers"]}.items():
    loops = program["loops"]
    if loops:
      trips = sum(loop["times"] * (loop["trips"] or 1) for loop in loops)
      found.append(f"{name}: {len(loops)} loops, {trips:,} iterations in all")
    found += [f"{name}: not counted: {n}" for n in program["not_counted"]]
  return found


def megabytes(count: float, batch: int) -> str:
  """Bytes of a step as MB per image; more digits for little."""
  value = count / batch / 1e6
  return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _totals(report: Report, programs: Mapping[str, Report]) -> Table:
  """Programs beside the least bytes."""
  batch = report["case"]["batch"]
  rows = [
    (
      name,
      f"{program['kernels']:,}",
      megabytes(program["read"], batch),
      megabytes(program["written"], batch),
      megabytes(program["read"] + program["written"], batch),
      f"{sum(program['memory'].values()) / 2**20:,.0f}"
      if program["memory"]
      else "",
    )
    for name, program in programs.items()
  ]
  rows += [
    (f"floor: {name}", "", "", "", megabytes(count, 1), "")
    for name, count in report["floors"].items()
  ]
  columns = ("", "kernels", "MB read", "MB written", "MB", "MiB memory")
  return Table(columns, rows)


def _sums(program: Report, rows: str, batch: int) -> Table:
  total = program["read"] + program["written"]
  cycles = program["cycles"]
  columns = (_ROWS[rows], "", "kernels", "read", "written", "both", "%")
  cells = [
    (
      *_names(row, rows),
      f"{row['kernels']:,}",
      megabytes(row["read"], batch),
      megabytes(row["written"], batch),
      megabytes(row["read"] + row["written"], batch),
      f"{100 * (row['read'] + row['written']) / max(total, 1):.0f}",
      *([f"{100 * row['cycles'] / cycles:.0f}"] if cycles else []),
    )
    for row in program[rows]
  ]
  return _without_empty(columns + (("% cycles",) if cycles else ()), cells)


def _largest(program: Report, batch: int) -> Table:
  rows = []
  for kernel in program["largest"]:
    more = f" +{kernel['other_layers']}" if kernel["other_layers"] else ""
    layer = f"{kernel['layer']} {kernel['direction']}".strip()
    rows.append(
      (
        megabytes(kernel["read"] + kernel["written"], batch),
        kernel["kind"],
        _shortened(kernel["name"]),
        f"{layer}{more}",
      )
    )
  return Table(("MB", "kind", "kernel", "layer"), rows)


def _registers(program: Report) -> Table:
  """What ptxas says of the kernels that need most."""
  rows = [
    (
      kernel["name"],
      f"{kernel['registers']}",
      f"{kernel['spill_stores']:,}",
      f"{kernel['spill_loads']:,}",
      f"{kernel['shared']:,}",
    )
    for kernel in program["registers"][:_WORST]
  ]
  columns = ("kernel", "registers", "spilled B", "reloaded B", "shared B")
  return Table(columns, rows)


def _difference(compared: Sequence[Report], rows: str) -> Table:
  """The largest differences per image; see `summary.differences`."""
  cells = [
    (
      *_names(row, rows),
      *(
        megabytes(row[side]["read"] + row[side]["written"], 1)
        for side in ("old", "new")
      ),
      _signed(row["bytes"]),
      *(f"{row[side]['kernels']:,}" for side in ("old", "new")),
    )
    for row in compared[:_DIFFERENCES]
  ]
  columns = (_ROWS[rows], "", "MB: other", "ours", "more", "kernels", "ours")
  return _without_empty(columns, cells)


def _names(row: Mapping[str, Any], rows: str) -> tuple[str, str]:
  return _shortened(row[_ROWS[rows]]), row.get("direction", "")


def _shortened(name: str) -> str:
  """The end of a long name, without the path's part that most layers share."""
  name = name.removeprefix("backbone/")
  return name if len(name) <= _NAME_WIDTH else f"...{name[-_NAME_WIDTH + 3 :]}"


def _signed(count: float) -> str:
  text = megabytes(abs(count), 1)
  return f"{'-' if count < 0 else '+'}{text}"


def _without_empty(
  columns: Sequence[str], rows: list[tuple[str, ...]]
) -> Table:
  """A table without its second column, the direction, where none has one."""
  if any(row[1] for row in rows):
    return Table(tuple(columns), rows)
  return Table((columns[0], *columns[2:]), [(row[0], *row[2:]) for row in rows])
