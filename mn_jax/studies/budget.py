"""What is left of a study, and how long it takes by the runs there are."""

import dataclasses
import statistics
from collections.abc import Sequence

from mn_jax.observe.console import Console
from mn_jax.observe.formatting import UNDEFINED, count, rough_duration
from mn_jax.studies.study import StudyRun


@dataclasses.dataclass(frozen=True)
class RowBudget:
  """Runs of a row.

  Attributes:
    name: of the row.
    complete: seeds of complete runs.
    missing: seeds of the others.
    seconds: that a run takes, the median of the complete ones; None without
      any.
  """

  name: str
  complete: tuple[int, ...]
  missing: tuple[int, ...]
  seconds: float | None

  @property
  def left(self) -> float | None:
    """Seconds that the missing runs take; None if that is not known."""
    if not self.missing:
      return 0.0
    return None if self.seconds is None else len(self.missing) * self.seconds


def measure(runs: Sequence[StudyRun]) -> list[RowBudget]:
  """Returns the budget of each row, in the order of the study.

  Args:
    runs: of the study. Seeds that were trained in one program share its time.
  """
  rows = []
  for name in dict.fromkeys(run.member.name for run in runs):
    summaries = {
      run.seed: run.summary() for run in runs if run.member.name == name
    }
    seconds = [
      summary["wall_seconds"] / summary.get("replicas", 1)
      for summary in summaries.values()
      if summary is not None
    ]
    rows.append(
      RowBudget(
        name,
        tuple(seed for seed, x in summaries.items() if x is not None),
        tuple(seed for seed, x in summaries.items() if x is None),
        statistics.median(seconds) if seconds else None,
      )
    )
  return rows


def show(console: Console, title: str, rows: Sequence[RowBudget]) -> None:
  """Prints a table of the rows, and the time of all that is left.

  Args:
    console: for people.
    title: of the study.
    rows: of `measure`.
  """
  cells = [
    (
      row.name,
      _seeds(row.complete),
      _seeds(row.missing),
      _duration(row.seconds),
      _duration(row.left) if row.missing else "",
    )
    for row in rows
  ]
  columns = ("member", "complete", "missing", "a run", "left")
  console.table(title, columns, cells)
  left = [row.left for row in rows if row.left is not None]
  missing = sum(len(row.missing) for row in rows)
  line = f"Left: {count(missing, 'run')}, {rough_duration(sum(left))}"
  unknown = [row for row in rows if row.left is None]
  if unknown:
    runs = sum(len(row.missing) for row in unknown)
    line += f" without {count(runs, 'run')} of rows that none is complete of"
  console.line(f"{line}; by the median of complete runs, one after the other")


def _duration(seconds: float | None) -> str:
  return UNDEFINED if seconds is None else rough_duration(seconds)


def _seeds(seeds: Sequence[int]) -> str:
  """Formats seeds as '0-2, 4'."""
  spans: list[list[int]] = []
  for seed in seeds:
    if spans and spans[-1][-1] == seed - 1:
      spans[-1][1:] = [seed]
    else:
      spans.append([seed])
  return ", ".join("-".join(map(str, span)) for span in spans)
