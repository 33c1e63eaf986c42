"""Output to the terminal: progress bars, a line for each event, tables."""

import contextlib
import os
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import rich.cells
import rich.console
import rich.progress
import rich.table
import rich.text

from mn_jax.observe import escape, notebook
from mn_jax.observe.formatting import (
  UNDEFINED,
  duration,
  mean_std_of,
  metric_name,
  number,
)

# Without a terminal, least time between two lines that only show progress.
_QUIET_SECONDS = 10.0

# Metrics of a run's summary, in order: of one class per image, which has either
# those of a positive class or macro means, and of several labels.
_ONE_CLASS = (
  "loss",
  "accuracy",
  "majority_rate",
  "balanced_accuracy",
  "sensitivity",
  "specificity",
  "precision",
  "f1",
  "auroc",
  "macro_precision",
  "macro_f1",
  "macro_auroc",
)
_MULTI_LABEL = (
  "loss",
  "macro_auroc",
  "macro_average_precision",
  "macro_f1",
  "macro_sensitivity",
  "macro_specificity",
  "micro_average_precision",
  "micro_f1",
  "label_accuracy",
  "majority_rate",
  "exact_match",
)


class _Terminal(rich.console.Console):
  """One whose reader may go away, as that of a pipe does."""

  needs_reader = True

  def on_broken_pipe(self) -> None:
    if self.needs_reader:
      raise BrokenPipeError
    self.quiet = True
    # What is still in the buffer goes there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console:
  """Prints to the terminal, in the first process only."""

  def __init__(self, *, quiet: bool = False, needs_reader: bool = True):
    """Prints to standard output.

    Args:
      quiet: print nowhere.
      needs_reader: raise a BrokenPipeError once nobody reads any longer;
        otherwise nothing more is printed.
    """
    self._in_notebook = not quiet and notebook.is_notebook()
    # A notebook gets plain lines, whatever its kernel says that it is.
    self._console = _Terminal(
      quiet=quiet,
      highlight=False,
      markup=False,
      emoji=False,
      force_jupyter=False,
      **{"force_terminal": False} if self._in_notebook else {},
    )
    self._console.needs_reader = needs_reader

  def line(self, text: str) -> None:
    """Prints text without markup, for the terminal to wrap."""
    self._console.print(_lines(text), soft_wrap=True)

  @contextlib.contextmanager
  def counting(self, label: str, unit: str) -> Iterator[Callable]:
    """Shows a bar for work of known size; yields `update(done, total)`.

    It appears with the first update. Without a terminal, one line at the end
    stands in for it.
    """
    counted = 0

    def update(done: int, total: int) -> None:
      nonlocal counted
      counted = done
      if not bar.tasks:
        bar.add_task(label, total=total)
        bar.start()
      bar.update(bar.task_ids[0], completed=done)

    bar = self._bar(f"{unit}/s")
    try:
      yield update
    finally:
      bar.stop()
    if counted and not self._console.is_terminal:
      self.line(f"{label}: {counted} {unit}")

  @contextlib.contextmanager
  def training(self, *, total: int) -> Iterator["Training"]:
    """Shows the progress bar of the training loop.

    Args:
      total: updates of the run.
    """
    bar = self._bar("images/s")
    # The first step waits for the compiler; `Training.step` renames the bar.
    # Its own rate would be one of steps.
    bar.add_task("compiling", total=total, rate=None)
    with bar:
      yield Training(self, bar)

  def table(
    self,
    title: str,
    columns: tuple[str, ...],
    rows: list[tuple[str, ...]],
    *,
    text_columns: int = 1,
  ) -> None:
    """Prints a table.

    Args:
      title: above it.
      columns: their titles.
      rows: of cells, as many as columns.
      text_columns: how many columns are text, the first; the others are
        numbers. Where it is more than one, a cell may have several lines, and
        rules separate the rows.
    """
    # As wide as its title, which would be broken otherwise.
    title = escape.printable(title)
    table = rich.table.Table(
      title=title,
      title_justify="left",
      min_width=rich.cells.cell_len(title),
      show_lines=text_columns > 1,
    )
    for i, column in enumerate(columns):
      table.add_column(
        escape.printable(column),
        justify="left" if i < text_columns else "right",
        overflow="fold" if i < text_columns else "ellipsis",
      )
    shown = _lines if text_columns > 1 else escape.printable
    for row in rows:
      table.add_row(*map(shown, row))
    self._console.print(table)

  def _bar(self, unit: str) -> rich.progress.Progress:
    if self._in_notebook:
      return notebook.NotebookBar(unit)
    return rich.progress.Progress(
      rich.progress.TextColumn("{task.description}", markup=False),
      rich.progress.BarColumn(bar_width=None),
      rich.progress.MofNCompleteColumn(),
      _Rate(unit),
      rich.progress.TimeRemainingColumn(compact=True),
      console=self._console,
      transient=True,
      disable=not self._console.is_terminal,
    )


def _lines(text: str) -> str:
  """Returns lines of text, in each of which odd characters are escaped."""
  return "\n".join(map(escape.printable, text.split("\n")))


class _Rate(rich.progress.ProgressColumn):
  """Work per second: as measured by the bar, or its field 'rate'."""

  def __init__(self, unit: str):
    super().__init__()
    self._unit = unit

  def render(self, task: rich.progress.Task) -> rich.text.Text:
    rate = task.fields.get("rate", task.finished_speed or task.speed)
    shown = "" if rate is None else f"{rate:,.0f} {self._unit}"
    return rich.text.Text(shown)


