"""The page of compiled programs, before and after, for docs/benchmarks."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mn_jax.perf.bench.program_tables import megabytes
from mn_jax.perf.bench.tables import Report
from mn_jax.perf.program import floors
from mn_jax.report import page
from mn_jax.report.document import Document, Section
from mn_jax.report.tables import Table

BEFORE = "before"
MISSING = "not compiled"
# What pages and their JSON files leave out: it is long, and read elsewhere.
_LONG = ("layers", "largest")

_INTRODUCTION = (
  "What one step compiles to: its kernels, and the bytes that they read and "
  "write in the device's main memory. Nothing was run: no figure on this page "
  "is a time, and fewer bytes are faster only where a step is bound by them. "
  "Every array counts once for each kernel that reads or writes it, so these "
  "are the fewest bytes for the program (`mn_jax/perf/program/traffic.py`). "
  "The floors count from the layers of the network "
  "(`mn_jax/perf/program/floors.py`). *Before* is the program of revision "
  "{before}, read by the same code. GPU programs are compiled without a "
  "device, so cuDNN's algorithms and the tiles of products are not tuned to "
  "it. Cycles are the TPU compiler's own estimate. All readings are in "
  "[{json}]({json})."
)
_NETWORKS_NOTE = (
  "MB are 1e6 bytes per image; training includes the optimizer. Floors: "
  "nothing fused, fused as XLA does, perfectly fused. Plain Flax is the peer "
  "`plain-jax`: Flax as its examples use it, with Adam alone."
)


def compact(report: dict[str, Any]) -> dict[str, Any]:
  """A report without what is too long for a page; others as they are."""
  if report.get("of") != "program":
    return report

  def short(program: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in program.items() if name not in _LONG}

  peers = {name: short(peer) for name, peer in report["peers"].items()}
  report = {**report, "ours": short(report["ours"]), "peers": peers}
  return {name: v for name, v in report.items() if name != "differences"}


def render(
  path: pathlib.Path,
  command: str,
  reports: Mapping[str, Report],
  before: Mapping[str, Report],
) -> str:
  """Renders the page as Markdown.

  Args:
    path: where it will be.
    command: that makes it.
    reports: of the whole suite, by the flags of their measurement; {} where
      there is none.
    before: the same of an earlier revision.
  """
  found = {key: r for key, r in reports.items() if "of" in r}
  earlier = {key: r for key, r in before.items() if "of" in r}
  pairs_of_chip: dict[str, list[tuple[Report | None, Report | None]]] = {}
  for key in reports:
    pair = earlier.get(key), found.get(key)
    if any(pair):
      chip = (pair[1] or pair[0])["chip"]
      pairs_of_chip.setdefault(chip, []).append(pair)
  sections = []
  for chip, pairs in pairs_of_chip.items():
    sections.append(
      Section(chip, "", "", tables=(_networks(pairs),), folded=_details(pairs))
    )
  json = path.with_suffix(".json").name
  document = Document(
    title="Compiled programs",
    intro=_INTRODUCTION.format(json=json, before=_revisions(earlier)),
    sections=sections,
    protocol=[
      ("this page", f"`{command}`"),
      (
        "one compiler at a time",
        "`--only=chip=H200` with the extra `cuda12`, `--only=chip=v` with "
        "`tpu`, `--only=--model` for the CPU",
      ),
      ("one program", "the flags of a reading in the JSON file, see below"),
      ("before", f"revision {_revisions(earlier)}"),
      ("after", f"revision {_revisions(found)}"),
      *_versions([*earlier.values(), *found.values()]),
    ],
    notes=[
      *(f"`python -m mn_jax.tools.bench {key}`" for key in reports),
      *(
        f"{MISSING}: `{key}` ({report.get('failed', 'not yet')})"
        for key, report in reports.items()
        if "of" not in report
      ),
    ],
    is_markdown=True,
  )
  return page.markdown(document, figures="")


def _networks(pairs: Sequence[tuple[Report | None, Report | None]]) -> Table:
  """A row for each program: kernels and bytes before and after, and floors."""
  rows = []
  has_cycles = any((new or old)["ours"]["cycles"] for old, new in pairs)
  for old, new in pairs:
    report = new or old
    case, batch = report["case"], report["case"]["batch"]
    plain = _plain(old, new)
    rows.append(
      (
        f"{case['model']}, {case['resolution']} px, batch {batch}, "
        f"{case['mode']}, {case['dtype']}",
        *(_kernels(r and r["ours"]) for r in (old, new)),
        *(_both(r and r["ours"], batch) for r in (old, new)),
        _change(old, new),
        *(
          megabytes(report["floors"][name], 1)
          for name in (floors.NOTHING, floors.XLA, floors.PERFECT)
        ),
        _both(plain, batch) if plain else "",
        *([_cycles(old), _cycles(new)] if has_cycles else []),
      )
    )
  columns = (
    *("program", "kernels before", "after", "MB before", "after", "change"),
    *("nothing fused", "as XLA", "perfectly", "plain Flax MB"),
    *(("M cycles before", "after") if has_cycles else ()),
  )
  if not any(row[9] for row in rows):
    columns = columns[:9] + columns[10:]
    rows = [row[:9] + row[10:] for row in rows]
  return Table(columns, rows, _NETWORKS_NOTE)


def _details(
  pairs: Sequence[tuple[Report | None, Report | None]],
) -> dict[str, Table]:
  """Tables by title: each program by kind of kernel, and by part."""
  tables = {}
  for old, new in pairs:
    case = (new or old)["case"]
    title = f"{case['model']}, {case['resolution']} px, {case['mode']}"
    tables[f"{title}: kinds of kernels"] = _rows(old, new, "kinds", "kind")
    tables[f"{title}: parts of the step"] = _rows(old, new, "parts", "part")
  return tables


def _rows(
  old: Report | None, new: Report | None, rows: str, title: str
) -> Table:
  """Kernels and bytes of the rows of a summary: before, after, plain Flax."""
  report = new or old
  batch, plain = report["case"]["batch"], _plain(old, new)
  sides = {"before": old and old["ours"], "after": new and new["ours"]}
  if plain:
    sides["plain Flax"] = plain
  found = {
    side: program
    and {
      f"{row[title]} {row.get('direction', '')}".strip(): row
      for row in program[rows]
    }
    for side, program in sides.items()
  }
  names = dict.fromkeys(
    name for side in ("after", *found) for name in found[side] or ()
  )
  cells = []
  for name in names:
    row = [name]
    for sums in found.values():
      if sums is None:
        row += [MISSING, MISSING]
      elif name not in sums:
        row += ["", ""]
      else:
        moved = sums[name]["read"] + sums[name]["written"]
        row += [f"{sums[name]['kernels']:,}", megabytes(moved, batch)]
    cells.append(tuple(row))
  columns = [f"{side}: {what}" for side in found for what in ("kernels", "MB")]
  return Table((title, *columns), cells)


def _plain(old: Report | None, new: Report | None) -> Report | None:
  """The program of plain Flax, which no revision changes."""
  for report in filter(None, (new, old)):
    if "plain-jax" in report["peers"]:
      return report["peers"]["plain-jax"]
  return None


def _kernels(program: Report | None) -> str:
  return f"{program['kernels']:,}" if program else MISSING


def _both(program: Report | None, batch: int) -> str:
  if not program:
    return MISSING
  return megabytes(program["read"] + program["written"], batch)


def _cycles(report: Report | None) -> str:
  return f"{report['ours']['cycles'] / 1e6:,.1f}" if report else MISSING


def _change(old: Report | None, new: Report | None) -> str:
  """'-12 %': bytes of the new program against the old one."""
  if not old or not new:
    return ""
  counts = [r["ours"]["read"] + r["ours"]["written"] for r in (old, new)]
  return f"{100 * (counts[1] / counts[0] - 1):+.0f} %"


def _revisions(reports: Mapping[str, Report]) -> str:
  found = {str(r["machine"].get("revision")) for r in reports.values()}
  return " and ".join(sorted(found)) or MISSING


def _versions(reports: Sequence[Report]) -> Iterator[tuple[str, str]]:
  versions: dict[str, set[str]] = {}
  dates = [report["machine"]["date"] for report in reports]
  for report in reports:
    for name, version in report["versions"].items():
      versions.setdefault(name, set()).add(version)
  if versions:
    listed = [f"{n} {' and '.join(sorted(v))}" for n, v in versions.items()]
    yield "versions", ", ".join(listed)
    yield "compiled", f"{min(dates)} to {max(dates)}"
