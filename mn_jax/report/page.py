"""Writes a document as an HTML page, as Markdown and as LaTeX tables."""

import base64
import io
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jinja2
from PIL import Image

from mn_jax.data import atomic
from mn_jax.observe import escape
from mn_jax.report.document import Document, Figure
from mn_jax.report.model_card import Card

# Pixels of the width of figures.
_NARROW, _WIDE = 600, 1000


def html(document: Document, images: Mapping[str, bytes]) -> str:
  """Returns an HTML page that holds its styles and figures, without scripts.

  Args:
    document: the report.
    images: name of a figure -> its WebP file.
  """
  data = {
    name: f"data:image/webp;base64,{base64.b64encode(image).decode()}"
    for name, image in images.items()
  }
  return _render("page.html", d=document, data=data)


def markdown(document: Document, figures: str) -> str:
  """Returns a document as Markdown.

  Args:
    document: the report.
    figures: folder of the figures' files, relative to the text.
  """
  write_text = _cell_of_markdown if document.is_markdown else escape.markdown
  text = _render("page.md", d=document, figures=figures, text=write_text)
  return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def latex(document: Document) -> str:
  """Returns the tables of a document, for a paper that loads booktabs."""
  return _render("tables.tex", d=document).strip() + "\n"


def model_card(card: Card) -> str:
  """Returns a model card as Markdown, with YAML before it."""
  text = _render("model_card.md", card=card, text=escape.markdown)
  return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def write(
  document: Document, numbers: Mapping[str, Any], folder: pathlib.Path
) -> pathlib.Path:
  """Writes report.html, report.md, tables.tex, report.json and figures.

  Figures of an earlier report are removed.

  Args:
    document: the report.
    numbers: all of its numbers, as values that JSON can hold.
    folder: to write into.

  Returns:
    The path of report.html.
  """
  figures = folder / "figures"
  figures.mkdir(parents=True, exist_ok=True)
  images = {figure.name: webp(figure) for figure in document.all_figures()}
  for name, image in images.items():
    atomic.write_bytes(figures / f"{name}.webp", image)
  for path in figures.glob("*.webp"):
    if path.stem not in images:
      path.unlink()
  atomic.write_text(folder / "report.md", markdown(document, "figures"))
  atomic.write_text(folder / "tables.tex", latex(document))
  atomic.write_json(folder / "report.json", numbers)
  atomic.write_text(folder / "report.html", html(document, images))
  return folder / "report.html"


def webp(figure: Figure) -> bytes:
  """Returns a figure as WebP: plots without loss, photographs with little."""
  if isinstance(figure.pixels, bytes):
    return figure.pixels
  image = Image.fromarray(figure.pixels)
  width = _NARROW if figure.narrow else _WIDE
  if image.width > width:
    height = round(image.height * width / image.width)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
  buffer = io.BytesIO()
  if figure.photo:
    image.save(buffer, "WEBP", quality=75, method=4)
  else:
    # Of few colours, a quarter of the bytes without a visible difference.
    few = image.quantize(64, dither=Image.Dither.NONE).convert("RGB")
    few.save(buffer, "WEBP", lossless=True, method=4)
  return buffer.getvalue()


def _cell_of_markdown(text: str) -> str:
  return " ".join(text.splitlines()).replace("|", "\\|")


def _render(template: str, **values: Any) -> str:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(
      pathlib.Path(__file__).with_name("templates")
    ),
    autoescape=jinja2.select_autoescape(("html",)),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters["tex"] = escape.latex
  return environment.get_template(template).render(values)
