"""Tables of exported files: what they have lost, and how fast they are.

Of entries of `export.results`, for a terminal and for the page of a run.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.export import results
from mn_jax.export.options import PRECISIONS
from mn_jax.observe.formatting import (
  UNDEFINED,
  count,
  metric_name,
  number,
)
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.report.tables import Table

_FILES = "Exported files"
_QUIET = 0.9  # share of the time that the process had the core
_SHORTLY_COMPARED = (
  "Each file was run by its own runtime; differences are those to the network "
  "in float32. An interval (95 %, paired) that has 0 in it is no loss that "
  "these images show. Changed: other answers than the network's; -: were "
  "right, are wrong; +: the reverse. Balanced: balanced accuracy."
)
_COMPARED = (
  "Each file was run by its own runtime; differences are those to the network "
  "in float32 with folded BatchNorm. An interval (95 %, paired) that has 0 in "
  "it is no loss that these images show. Changed: other answers than the "
  "network's; -: were right and are wrong; +: the reverse. Logits: the largest "
  "difference of one."
)
_TIMED = (
  "Times are CPU times on one core, medians, the files and the network in "
  "turn; a ratio below 1 is faster."
)
_BUSY = (
  " The machine was busy meanwhile: other work shared its caches, so times are "
  "rough."
)
_RESAMPLED = (
  " The images were enlarged to the sizes of some files, which make them small "
  "again: differences include what that changes."
)
_REFUSED = " *: refused and not written."


def of_run(analysis: RunAnalysis) -> dict[str, Table]:
  """Returns title -> table of the files in the folder `export` of a run.

  Files of another step than the run's results are left out. A run that was
  selected on the test has no test to show.
  """
  best = analysis.summary["best_step"]
  return tables(
    {
      name: entry
      for name, entry in results.read(analysis.path / "export").items()
      if entry["step"] == best
    },
    parts=("val",) if analysis.refused else (),
  )


def tables(
  entries: Mapping[str, Mapping[str, Any]],
  *,
  narrow: bool = False,
  parts: Sequence[str] = (),
) -> dict[str, Table]:
  """Returns title -> table.

  Args:
    entries: by name of the file, as `results.read` returns them; those with
      'refused' are of files that were not written.
    narrow: for a terminal of 80 columns.
    parts: whose answers are shown; () for all.
  """
  if not entries:
    return {}
  entries = dict(sorted(entries.items(), key=lambda x: _place(x[1])))
  found = {_FILES: _files(entries, narrow)}
  judged = [
    (_name(entry), part, verdict)
    for entry in entries.values()
    for part, verdict in entry["parts"].items()
    if not parts or part in parts
  ]
  last = ""
  for part in dict.fromkeys(part for _, part, _ in judged):
    verdicts = [(name, x) for name, of, x in judged if of == part]
    last = f"{part}, {count(verdicts[0][1]['images'], 'image')}"
    last = f"{'Answers' if narrow else 'Their answers'} on {last}"
    found[last] = (_short_answers if narrow else _answers)(verdicts)
  if last:
    note = _SHORTLY_COMPARED if narrow else _COMPARED
    if any(x["resampled"] for *_, x in judged):
      note += _RESAMPLED
    if any(map(_is_refused, entries.values())):
      note += _REFUSED
    found[last] = dataclasses.replace(found[last], note=note)
  return found


def _is_refused(entry: Mapping[str, Any]) -> bool:
  return entry.get("refused", False)


def _name(entry: Mapping[str, Any]) -> str:
  """Formats 'onnx int8_full', with a star if it was refused."""
  star = "*" if _is_refused(entry) else ""
  return f"{entry['format']} {entry['precision']}{star}"


def _place(entry: Mapping[str, Any]) -> tuple[str, int]:
  """Where a file stands: by format, and by precision in the usual order."""
  return entry["format"], PRECISIONS.index(entry["precision"])


def _times(entry: Mapping[str, Any]) -> Mapping[str, Any]:
  """Times by number of images; none of a file that was not timed."""
  return {} if entry["latency"] is None else entry["latency"]["batches"]


def _files(entries: Mapping[str, Mapping[str, Any]], narrow: bool) -> Table:
  batches = sorted({n for x in entries.values() for n in _times(x)}, key=int)
  rows = []
  for entry in entries.values():
    times = _times(entry)
    cells = [_milliseconds(times.get(n)) for n in batches]
    cells += [_ratio(times.get(n), "to_network", narrow) for n in batches]
    if not narrow:
      cells += [_ratio(times.get(n), "to_float32", True) for n in batches]
    rows.append((_name(entry), f"{entry['bytes'] / 1e6:.2f}", *cells))
  columns = [f"ms of {n}" for n in batches]
  columns += [f"x{n}" if narrow else f"x network, {n}" for n in batches]
  if not narrow:
    columns += [f"x float32, {n}" for n in batches]
  note = ""
  if batches:
    note = _TIMED
    if narrow:
      note += " x1 is the time of one image relative to the network's."
    else:
      note += (
        " 'x network' is the time relative to the network's for that many "
        "images, 'x float32' relative to that of the float32 file of the same "
        "format."
      )
    if any(map(_was_busy, entries.values())):
      note += _BUSY
  return Table(("file", "MB", *columns), rows, note)


def _was_busy(entry: Mapping[str, Any]) -> bool:
  return any(x["computing"] < _QUIET for x in _times(entry).values())


def _answers(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
  """All metrics on one part."""
  first = verdicts[0][1]
  metric = first["deciding"]
  others = [
    name
    for name, value in first["before"].items()
    if name != metric and value is not None
  ]
  before = (first["before"][name] for name in (metric, *others))
  value, *rest = map(number, before)
  rows = [("the network", value, "", *rest, "", "")]
  for name, x in verdicts:
    after = (x["after"][other] for other in (metric, *others))
    value, *rest = map(number, after)
    rows.append(
      (
        name,
        value,
        _short_difference(x["differences"][metric]),
        *rest,
        _changed(x),
        f"{x['largest_logit_difference']:.2g}",
      )
    )
  columns = (
    *("file", metric_name(metric), "difference"),
    *map(metric_name, others),
    *("changed (-/+)", "logits"),
  )
  return Table(columns, rows)


def _short_answers(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
  """The metric that decides, on one part, in 80 columns."""
  first = verdicts[0][1]
  metric = first["deciding"]
  rows = [("network", number(first["before"][metric]), "", "")]
  rows += [
    (
      name,
      number(x["after"][metric]),
      _short_difference(x["differences"][metric]),
      _changed(x),
    )
    for name, x in verdicts
  ]
  short = {"balanced_accuracy": "balanced"}.get(metric, metric_name(metric))
  return Table(("file", short, "difference", "changed (-/+)"), rows)


def _changed(verdict: Mapping[str, Any]) -> str:
  """Formats '6 (3/2)': of 6 answers that change, 3 were right, 2 are now."""
  return f"{verdict['changed']} ({verdict['lost']}/{verdict['gained']})"


def _short_difference(found: Mapping[str, Any]) -> str:
  """Formats '-0.010 (-0.020, 0.001)'."""
  value, low, high = (number(found[x]) for x in ("value", "low", "high"))
  return value if UNDEFINED in (low, high) else f"{value} ({low}, {high})"


def _milliseconds(times: Mapping[str, Any] | None) -> str:
  return UNDEFINED if times is None else f"{times['milliseconds']:.3g}"


def _ratio(times: Mapping[str, Any] | None, name: str, narrow: bool) -> str:
  """Formats '0.45 (0.44 to 0.47)', or the first number alone."""
  found = times and times[name]
  if not found:
    return ""
  text = f"{found['value']:.2f}"
  return (
    text if narrow else f"{text} ({found['low']:.2f} to {found['high']:.2f})"
  )
