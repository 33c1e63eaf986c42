"""The part of the page of results that is read first, made from the reports.

For each paper one claim with its verdict, one number and one figure; then a
table of all studies. The rest of that page is written by hand, around the
blocks that two lines of comment enclose.
"""

import collections
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.observe import escape, formatting
from mn_jax.observe.formatting import count
from mn_jax.report import (
  cross_validation_pages,
  study_report,
  study_tables,
)
from mn_jax.report.claim_tables import claim_row
from mn_jax.report.reproduction import Paper, claims_of
from mn_jax.report.tables import Table
from mn_jax.run import records
from mn_jax.studies import kept
from mn_jax.studies import study as study_lib

# As docs/results.md names it.
_FOLDER = "results"
_VERDICTS = ("holds", "does not hold", "not decided", "not run")
_OF_SEVERAL = {"holds": "hold", "does not hold": "do not hold"}


def rewrite(text: str, papers: Sequence[Paper], results: pathlib.Path) -> str:
  """Returns a page of results with its blocks made anew.

  Args:
    text: Markdown with the blocks 'papers' and 'studies', and blocks such as
      'table idc' for the rows of a study.
    papers: in order.
    results: folder with the report of each study, in a folder of its name.

  Raises:
    InputError: if a block is missing, or a report is not of the runs that are
      kept beside it.
  """
  reports = {
    name: report
    for name in files.names("get_study")
    if (report := study_report.read_report(results / name))
  }
  blocks = {
    "papers": "\n\n".join(_paper(paper, reports, results) for paper in papers),
    "studies": "\n".join([*_studies(reports, results), *_folds(results)]),
  }
  for study in re.findall(r"<!-- table (\S+): made by tools.report -->", text):
    files.find(study, "get_study")
    blocks[f"table {study}"] = _table(reports.get(study))
  for name, block in blocks.items():
    begin, end = f"<!-- {name}: made by tools.report -->", f"<!-- /{name} -->"
    pattern = f"({re.escape(begin)}\n).*?({re.escape(end)})"
    text, found = re.subn(
      pattern,
      lambda match, block=block: f"{match[1]}\n{block}\n\n{match[2]}",
      text,
      flags=re.DOTALL,
    )
    if found != 1:
      raise InputError(
        f"--index: got a page with {found} blocks {name!r}; valid: one, "
        f"between {begin!r} and {end!r}"
      )
  return text


def _paper(
  paper: Paper, reports: Mapping[str, Any], results: pathlib.Path
) -> str:
  """What holds of a paper: a claim, its number, a count of claims, a figure."""
  headline = paper.headline
  anchor = re.sub(r"[^\w\- ]", "", paper.title.lower()).replace(" ", "-")
  claims = {
    claim["text"]: claim
    for claim in reports.get(headline.study, {}).get("claims", ())
  }
  verdict, remarks = "not run", []
  if headline.claim in claims:
    _, verdict, _, numbers = claim_row(claims[headline.claim])
    remarks.append(f"{_sentence(numbers)}.")
  studies = dict.fromkeys(item.study for item in paper.items if item.study)
  verdicts = collections.Counter()
  for study in studies:
    made = files.load(study, "get_study", study_lib.Study)
    verdicts += _verdicts(made, reports.get(study, {}))
  if verdicts:
    listed = (
      f"{number} {x if number == 1 else _OF_SEVERAL.get(x, x)}"
      for x in _VERDICTS
      if (number := verdicts[x])
    )
    total = count(verdicts.total(), "claim")
    remarks.append(f"Of {total} about it: {', '.join(listed)}.")
  remarks.append(f"[All its numbers](reproduction.md#{anchor}).")
  parts = [
    f"### {paper.title}",
    f"{_sentence(headline.claim)}: **{verdict}**.",
    " ".join(remarks),
  ]
  figure = f"{headline.study}/figures/{headline.figure}.webp"
  if (results / figure).is_file():
    parts.append(f"![{paper.title}]({_FOLDER}/{figure})")
  return "\n\n".join(parts)


def _verdicts(
  study: study_lib.Study, report: Mapping[str, Any]
) -> collections.Counter[str]:
  """How many claims of a study have each verdict, by its page."""
  claims = claims_of(study, report)
  return collections.Counter(claim["verdict"] for claim in claims)


def _sentence(text: str) -> str:
  """A text as Markdown, with a capital at its start."""
  return escape.markdown(text[:1].upper() + text[1:])


def _table(report: Mapping[str, Any] | None) -> str:
  """The rows of a study that were run, as its page has them, in short."""
  if report is None:
    return "Not run."
  members = {member["name"]: member for member in report["members"]}
  metrics = report["metrics"]
  shown = len(metrics) + 4
  table = study_tables.results_table(report, [])
  rows = []
  for cells in table.rows:
    found = members.get(cells[0], {}).get("metrics", {}).get(metrics[0], {})
    ends = formatting.interval(found.get("low"), found.get("high"))
    seeds = cells[1].partition("/")[0]
    cells = (cells[0], seeds, cells[2], ends, *cells[3:shown])
    rows.append(tuple(re.sub(r"\b0\.(?=\d{3}\b)", ".", x) for x in cells))
  columns = list(table.columns[:shown])
  columns.insert(3, "95 %")
  return Table(tuple(columns), rows).markdown()


def _studies(reports: Mapping[str, Any], results: pathlib.Path) -> list[str]:
  """A row for each study: what was run, what is kept, what was decided."""
  rows = [
    "| study | rows with runs | runs kept | hours | claims decided | page |",
    "|---|---:|---:|---:|---:|---|",
  ]
  for name in files.names("get_study"):
    made = files.load(name, "get_study", study_lib.Study)
    title = escape.markdown(made.title)
    if name not in reports:
      rows.append(f"| {title} | | | | | not run |")
      continue
    report = reports[name]
    run = [member for member in report["members"] if member["seeds"]]
    runs = sum(len(member["seeds"]) for member in run)
    verdicts = _verdicts(made, report)
    decided = sum(verdicts[x] for x in _VERDICTS[:2])
    names = report.get("kept", ())
    of_all = f"{len(names)} of {runs}" + ": summaries only" * (not names)
    cells = (
      title,
      f"{len(run)} of {len(made.members)}",
      of_all,
      _hours(results / name / "runs", names),
      f"{decided} of {len(made.claims)}",
      f"[{name}]({_FOLDER}/{name}/report.md)",
    )
    rows.append(f"| {' | '.join(cells)} |")
  return rows


def _hours(folder: pathlib.Path, names: Iterable[str]) -> str:
  """What kept runs took; seeds of one program share its time."""
  summaries = [records.read_summary(folder / name) for name in names]
  seconds = [x["wall_seconds"] / x.get("replicas", 1) for x in summaries]
  return f"{sum(seconds) / 3600:.1f}" if seconds else ""


def _folds(results: pathlib.Path) -> list[str]:
  """A row for each cross-validation whose folds are kept."""
  rows = []
  for path in sorted(results.glob(f"*/{cross_validation_pages.NAME}")):
    found = records.read_object(path, {"title": str, "folds": list})
    folder, count_folds = path.parent, len(found["folds"])
    kept_folds = kept.digests(folder / "runs")
    cells = (
      escape.markdown(found["title"]),
      f"{count_folds} folds",
      str(len(kept_folds)),
      _hours(folder / "runs", kept_folds),
      "",
      f"[{folder.name}]({_FOLDER}/{folder.name}/report.md)",
    )
    rows.append(f"| {' | '.join(cells)} |")
  return rows
