"""The report of measured and planned scaling, as a page and as Markdown."""

import dataclasses
import io
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.observe import writers
from mn_jax.observe.console import Console
from mn_jax.perf.scaling.reporting import (
  figures,
  planned,
  series,
  tables,
  workload,
)
from mn_jax.perf.scaling.reporting.planned import Pair, Planned
from mn_jax.perf.scaling.reporting.series import Row
from mn_jax.report import page
from mn_jax.report.document import Document, Figure, Section
from mn_jax.report.tables import Table

_WIDTH = 1000  # pixels of a figure beside Markdown


@dataclasses.dataclass(frozen=True)
class Found:
  """What some folders hold.

  Attributes:
    rows: measured.
    plans: predicted.
    pairs: where both are of the same thing.
    commands: that measured or planned, by the network's label.
    machines: what was measured on: 'cpu, 2 cores, ...'.
    versions: of what measured or planned.
    dates: of the measurements.
  """

  rows: list[Row]
  plans: list[Planned]
  pairs: list[Pair]
  commands: dict[str, list[str]]
  machines: list[str]
  versions: list[str]
  dates: list[str]


def write(
  found: Found,
  *,
  output: pathlib.Path,
  markdown: pathlib.Path | None,
  prices: Mapping[str, float],
  command: str,
  console: Console,
) -> None:
  """Writes the report.

  Args:
    found: what there is.
    output: folder for report.html and what belongs to it.
    markdown: a page to write too, with its figures in a folder beside it that
      has its name; or None.
    prices: chip or kind of device -> US dollars per hour of one.
    command: that asked for it, as a person would repeat it.
    console: for people.
  """
  document = build(found, prices, command)
  path = page.write(document, numbers(found), output)
  console.line(f"Report: {path.resolve().as_uri()}")
  if markdown is not None:
    write_markdown(document, markdown)
    console.line(f"Markdown: {markdown}")


def read(folders: Sequence[pathlib.Path]) -> Found:
  """What the folders hold, together.

  Raises:
    InputError: if one holds neither points nor a plan, or damaged ones.
  """
  records, plans = [], []
  commands: dict[str, list[str]] = {}
  versions, machines, dates = [], [], []
  for folder in folders:
    points = series.read(folder)
    has_plan = (folder / "plan.json").is_file()
    if not points and not has_plan:
      raise InputError(
        f"got {str(folder)!r}, which has neither points/*.json nor plan.json; "
        "valid: the output of `scaling measure` or `scaling plan`"
      )
    records += points
    if has_plan:
      plan, rows = planned.read(folder)
      plans += rows
      for row in rows[:1]:
        commands.setdefault(row.label, []).append(plan["command"])
      versions.append(_versions(plan["versions"]))
  for record in records:
    label = workload.label(record["config"])
    commands.setdefault(label, []).append(record["command"])
    versions.append(_versions(record["versions"]))
    if "machine" in record:
      machine = record["machine"]
      machines.append(
        f"{record['device_kind']}: {machine['cpu']}, {machine['cores']} "
        f"cores, {machine['system']}"
      )
      dates.append(machine["date"])
  rows = series.summarize(records)
  return Found(
    rows=rows,
    plans=plans,
    pairs=planned.pairs(rows, plans),
    commands={k: list(dict.fromkeys(v)) for k, v in commands.items()},
    machines=list(dict.fromkeys(machines)),
    versions=list(dict.fromkeys(versions)),
    dates=sorted(dates),
  )


def check_prices(found: Found, prices: Mapping[str, float]) -> None:
  """Refuses a price of what is not there.

  Args:
    found: what there is.
    prices: see `write`.

  Raises:
    InputError: naming it.
  """
  known = [*(r.device_kind for r in found.rows), *(p.chip for p in found.plans)]
  for name in prices:
    if not any(tables.is_price_of(name, kind) for kind in known):
      valid = ", ".join(dict.fromkeys(known))
      raise InputError(f"--price: got {name!r}; valid: {valid}")


def build(found: Found, prices: Mapping[str, float], command: str) -> Document:
  """The document.

  Args:
    found: what there is.
    prices: see `write`.
    command: that made it.
  """
  shown = {}
  glance = tables.overview(*_ends(found), prices)
  if glance.rows:
    shown["At a glance"] = glance
  if found.plans:
    shown["Predicted beside measured"] = tables.comparison(
      found.rows, found.plans, found.pairs
    )
  sections = _measured_sections(found) + _planned_sections(found, prices)
  protocol = [("this page", command)]
  protocol += [("measured on", machine) for machine in found.machines]
  if found.dates:
    protocol.append(("measured", f"{found.dates[0]} to {found.dates[-1]}"))
  protocol += [("versions", versions) for versions in found.versions]
  return Document(
    title="Scaling",
    intro=_INTRO,
    claims=[],
    tables=shown,
    figures=[],
    sections=sections,
    protocol=protocol,
    notes=_notes(found),
  )


def _ends(found: Found) -> tuple[list[Row], list[Planned]]:
  """The fewest and the most devices of each series."""
  rows, plans = [], []
  measured = [row for row in found.rows if row.repeats]
  for key in dict.fromkeys(row.series() for row in measured):
    own = [row for row in measured if row.series() == key]
    most = max(own, key=lambda row: (row.devices, -row.processes))
    rows += dict.fromkeys((own[0], most))
  fitting = [row for row in found.plans if row.fits]
  for key in dict.fromkeys(plan.series() for plan in fitting):
    own = [plan for plan in fitting if plan.series() == key]
    plans += own[:1] if len(own) == 1 else [own[0], own[-1]]
  return rows, plans


