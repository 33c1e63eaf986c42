"""The page of all compared papers: their numbers beside those found here.

Numbers of runs come from `report.json` files, sizes of networks from the
networks themselves. What was not run says why, and which command runs it in
what time.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.models import counting, registry, variables
from mn_jax.observe.formatting import (
  compact,
  count,
  interval,
  mean_std,
  metric_name,
)
from mn_jax.report import study_report
from mn_jax.report.claim_tables import claim_row
from mn_jax.report.document import Document, Section
from mn_jax.report.tables import Table
from mn_jax.studies import claims as claims_lib
from mn_jax.studies import study as study_lib

# The most frequent reason why something was not run.
PARTIAL_DATA = "only a part of the data set was available"


@dataclasses.dataclass(frozen=True)
class NetworkSize:
  """A number of parameters or mult-adds that a paper reports.

  Attributes:
    name: of the table's row.
    published: the number in the paper.
    model: name in the registry.
    of: 'params' with running statistics, 'backbone' (these without the head),
      'head' (trained parameters of the head), 'macs' in millions; or in percent
      of all layers 'macs_share' or 'kernel_share' of those of a kind.
    classes, width, head, options: of the network.
    resolution: input pixels.
    kind: of the layers whose share is meant, as `counting.Layer` has it.
  """

  name: str
  published: float
  model: str
  of: str = "params"
  classes: int = 1000
  width: float = 1.0
  head: str = "own"
  options: Mapping[str, bool] = dataclasses.field(default_factory=dict)
  resolution: int = 224
  kind: str = ""

  def measure(self) -> float:
    """Returns the number of this package's network."""
    network = registry.describe(
      self.model,
      num_classes=self.classes,
      width=self.width,
      head=self.head,
      options=registry.Options(**self.options),
    )
    module = registry.build(network)
    if self.of in ("macs_share", "kernel_share"):
      name = self.of.removesuffix("_share")
      layers = counting.list_layers(module, self.resolution)
      share, all_layers = (
        sum(getattr(layer, name) for layer in some)
        for some in ([x for x in layers if x.kind == self.kind], layers)
      )
      return round(100 * share / all_layers, 2)
    if self.of == "macs":
      return round(counting.count_macs(module, self.resolution) / 1e6)
    shapes = variables.shapes(module, self.resolution)
    if self.of in ("backbone", "head"):
      shapes = {kind: tree.get(self.of, {}) for kind, tree in shapes.items()}
    params, stats = counting.count_params(shapes)
    return params if self.of == "head" else params + stats


@dataclasses.dataclass(frozen=True)
class PaperItem:
  """A table or figure of a paper, or a question that it leaves open.

  Attributes:
    title: what it shows.
    study: stem of the study that repeats it; '' for none.
    metrics: (member of the study, key in `summary.json`) of its numbers.
    figures: names of figures in the study's report.
    sizes: numbers that need no training.
    reason: why it was not repeated, where that is so.
  """

  title: str
  study: str = ""
  metrics: tuple[tuple[str, str], ...] = ()
  figures: tuple[str, ...] = ()
  sizes: tuple[NetworkSize, ...] = ()
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class Headline:
  """What a reader should know first of a paper: one claim and one figure.

  Attributes:
    study: stem of the study that decides the claim.
    claim: its text there.
    figure: name of a figure in the study's report.
  """

  study: str
  claim: str
  figure: str = "rows"


@dataclasses.dataclass(frozen=True)
class Paper:
  """A paper or report whose experiments are repeated.

  Attributes:
    title: authors, year and subject.
    text: what it did, what is wrong with it, and what differs here.
    items: its tables and figures, and the questions it leaves open.
    commands: (command, expected time) of its studies.
    headline: for the page of results.
  """

  title: str
  text: str
  items: tuple[PaperItem, ...]
  commands: tuple[tuple[str, str], ...]
  headline: Headline


def metrics_of(members: str, *keys: str) -> tuple[tuple[str, str], ...]:
  """Pairs each of some members, separated by spaces, with each key."""
  return tuple((name, key) for name in members.split() for key in keys)


def study_command(study: str, *, seeds: int = 3) -> str:
  """Returns the command that runs a study."""
  path = f"configs/studies/{study}.py"
  return f"`python -m mn_jax.tools.study {path} --seeds={seeds}`"


def read() -> list[Paper]:
  """Reads the papers of `configs/papers`."""
  return [
    files.load(name, "get_paper", Paper) for name in files.names("get_paper")
  ]


