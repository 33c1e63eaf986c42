"""What the sources print, row by row beside what was found here.

Numbers of runs come from `report.json` files, numbers of parameters from the
networks themselves. What was not run says why, and with which command and in
what time it can be.
"""

import dataclasses
import pathlib
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.models import counting, registry, variables
from mn_jax.observe.formatting import compact, count, mean_std, metric_name
from mn_jax.report.document import Document, Section
from mn_jax.report.study_report import claim_row
from mn_jax.report.tables import Table
from mn_jax.run import workdir as workdir_lib
from mn_jax.studies import study as study_lib

# Why most of what was not run was not.
PART = "only a part of the data set was at hand"


@dataclasses.dataclass(frozen=True)
class Count:
  """A number that a network has without being trained.

  Attributes:
    name: of the row.
    published: what the source says.
    model: name in the registry.
    of: 'params' with running statistics, 'backbone' (these without the head),
      'head' (trained parameters of the head) or 'macs' in millions.
    classes, width, head, options: of the network.
    resolution: input pixels.
  """

  name: str
  published: int
  model: str
  of: str = "params"
  classes: int = 1000
  width: float = 1.0
  head: str = "own"
  options: Mapping[str, bool] = dataclasses.field(default_factory=dict)
  resolution: int = 224

  def here(self) -> int:
    """The network's own number."""
    network = registry.describe(
      self.model,
      num_classes=self.classes,
      width=self.width,
      head=self.head,
      options=registry.Options(**self.options),
    )
    module = registry.build(network)
    if self.of == "macs":
      return round(counting.count_macs(module, self.resolution) / 1e6)
    shapes = variables.shapes(module, self.resolution)
    if self.of in ("backbone", "head"):
      shapes = {kind: tree.get(self.of, {}) for kind, tree in shapes.items()}
    params, stats = counting.count_params(shapes)
    return params if self.of == "head" else params + stats


@dataclasses.dataclass(frozen=True)
class Item:
  """A table or a figure of a source.

  Attributes:
    what: what it shows.
    study: stem of the study that repeats it; '' for none.
    rows: (row of the study, key in `summary.json`) for a table.
    figures: names of the figures in the study's report.
    counts: numbers that need no training.
    reason: why there is nothing here, where that is so.
  """

  what: str
  study: str = ""
  rows: tuple[tuple[str, str], ...] = ()
  figures: tuple[str, ...] = ()
  counts: tuple[Count, ...] = ()
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
  """A document whose experiments are repeated.

  Attributes:
    title: one line.
    text: what it did, and what is wrong with it.
    items: its tables and figures, and the questions it leaves open.
    commands: (command, expected time) of all its studies.
  """

  title: str
  text: str
  items: tuple[Item, ...]
  commands: tuple[tuple[str, str], ...]


def rows(names: str, *keys: str) -> tuple[tuple[str, str], ...]:
  """Each of some rows, with spaces between, with each key."""
  return tuple((name, key) for name in names.split() for key in keys)


def command(study: str) -> str:
  """The command that runs a study."""
  return f"`python -m mn_jax.tools.study configs/studies/{study}.py --seeds=3`"


def read(folder: pathlib.Path) -> list[Source]:
  """The sources of a folder's files, each of which has `get_source()`.

  Raises:
    InputError: if there are none.
  """
  files = sorted(folder.glob("*.py"))
  if not files:
    raise InputError(
      f"--reproduction: {folder} is not here; valid: from the project's folder"
    )
  return [runpy.run_path(str(file))["get_source"]() for file in files]


def build(
  sources: Sequence[Source], results: pathlib.Path, studies: pathlib.Path
) -> Document:
  """The page of all sources.

  Args:
    sources: in order.
    results: folder with a folder for each study, as `tools.report` wrote it.
    studies: folder of the studies' files.
  """
  sections = []
  for place, source in enumerate(sources, 1):
    reports = {}
    found = []
    for item in source.items:
      if item.study and item.study not in reports:
        reports[item.study] = _report(results / item.study)
      published = {}
      if item.study:
        chosen = study_lib.load(str(studies / f"{item.study}.py"))
        published = {m.name: m.published for m in chosen.members}
      found += _rows(item, reports.get(item.study), published, results)
    claims = [
      claim_row(claim)
      for report in reports.values()
      for claim in (report or {}).get("claims", ())
    ]
    sections.append(
      Section(
        source.title,
        f"source{place}",
        source.text,
        "",
        [
          Table(
            ("table or figure", "row", "published", "here", "state"), found
          ),
          *(
            [Table(("verdict", "claim", "numbers"), [c[1:] for c in claims])]
            if claims
            else []
          ),
          Table(("command", "expected time"), list(source.commands)),
        ],
        [],
      )
    )
  return Document(
    title="What the sources report, and what was found here",
    intro=(
      "Made by `python -m mn_jax.tools.report --reproduction=FILE` from "
      "`configs/sources`, the studies and `docs/results`; not written by "
      "hand. Differences are of protocols as much as of networks: each source "
      "says which. Deviations are over seeds."
    ),
    claims=[],
    tables={},
    figures=[],
    sections=sections,
    protocol=[],
    notes=[],
  )


def _report(folder: pathlib.Path) -> dict[str, Any] | None:
  path = folder / "report.json"
  return workdir_lib.read_object(path) if path.is_file() else None


def _rows(
  item: Item,
  report: Mapping[str, Any] | None,
  published: Mapping[str, Mapping[str, float]],
  results: pathlib.Path,
) -> list[tuple[str, ...]]:
  """An item's rows; its name stands in the first one only."""
  rows = []
  for name, key in item.rows:
    there = published[name].get(key)
    there = "-" if there is None else compact(there)
    found = _found(report, name, key)
    if found is None or found["mean"] is None:
      here, state = "-", f"not run: {item.reason or 'no results yet'}"
    else:
      here = mean_std(found["mean"], found["std"])
      state = f"run, {count(len(found['values']), 'seed')}"
    rows.append((f"{name}, {metric_name(key)}", there, here, state))
  for expected in item.counts:
    here = expected.here()
    state = "equal" if here == expected.published else "differs"
    rows.append((expected.name, f"{expected.published:,}", f"{here:,}", state))
  for name in item.figures:
    path = results / item.study / "figures" / f"{name}.webp"
    drawn = path.is_file()
    link = f"[{name}](results/{item.study}/figures/{name}.webp)"
    state = "drawn" if drawn else f"not run: {item.reason or 'no results yet'}"
    rows.append((name, "figure", link if drawn else "-", state))
  if not rows:
    rows.append(("", "-", "-", f"not run: {item.reason}"))
  return [
    ("" if place else item.what, *cells) for place, cells in enumerate(rows)
  ]


def _found(
  report: Mapping[str, Any] | None, name: str, key: str
) -> Mapping[str, Any] | None:
  """Mean, deviation and values of a row's metric."""
  for member in (report or {}).get("members", ()):
    if member["name"] == name:
      if key in member["published"]:
        return member["published"][key]
      return member["metrics"].get(key.removeprefix("test/"))
  return None
