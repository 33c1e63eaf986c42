"""The tables of a study's report."""

from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.observe.formatting import (
  compact,
  duration,
  interval,
  mean_std,
  metric_name,
  number,
)
from mn_jax.report.findings import Findings
from mn_jax.report.tables import Table

# Sha256 of a split -> baseline -> metric of its test.
Guesses = Mapping[str, Mapping[str, Mapping[str, float]]]


def main(
  results: Mapping[str, Any], guesses: Guesses, firsts: Sequence[Findings]
) -> Table:
  """Every row's test, then the baselines of the splits.

  Args:
    results: from `studies.results.collect`.
    guesses: of the splits that were opened.
    firsts: the first run of each row.
  """
  metrics = results["metrics"]
  rows = []
  for member in wanted(results):
    cells = [member["name"], f"{len(member['seeds'])}/{member['wanted']}"]
    for name in metrics:
      cells.append(
        mean_std(
          member["metrics"][name]["mean"], member["metrics"][name]["std"]
        )
      )
    if member["seeds"]:
      cells += [
        member["split"],
        f"{member['epochs']:.3g}",
        f"{member['params'] / 1e6:.2f}",
        f"{member['macs'] / 1e6:,.0f}",
        duration(member["wall_seconds"]),
      ]
    else:
      cells += ["-"] * 5
    if member["refused"]:
      cells[0] += " (chosen on the test: refused)"
    rows.append(tuple(cells))
  rows += [
    (name, "", *cells, *[""] * 4)
    for name, *cells in guess_rows(guesses, firsts, metrics, with_split=True)
  ]
  titles = ("row", "seeds", *map(metric_name, metrics), "split", "epochs")
  return Table(
    (*titles, "M parameters", "M mult-adds", "time"),
    rows,
    "Test numbers of the checkpoint that validation chose: mean ± standard "
    "deviation over seeds. Time is of one run, on " + devices(firsts) + ".",
  )


def wanted(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  """The rows that were asked for."""
  return [member for member in results["members"] if member["wanted"]]


def guess_rows(
  guesses: Guesses,
  firsts: Sequence[Findings],
  metrics: Sequence[str],
  *,
  with_split: bool = False,
) -> list[tuple[str, ...]]:
  """The baselines of every split that was opened: name, metrics, split."""
  rows = []
  seen = set()
  for found in firsts:
    split = found.summary["split_sha256"]
    if split in seen or split not in guesses:
      continue
    seen.add(split)
    for name, values in guesses[split].items():
      cells = [name, *(number(values.get(metric)) for metric in metrics)]
      if with_split:
        cells.append(found.summary["split"])
      rows.append(tuple(cells))
  return rows


def published(results: Mapping[str, Any]) -> dict[str, Table]:
  """The source's numbers beside ours, by its title; nothing without any."""
  rows = []
  for member in results["members"]:
    for key, found in member["published"].items():
      ours = found["mean"]
      gap = None if ours is None else ours - found["there"]
      rows.append(
        (
          member["name"],
          metric_name(key),
          compact(found["there"]),
          mean_std(found["mean"], found["std"]),
          number(gap, signed=True),
          member["note"],
        )
      )
  if not rows:
    return {}
  titles = ("row", "metric", "published", "here", "difference", "note")
  note = "The source's single runs on its own splits; here, means over seeds."
  return {"Published beside ours": Table(titles, rows, note)}


def comparisons(results: Mapping[str, Any]) -> dict[str, Table]:
  """The differences of the pairs that were run, by its title."""
  rows = []
  for pair in results["pairs"]:
    one, other = pair["members"]
    for name, found in pair["metrics"].items():
      if found["mean"] is None:
        continue
      rows.append(
        (
          f"{one} minus {other}",
          metric_name(name),
          number(found["mean"], signed=True),
          interval(found["low"], found["high"], signed=True),
          _p_value(found["p"]),
          _p_value(found["p_holm"]),
          str(len(found["seeds"])),
        )
      )
  if not rows:
    return {}
  titles = ("pair", "metric", "difference", "95 %", "p", "p, Holm", "seeds")
  note = "Paired over seeds, by Student's t; Holm's p is for all pairs at once."
  return {"Comparisons": Table(titles, rows, note)}


def devices(firsts: Sequence[Findings]) -> str:
  """What the runs ran on."""
  return ", ".join(sorted({f.summary["device"] for f in firsts})) or "nothing"


def _p_value(p: float | None) -> str:
  return "< 0.001" if p is not None and p < 0.001 else number(p)
