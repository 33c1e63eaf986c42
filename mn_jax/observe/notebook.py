"""A progress bar in the output of a notebook's cell.

Rich's own needs ipywidgets there. This one is a line of HTML that is replaced,
which every front end shows.
"""

import html
import time
from typing import Any

import rich.console
import rich.progress

from mn_jax.observe.formatting import duration

_SECONDS = 0.2  # between two versions of the line


def is_notebook() -> bool:
  """Whether output goes to the cell of a notebook."""
  return rich.console.Console().is_jupyter


class NotebookBar(rich.progress.Progress):
  """A bar with one task, which disappears when it stops."""

  def __init__(self, unit: str):
    """Shows nothing yet.

    Args:
      unit: of the rate, such as 'images/s'.
    """
    super().__init__(auto_refresh=False)
    self._unit, self._shown_at = unit, 0.0
    self._display: Any = None

  def start(self) -> None:
    """Shows the bar below what the cell has shown so far."""
    from IPython.display import display

    if self._display is None:
      self._display = display(_mime("", ""), raw=True, display_id=True)
      self._show()

  def stop(self) -> None:
    """Takes it away."""
    if self._display is not None:
      self._display.update(_mime("", ""), raw=True)
      self._display = None

  def update(self, task_id: rich.progress.TaskID, **changes: Any) -> None:
    """Changes the task, as `rich.progress.Progress.update` does."""
    super().update(task_id, **changes)
    if self._display and time.monotonic() >= self._shown_at + _SECONDS:
      self._show()

  def _show(self) -> None:
    self._shown_at = time.monotonic()
    (task,) = self.tasks
    words = [task.description, f"{task.completed:.0f}/{task.total or 0:.0f}"]
    rate = task.fields.get("rate", task.speed)
    if rate is not None:
      words.append(f"{rate:,.0f} {self._unit}")
    if task.time_remaining is not None:
      words.append(f"{duration(task.time_remaining)} left")
    text = "  ".join(words)
    bar = f'<progress value="{task.completed}" max="{task.total}"></progress>'
    line = f"<div><code>{html.escape(text)}</code> {bar}</div>"
    self._display.update(_mime(line, text), raw=True)


def _mime(line: str, text: str) -> dict[str, str]:
  return {"text/html": line, "text/plain": text}