def build(papers: Sequence[Paper], results: pathlib.Path) -> Document:
  """Returns the page of all papers.

  Args:
    papers: in order.
    results: folder with the report of each study, in a folder of its name.

  Raises:
    InputError: if that folder is not there.
  """
  if not results.is_dir():
    raise InputError(
      f"--reproduction: {results} is not here; valid: from the project's folder"
    )
  return Document(
    title="What the papers report, and what was found here",
    intro=(
      "Made by `python -m mn_jax.tools.report --reproduction=FILE` from "
      "`configs/papers`, the studies and `docs/results`; not written by "
      "hand. Protocols differ as much as networks: each paper's text says how. "
      "Numbers are means ± standard deviations over seeds; the intervals are "
      "those of the study's page."
    ),
    is_markdown=True,
    sections=[
      _section(paper, f"paper{position}", results)
      for position, paper in enumerate(papers, 1)
    ],
  )


def _section(paper: Paper, anchor: str, results: pathlib.Path) -> Section:
  reports, studies, rows = {}, {}, []
  for item in paper.items:
    published, name = {}, item.study
    if name:
      if name not in reports:
        reports[name] = study_report.read_report(results / name)
        studies[name] = files.load(name, "get_study", study_lib.Study)
      members = studies[name].members
      published = {member.name: member.published for member in members}
    rows += _item_rows(item, reports.get(item.study, {}), published, results)
  claims = [
    claim_row(claim)[1:]
    for name, study in studies.items()
    for claim in claims_of(study, reports[name])
  ]
  tables = [
    Table(
      ("table or figure", "row", "published", "here", "95 %", "state"), rows
    ),
    Table(("verdict", "claim", "numbers"), claims),
    Table(("command", "expected time"), list(paper.commands)),
  ]
  tables = [table for table in tables if table.rows]
  return Section(paper.title, anchor, paper.text, tables=tables)


def claims_of(
  study: study_lib.Study, report: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
  """Yields all claims of a study, as its page has them or as not run.

  Args:
    study: the study.
    report: of `study_report.read_report`.
  """
  found = {claim["text"]: claim for claim in report.get("claims", ())}
  nothing = {"mean": None, "seeds": (), "verdict": claims_lib.NOT_RUN}
  for claim in study.claims:
    yield found.get(claim.text) or {**vars(claim), **nothing}


def _item_rows(
  item: PaperItem,
  report: Mapping[str, Any],
  published: Mapping[str, Mapping[str, float]],
  results: pathlib.Path,
) -> list[tuple[str, ...]]:
  """The rows of an item; its title stands in the first one only."""
  rows = []
  not_run = f"not run: {item.reason or 'no results yet'}"
  for name, key in item.metrics:
    if name not in published:
      raise InputError(
        f"configs/papers: got the row {name!r} of the study {item.study!r}; "
        f"valid: {', '.join(published)}"
      )
    there = published[name].get(key)
    statistics = _statistics(report, name, key)
    here, ends, state = "-", "-", not_run
    if statistics.get("mean") is not None:
      here = mean_std(statistics["mean"], statistics["std"])
      # An earlier version's intervals were over seeds alone, and had no bounds.
      if "holds" in statistics:
        ends = interval(statistics["low"], statistics["high"])
      state = _state(report, name, len(statistics["values"]))
    there = "-" if there is None else compact(there)
    rows.append((f"{name}, {metric_name(key)}", there, here, ends, state))
  for size in item.sizes:
    here = size.measure()
    state = "equal" if here == size.published else "differs"
    rows.append((size.name, f"{size.published:,}", f"{here:,}", "", state))
  for name in item.figures:
    path = f"{item.study}/figures/{name}.webp"
    if (results / path).is_file():
      link = f"[{name}](results/{path})"
      rows.append((name, "figure", link, "", "reproduced"))
    else:
      rows.append((name, "figure", "-", "", not_run))
  if not rows:
    rows.append(("", "-", "-", "", not_run))
  return [
    ("" if position else item.title, *cells)
    for position, cells in enumerate(rows)
  ]


def _state(report: Mapping[str, Any], name: str, seeds: int) -> str:
  """Says how many seeds of a row were run, and whether their runs are kept."""
  wanted = {member["name"]: member["wanted"] for member in report["members"]}
  state = f"run, {count(seeds, 'seed')}"
  if seeds < wanted[name]:
    state += f" of {wanted[name]}"
  return state if report.get("kept") else f"{state}, summaries only"


def _statistics(
  report: Mapping[str, Any], name: str, key: str
) -> Mapping[str, Any]:
  for member in report.get("members", ()):
    if member["name"] == name:
      if key in member["published"]:
        return member["published"][key]
      return member["metrics"].get(key.removeprefix("test/"), {})
  return {}