_INTRO = (
  "Weak scaling keeps the batch per device, strong scaling the batch over all "
  "devices. Measured numbers are of the training step as it runs; predicted "
  "ones are of the same step, compiled for chips that are not here."
)
_INPUTS = (
  "Input: synthetic is one random batch that stays on the devices; cached has "
  "the data set on the devices and sends the rows of each batch; real gathers "
  "every batch from the decoded images and sends its pixels. All three take "
  "the same step, augmentation included."
)
_CPU = (
  "Devices of a CPU are parts of one processor: more of them share the same "
  "cores, so their series shows that the program is right and what its parts "
  "cost, not how fast it scales."
)


def _notes(found: Found) -> list[str]:
  notes = []
  if found.rows:
    notes.append(_INPUTS)
  if any(row.device_kind == "cpu" for row in found.rows):
    notes.append(_CPU)
  if not found.rows:
    notes.append(f"Measurements: {tables.NOT_MEASURED}.")
  if not found.plans:
    notes.append("Predictions: not planned.")
  return notes


def _measured_sections(found: Found) -> list[Section]:
  sections = []
  kinds = dict.fromkeys((row.label, row.device_kind) for row in found.rows)
  for label, kind in kinds:
    rows = [r for r in found.rows if (r.label, r.device_kind) == (label, kind)]
    anchor = _anchor(f"measured {label} {kind}")
    title = f"{label}, measured on {kind}"
    shown = []
    if any(row.repeats for row in rows):
      shown.append(
        Figure(
          anchor,
          figures.measured(rows, title),
          "Speed-up and efficiency over the smallest count of each series, "
          "with 95 % intervals over repeats, and time per step. Points that "
          "would hide each other stand a little apart.",
        )
      )
    sections.append(
      Section(
        title=title,
        anchor=anchor,
        text="Every measurement was made in fresh processes, one after the "
        "other, repeat by repeat.",
        command=_commands(found, label, "measure"),
        tables=_filled(tables.speed(rows), tables.time_spent(rows)),
        figures=shown,
      )
    )
  return sections


def _planned_sections(
  found: Found, prices: Mapping[str, float]
) -> list[Section]:
  sections = []
  for label in dict.fromkeys(row.label for row in found.plans):
    rows = [row for row in found.plans if row.label == label]
    fitting = [row for row in rows if row.fits]
    timed = [row for row in fitting if row.seconds_to_train is not None]
    pairs = [pair for pair in found.pairs if pair.predicted.label == label]
    anchor = _anchor(f"planned {label}")
    title = f"{label}, predicted"
    shown = []
    if fitting:
      shown.append(
        Figure(
          anchor,
          figures.planned(fitting, pairs, title),
          "Predicted images/s, efficiency and time per step over chips"
          + ("; crosses are measurements." if pairs else "."),
        )
      )
    if timed:
      shown.append(
        Figure(
          f"{anchor}_cost",
          figures.cost(timed, f"{label}, time and chip-hours to train"),
          "Predicted time of all training steps, and what it costs in hours "
          "of all chips together.",
        )
      )
    refused = len(rows) - len(fitting)
    text = f"All of {len(rows)} options fit."
    if refused:
      verb = "does" if refused == 1 else "do"
      text = f"{refused} of {len(rows)} options {verb} not fit."
    sections.append(
      Section(
        title=title,
        anchor=anchor,
        text=text,
        command=_commands(found, label, "plan"),
        tables=_filled(tables.plan(rows), tables.overview([], rows, prices)),
        figures=shown,
      )
    )
  return sections


def _filled(*some: Table) -> list[Table]:
  """Those that have rows."""
  return [table for table in some if table.rows]


def _commands(found: Found, label: str, verb: str) -> str:
  return "\n".join(
    each for each in found.commands[label] if f" {verb} " in each
  )


def _anchor(text: str) -> str:
  return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _versions(versions: Mapping[str, str]) -> str:
  return ", ".join(f"{name} {value}" for name, value in versions.items())


def numbers(found: Found) -> dict[str, Any]:
  """All numbers of the report, of values that JSON keeps."""
  return writers.jsonable(
    {
      "measured": [dataclasses.asdict(row) for row in found.rows],
      "planned": [dataclasses.asdict(row) for row in found.plans],
      "errors": [
        {
          "label": pair.measured.label,
          "chip": pair.predicted.chip,
          "devices": pair.measured.devices,
          "input": pair.measured.input,
          "error": pair.error,
        }
        for pair in found.pairs
      ],
    }
  )


def write_markdown(document: Document, path: pathlib.Path) -> None:
  """Writes a page and, in a folder beside it with its name, its figures.

  Figures of an earlier page in that folder are removed.

  Args:
    document: the report.
    path: of the page, *.md.
  """
  folder = path.with_suffix("")
  folder.mkdir(parents=True, exist_ok=True)
  text, names = page.markdown(document, folder.name), set()
  for figure in document.all_figures():
    name = f"{folder.name}/{figure.name}"
    text = text.replace(f"({name}.webp)", f"({name}.png)")
    atomic.write_bytes(folder / f"{figure.name}.png", png(figure))
    names.add(f"{figure.name}.png")
  for file in folder.glob("*.png"):
    if file.name not in names:
      file.unlink()
  atomic.write_text(path, text)


def png(figure: Figure) -> bytes:
  """A plot as a PNG file of few colours, for pages that show no WebP."""
  image = Image.fromarray(figure.pixels)
  height = round(image.height * _WIDTH / image.width)
  image = image.resize((_WIDTH, height), Image.Resampling.LANCZOS)
  buffer = io.BytesIO()
  image.quantize(64, dither=Image.Dither.NONE).save(
    buffer, "PNG", optimize=True
  )
  return buffer.getvalue()
