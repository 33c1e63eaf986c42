"""A report as text, tables and figures, before it is written as a page."""

import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from mn_jax.report.tables import Table


def anchor(row: str) -> str:
  """Returns the anchor of a row's section, with which its figures' names start.

  Args:
    row: name of the row.
  """
  return row.replace(".", "_")


@dataclasses.dataclass(frozen=True)
class Figure:
  """A picture with a caption.

  Attributes:
    name: of its file, without suffix.
    pixels: u8[h, w, 3], or the content of a WebP file that is shown as it is.
    caption: one or two sentences.
    photo: whether it holds photographs, which are compressed with losses.
    narrow: whether it is drawn for half the width of a page.
  """

  name: str
  pixels: np.ndarray | bytes
  caption: str
  photo: bool = False
  narrow: bool = False

  @property
  def size(self) -> tuple[int, int]:
    """Width and height, pixels."""
    if isinstance(self.pixels, bytes):
      return Image.open(io.BytesIO(self.pixels)).size
    height, width, _ = self.pixels.shape
    return width, height


@dataclasses.dataclass(frozen=True)
class Section:
  """The part of a report about one run or one member of a study.

  Attributes:
    title: heading.
    anchor: of links to it.
    text: a paragraph, or ''.
    command: that repeats the run, or ''.
    tables: below the text.
    figures: below the tables.
    folded: title -> long table, at the end, shown when it is clicked on.
    facts: (name, value), such as what it was trained with, below the text.
  """

  title: str
  anchor: str
  text: str
  command: str = ""
  tables: Sequence[Table] = ()
  figures: Sequence[Figure] = ()
  folded: Mapping[str, Table] = dataclasses.field(default_factory=dict)
  facts: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(frozen=True)
class Document:
  """A report.

  Attributes:
    title: heading of the page.
    intro: a line below it, or ''.
    summary: what the numbers say, a paragraph each, below that.
    warnings: what makes the numbers misleading, below that.
    claims: (sign, verdict, text, numbers) of each claim; the sign is 'yes',
      'no', 'open' or 'missing'.
    tables: title -> table.
    figures: of the whole, below the first table.
    sections: one for each run or member.
    protocol: how it was run, (name, value).
    notes: what a reader must know about the numbers.
    is_markdown: whether all strings are Markdown already, as on the pages of
      this project about itself; else they are text.
  """

  title: str
  intro: str = ""
  summary: Sequence[str] = ()
  warnings: Sequence[str] = ()
  claims: Sequence[tuple[str, str, str, str]] = ()
  tables: Mapping[str, Table] = dataclasses.field(default_factory=dict)
  figures: Sequence[Figure] = ()
  sections: Sequence[Section] = ()
  protocol: Sequence[tuple[str, str]] = ()
  notes: Sequence[str] = ()
  is_markdown: bool = False

  def all_figures(self) -> Iterable[Figure]:
    """Yields the figures of the whole, then those of the sections."""
    yield from self.figures
    for section in self.sections:
      yield from section.figures