class Training:
  """Shows the progress of the training loop."""

  def __init__(self, console: Console, bar: rich.progress.Progress):
    """Made by `Console.training`, with one task in the bar."""
    self._console, self._bar = console, bar
    (self._task,) = bar.tasks
    self._quiet_until = 0.0

  def resume(self, step: int) -> None:
    """Moves the bar to the step that a resumed run starts from."""
    self._bar.update(self._task.id, completed=step)

  def step(self, step: int) -> None:
    """Advances the bar to a step."""
    self._bar.update(self._task.id, completed=step, description="training")

  def rate(self, step: int, images_per_sec: float, seconds_left: float) -> None:
    """Shows the throughput, without a bar as an occasional line."""
    self._bar.update(self._task.id, rate=images_per_sec)
    if self._bar.disable and time.monotonic() > self._quiet_until:
      self.event(step, f"{images_per_sec:,.0f} images/s", seconds_left)

  def event(self, step: int, text: str, seconds_left: float) -> None:
    """Prints a line above the bar, such as an evaluation."""
    self._quiet_until = time.monotonic() + _QUIET_SECONDS
    total = self._task.total
    line = f"{step:{len(str(total))}}/{total}  {text}"
    if self._bar.disable and seconds_left >= 1:  # the bar shows it otherwise
      line += f"  {duration(seconds_left)} left"
    self._console.line(line)


def evaluation(part: str, metrics: Mapping[str, float]) -> str:
  """Formats the metrics of a part in one line.

  Args:
    part: 'val' or 'test'.
    metrics: by name.
  """
  titles = {
    "loss": f"{part} loss",
    "accuracy": "acc",
    "balanced_accuracy": "balanced",
    "auroc": "auroc",
    "macro_f1": "macro f1",
    "label_accuracy": "label acc",
  }
  if "label_accuracy" in metrics:
    titles["macro_auroc"] = "macro auroc"
  return "  ".join(
    f"{title} {number(metrics[name])}"
    for name, title in titles.items()
    if name in metrics
  )


def print_seeds(
  console: Console,
  summaries: Sequence[Mapping[str, Any]],
  workdir: pathlib.Path,
) -> None:
  """Prints the results of runs that were trained together, a row for each seed.

  Args:
    console: where to print.
    summaries: of the runs.
    workdir: folder of their folders.
  """
  first = summaries[0]
  names = ("test/balanced_accuracy", "test/accuracy", "test/auroc")
  if "test/label_accuracy" in first:
    names = ("test/macro_auroc", "test/macro_average_precision")
  shown = [f"val/{first['best_metric']}", *(x for x in names if x in first)]
  rows = [
    (str(s["seed"]), str(s["best_step"]), *(number(s[key]) for key in shown))
    for s in summaries
  ]
  means = (mean_std_of([s[key] for s in summaries]) for key in shown)
  rows.append(("mean", "", *means))
  console.table(
    f"{first['experiment']}: best checkpoints of {len(summaries)} seeds",
    ("seed", "step", *map(metric_name, shown)),
    rows,
  )
  _warn_of_selection(console, first)
  for summary in summaries:
    _warn_of_lost_best(console, summary)
  console.line(f"Results:  {workdir / 'seed*' / 'summary.json'}")
  console.line(f"Curves:   tensorboard --logdir {shlex.quote(str(workdir))}")


def print_summary(
  console: Console, summary: Mapping[str, Any], workdir: pathlib.Path
) -> None:
  """Prints the results of a run, and where its files are."""
  multi_label = "test/label_accuracy" in summary
  names = _MULTI_LABEL if multi_label else _ONE_CLASS
  parts = ("val", "test")
  rows = [
    (metric_name(name), *(number(summary[f"{part}/{name}"]) for part in parts))
    for name in names
    if f"test/{name}" in summary
  ]
  is_undefined = any(UNDEFINED in row for row in rows)
  counts = (f"{summary[f'{part}/count']:,.0f}" for part in parts)
  rows.append(("images", *counts))
  console.table(
    f"{summary['experiment']}: best checkpoint, step {summary['best_step']}",
    ("metric", "validation", "test"),
    rows,
  )
  if is_undefined:
    why = "a class has no image there, or is never predicted"
    if multi_label:
      why = "no label has images with and without it there"
    console.line(f"{UNDEFINED} is undefined: {why}")
  _warn_of_selection(console, summary)
  _warn_of_lost_best(console, summary)
  rate, device = summary["images_per_sec"], summary["device"]
  if rate:
    wait = summary["data_wait_share"]
    device = f"{rate:,.0f} images/s on {device}, data wait {wait:.1%}"
  console.line(
    f"{summary['steps']} steps ({summary['epochs']:g} epochs) in "
    f"{duration(summary['wall_seconds'])}, {device}"
  )
  console.line(f"Results:  {workdir / 'summary.json'}")
  console.line(f"Figures:  {workdir / 'figures'}")
  logs = shlex.quote(str(workdir / "tensorboard"))
  console.line(
    f"Curves:   tensorboard --logdir {logs}  (then http://localhost:6006)"
  )


def _warn_of_selection(console: Console, summary: Mapping[str, Any]) -> None:
  if summary["chosen_on"] == "test":
    console.line(
      "The best checkpoint was selected on the test part: test metrics are "
      "optimistic."
    )


def _warn_of_lost_best(console: Console, summary: Mapping[str, Any]) -> None:
  # Summaries of earlier versions do not have it.
  if lost := summary.get("lost_best"):
    console.line(
      f"Seed {summary['seed']}: the best checkpoint, step {lost['step']} "
      f"(score {lost['score']:.6g}), was damaged: step {summary['best_step']} "
      "takes its place."
    )
