"""The report of measured and predicted scaling, as a page and as Markdown."""

import dataclasses
import io
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.perf.scaling.report import figures, rows, tables
from mn_jax.perf.scaling.report.rows import Row
from mn_jax.report import page
from mn_jax.report.document import Document, Figure, Section

_WIDTH = 1000  # pixels of a figure beside Markdown
_INTRO = (
  "Weak scaling keeps the batch per device, strong scaling the batch over all "
  "devices. Measured numbers are of the training step as it runs; predicted "
  "ones are of the same step, compiled for accelerators that were not "
  "available, at published rates that are reached only in the best case: their "
  "images/s are an upper limit, not a forecast."
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


@dataclasses.dataclass(frozen=True)
class Results:
  """The contents of folders of measurements and plans.

  Attributes:
    measured: rows of the points.
    predicted: rows of the plans.
    pairs: from `rows.pairs`.
    records: the plans and points themselves.
  """

  measured: list[Row]
  predicted: list[Row]
  pairs: list[tuple[Row, Row, float]]
  records: list[Mapping[str, Any]]


def read(folders: Sequence[pathlib.Path]) -> Results:
  """Reads the points and plans of folders.

  Raises:
    InputError: if one holds neither points nor a plan, or damaged ones.
  """
  records, plans, predicted = [], [], []
  for folder in folders:
    folder_points = rows.read_points(folder)
    records += folder_points
    if (folder / "plan.json").is_file():
      plan, plan_rows = rows.read_plan(folder)
      plans.append(plan)
      predicted += plan_rows
    elif not folder_points:
      raise InputError(
        f"got {str(folder)!r}, which has neither points/*.json nor plan.json; "
        "valid: the output of `scaling measure` or `scaling plan`"
      )
  measured = rows.summarize(records)
  pairs = rows.pairs(measured, predicted)
  return Results(measured, predicted, pairs, [*plans, *records])


def check_prices(results: Results, prices: tables.Prices) -> None:
  """Refuses the price of a chip that no row is of.

  Raises:
    InputError: naming it.
  """
  kinds = [row["on"] for row in (*results.measured, *results.predicted)]
  for name in prices:
    if not any(tables.is_called(name, kind) for kind in kinds):
      valid = ", ".join(dict.fromkeys(kinds))
      raise InputError(f"--price: got {name!r}; valid: {valid}")


def write(
  results: Results,
  *,
  output: pathlib.Path,
  markdown: pathlib.Path | None,
  prices: tables.Prices,
  command: str,
  console: Console,
) -> None:
  """Writes the report.

  Args:
    results: to report.
    output: folder for report.html and what belongs to it.
    markdown: a page to write too, with its figures in a folder beside it that
      has its name; or None.
    prices: chip or kind of device -> US dollars per hour of one.
    command: to repeat the report.
    console: for people.
  """
  document = _build(results, prices, command)
  numbers = {
    "measured": results.measured,
    "planned": results.predicted,
    "errors": [
      {
        "label": row["label"],
        "chip": plan["chip"],
        "devices": row["devices"],
        "input": row["input"],
        "error": error,
      }
      for row, plan, error in results.pairs
    ],
  }
  path = page.write(document, formatting.jsonable(numbers), output)
  console.line(f"Report: {path.resolve().as_uri()}")
  if markdown is not None:
    _write_markdown(document, markdown)
    console.line(f"Markdown: {markdown}")


def _build(results: Results, prices: tables.Prices, command: str) -> Document:
  """The document; arguments as in `write`."""
  first_tables = {}
  glance = tables.glance(_ends((*results.measured, *results.predicted)), prices)
  if glance.rows:
    first_tables["At a glance"] = glance
  if results.predicted and results.measured:
    first_tables["Predicted beside measured"] = tables.comparison(
      results.measured, results.predicted, results.pairs
    )
  kinds = dict.fromkeys((r["label"], r["on"]) for r in results.measured)
  labels = dict.fromkeys(row["label"] for row in results.predicted)
  notes = (
    (results.measured, _INPUTS),
    (any(row["on"] == "cpu" for row in results.measured), _CPU),
    (not results.measured, f"Measurements: {tables.NOT_MEASURED}."),
    (not results.predicted, "Predictions: not planned."),
  )
  return Document(
    title="Scaling",
    intro=_INTRO,
    tables=first_tables,
    sections=[
      *(_measured_section(results, *kind) for kind in kinds),
      *(_predicted_section(results, label, prices) for label in labels),
    ],
    protocol=_protocol(results, command),
    notes=[note for holds, note in notes if holds],
  )


def _protocol(results: Results, command: str) -> list[tuple[str, str]]:
  """The command, machines, dates and versions, each once."""
  lines = [("this page", command)]
  dates = []
  for record in results.records:
    machine = record.get("machine")
    if machine:
      dates.append(machine["date"])
      described = "{kind}: {cpu}, {cores} cores, {system}".format(
        kind=record["device_kind"], **machine
      )
      lines.append(("measured on", described))
  if dates:
    lines.append(("measured", f"{min(dates)} to {max(dates)}"))
  for record in results.records:
    listed = ", ".join(f"{n} {v}" for n, v in record["versions"].items())
    lines.append(("versions", listed))
  return list(dict.fromkeys(lines))


def _ends(all_rows: Iterable[Row]) -> list[tuple[Row, Row]]:
  """The fewest and the most devices of each series, where there is a speed."""
  members: dict[tuple[Any, ...], list[Row]] = {}
  for row in all_rows:
    if row["images_per_sec"] is not None:
      members.setdefault(rows.series(row), []).append(row)
  return [
    # The most devices in the fewest processes.
    (group[0], max(group, key=lambda r: (r["devices"], -r.get("processes", 1))))
    for group in members.values()
  ]


def _measured_section(results: Results, label: str, kind: str) -> Section:
  members = [
    row
    for row in results.measured
    if (row["label"], row["on"]) == (label, kind)
  ]
  anchor = _anchor(f"measured {label} {kind}")
  title = f"{label}, measured on {kind}"
  section_figures = []
  if any(row["repeats"] for row in members):
    section_figures.append(
      Figure(
        anchor,
        figures.measured(members, title),
        "Speed-up and efficiency over the smallest count of each series, "
        "with 95 % intervals over repeats, and time per step. Points that "
        "would hide each other stand a little apart.",
      )
    )
  return Section(
    title=title,
    anchor=anchor,
    text="Every measurement was made in fresh processes, one after the "
    "other, repeat by repeat.",
    command=_commands(results, label, "measure"),
    tables=_filled(tables.speed(members)),
    figures=section_figures,
    folded=_folded({"What the time is spent on": tables.time_spent(members)}),
  )


def _predicted_section(
  results: Results, label: str, prices: tables.Prices
) -> Section:
  members = [row for row in results.predicted if row["label"] == label]
  fitting = [row for row in members if row["fits"]]
  timed = [row for row in fitting if row["seconds"] is not None]
  pairs = [row for row, *_ in results.pairs if row["label"] == label]
  anchor = _anchor(f"planned {label}")
  title = f"{label}, predicted"
  section_figures = []
  if fitting:
    section_figures.append(
      Figure(
        anchor,
        figures.predicted(fitting, pairs, title),
        "Predicted images/s, efficiency and time per step over chips"
        + ("; crosses are measurements." if pairs else "."),
      )
    )
  if timed:
    section_figures.append(
      Figure(
        f"{anchor}_cost",
        figures.cost(timed, f"{label}, time and chip-hours to train"),
        "Predicted time of all training steps, and what it costs in hours "
        "of all chips together.",
      )
    )
  refused = len(members) - len(fitting)
  text = f"All of {len(members)} options fit."
  if refused:
    verb = "does" if refused == 1 else "do"
    text = f"{refused} of {len(members)} options {verb} not fit."
  return Section(
    title=title,
    anchor=anchor,
    text=text,
    command=_commands(results, label, "plan"),
    tables=_filled(tables.programs(members), tables.counted(members)),
    figures=section_figures,
    folded=_folded(
      {
        "Every number of chips": tables.plan(members),
        "Time to train": tables.overview(members, prices),
      }
    ),
  )


def _filled(*some: tables.Table) -> list[tables.Table]:
  """The tables that have rows."""
  return [table for table in some if table.rows]


def _folded(some: Mapping[str, tables.Table]) -> dict[str, tables.Table]:
  return {title: table for title, table in some.items() if table.rows}


def _commands(results: Results, label: str, verb: str) -> str:
  commands = (
    record["command"]
    for record in results.records
    if rows.label(record["config"]) == label
  )
  return "\n".join(dict.fromkeys(c for c in commands if f" {verb} " in c))


def _anchor(text: str) -> str:
  return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _write_markdown(document: Document, path: pathlib.Path) -> None:
  """Writes a page and, in a folder beside it with its name, its figures.

  Figures of an earlier page in that folder are removed.
  """
  folder = path.with_suffix("")
  text, names = page.markdown(document, folder.name), set()
  for figure in document.all_figures():
    name = f"{folder.name}/{figure.name}"
    text = text.replace(f"({name}.webp)", f"({name}.png)")
    atomic.write_bytes(folder / f"{figure.name}.png", _png(figure))
    names.add(f"{figure.name}.png")
  for file in folder.glob("*.png"):
    if file.name not in names:
      file.unlink()
  atomic.write_text(path, text)


def _png(figure: Figure) -> bytes:
  """A plot as a PNG file of few colours, for pages that show no WebP."""
  image = Image.fromarray(figure.pixels)
  height = round(image.height * _WIDTH / image.width)
  image = image.resize((_WIDTH, height), Image.Resampling.LANCZOS)
  buffer = io.BytesIO()
  image.quantize(64, dither=Image.Dither.NONE).save(
    buffer, "PNG", optimize=True
  )
  return buffer.getvalue()
