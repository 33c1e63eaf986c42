"""Tables of text, laid out for pages and terminals.

Everything that this project shows as a table is a `Table`: cells are formatted
by `observe.formatting` before they come here. Templates write them as HTML and
LaTeX.
"""

import dataclasses
from collections.abc import Callable

from mn_jax.observe import escape
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import MINUS

_NUMERIC = f"0123456789+-<.{MINUS}"


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows of text under column titles; columns of numbers are right-aligned.

  Attributes:
    columns: titles of the columns.
    rows: cells, as many as columns.
    note: paragraph below the table; may be empty.
  """

  columns: tuple[str, ...]
  rows: list[tuple[str, ...]]
  note: str = ""

  def numeric(self) -> list[bool]:
    """Returns for each column whether all of its cells are numbers or empty."""
    return [
      all(not cell or cell[0] in _NUMERIC for cell in column)
      for column in zip(*self.rows, strict=True)
    ] or [False] * len(self.columns)

  def markdown(self, text: Callable[[str], str] = escape.markdown) -> str:
    """Returns the table as Markdown, its note below, without a last newline.

    Args:
      text: makes Markdown of a string.
    """
    rules = ("---:" if numeric else "---" for numeric in self.numeric())
    first, *rows = (
      f"| {' | '.join(map(text, cells))} |"
      for cells in (self.columns, *self.rows)
    )
    lines = [first, f"|{'|'.join(rules)}|", *rows]
    return "\n".join(lines) + (f"\n\n{text(self.note)}" if self.note else "")

  def show(self, console: Console, title: str) -> None:
    """Prints the table and its note in a terminal."""
    console.table(title, self.columns, self.rows)
    if self.note:
      console.line(self.note)
