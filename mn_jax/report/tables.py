"""Tables of text, laid out for pages, papers and terminals.

Everything that this project shows as a table is a `Table`: cells are formatted
by `observe.formatting` before they come here, and each method below writes the
table in one language.
"""

import dataclasses
import html

from mn_jax.observe.console import Console
from mn_jax.observe.formatting import MINUS

_NUMERIC = f"0123456789+-<.{MINUS}"
# What LaTeX would read as a command, and how it writes the character itself.
_TEX = {
  "\\": r"\textbackslash{}",
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  **{letter: f"\\{letter}" for letter in "&%$#_{}"},
  "±": r"$\pm$",
  MINUS: "$-$",
  "<": "$<$",
  ">": "$>$",
}


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

  def markdown(self) -> str:
    """Returns the table as Markdown, its note below, without a last newline."""
    rules = ("---:" if numeric else "---" for numeric in self.numeric())
    lines = [
      f"| {' | '.join(map(_markdown_cell, self.columns))} |",
      f"|{'|'.join(rules)}|",
      *(f"| {' | '.join(map(_markdown_cell, row))} |" for row in self.rows),
    ]
    return "\n".join(lines) + (f"\n\n{self.note}" if self.note else "")

  def html(self) -> str:
    """Returns the table as HTML, in a `div` that scrolls, its note below."""
    numeric = self.numeric()

    def line(tag: str, cells: tuple[str, ...]) -> str:
      return "".join(
        f"<{tag}{' class=number' if right else ''}>{html.escape(cell)}</{tag}>"
        for cell, right in zip(cells, numeric, strict=True)
      )

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in self.rows)
    note = f'\n<p class="note">{html.escape(self.note)}</p>'
    return (
      '<div class="wide"><table>\n'
      f"<thead><tr>{line('th', self.columns)}</tr></thead>\n"
      f"<tbody>\n{body}\n</tbody>\n</table></div>{note if self.note else ''}"
    )

  def latex(self, caption: str) -> str:
    """Returns a `table` environment for a paper that loads booktabs."""
    alignment = "".join("r" if numeric else "l" for numeric in self.numeric())
    text = f"{caption}. {self.note}".strip()
    return "\n".join(
      (
        r"\begin{table}",
        rf"\caption{{{tex(text)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        rf"{' & '.join(map(tex, self.columns))} \\",
        r"\midrule",
        *(rf"{' & '.join(map(tex, row))} \\" for row in self.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
      )
    )

  def show(self, console: Console, title: str) -> None:
    """Prints the table and its note in a terminal."""
    console.table(title, self.columns, self.rows)
    if self.note:
      console.line(self.note)


def tex(text: str) -> str:
  """Escapes what LaTeX would read as a command."""
  return "".join(_TEX.get(letter, letter) for letter in text)


def _markdown_cell(text: str) -> str:
  return text.replace("|", "\\|").replace("\n", " ")
