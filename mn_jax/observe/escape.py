"""Names as text wherever they are shown: of classes, files, groups and runs.

A name may hold anything. What a terminal, a page, a paper or a spreadsheet
would understand as more than text is escaped here, once for each of them;
templates of HTML escape by themselves, and `canvas` sees to figures.
"""

import re

# What starts a formula in a spreadsheet, also after our own mark.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
# At the start of a text, then anywhere. Underscores within a word are text.
_MARKDOWN = re.compile(
  r"^[-=](?=[-=])|^[-+](?=\s)|^>|(?<=^\d)[.)](?=\s)"
  r"|[\\`*\[\]#|&<$~]|(?<![^\W_])_|_(?![^\W_])"
)
# Not all programs that read Markdown take a backslash before these.
_ENTITIES = {"&": "&amp;", "<": "&lt;", "$": "&#36;", "~": "&#126;"}
_LATEX = str.maketrans(
  {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "|": r"\textbar{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    # In braces, or the end of a row would take them as its options.
    **{letter: f"{{{letter}}}" for letter in "[]*"},
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "<": "$<$",
    ">": "$>$",
    "\n": " ",
  }
)


def printable(text: str) -> str:
  r"""Escapes what is no visible character: a tab becomes '\t'."""
  if text.isprintable():
    return text
  return "".join(x if x.isprintable() else ascii_of(x) for x in text)


def ascii_of(letter: str) -> str:
  """Returns a character as Python writes it in ASCII."""
  return letter.encode("unicode_escape").decode()


def markdown(text: str) -> str:
  """Returns Markdown that reads as a text, also in a cell of a table."""
  return _MARKDOWN.sub(
    lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"),
    printable(" ".join(text.splitlines())),
  )


def latex(text: str) -> str:
  """Returns LaTeX that reads as a text."""
  return text.translate(_LATEX)


def csv_cell(text: str) -> str:
  """Returns a cell of CSV that spreadsheets show, and never compute.

  What begins as a formula gets an apostrophe in front, which is the mark of a
  text there. A text that begins with one before a formula gets another, so
  whoever reads the cells can take it off.
  """
  return f"'{text}" if _FORMULA.match(text) else text
