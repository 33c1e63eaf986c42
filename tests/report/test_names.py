"""Names that mean something elsewhere, read back from all that shows them."""

import csv
import html.parser
import io
import re
import shlex

import markdown
import markdown_it
import matplotlib.text
import numpy as np
import pytest

from mn_jax.observe import (
  canvas,
  console,
  escape,
  figures,
  inspection_figures,
  report_figures,
  writers,
)
from mn_jax.report import page
from mn_jax.report.document import Document, Figure, Section
from mn_jax.report.tables import Table

NAMES = (
  "$5_to_$10",
  "real_^{$5}_$ $$",
  "50 % & #1 \\ ~x~",
  "\\\\[2em] \\input{x}",
  "<script>alert(1)</script> &amp; <b>",
  "a|b||c",
  "`code` *bold* _it_ __x__ [a](b) ![i](j) http://x.y_z/",
  "[red]x[/red] [bold]",
  "# head",
  "- item",
  "1. first",
  "> quote",
  "--- ===",
  "=1+1",
  "+1",
  "-1",
  "@SUM(A1)",
  "'=1",
  "'quoted' \"twice\"",
  "{{ 7 * 7 }} {% raw %}",
  "猫 кошка 😀 \u200d\u202e \udcff",
  "x" * 250,
  "mobilenet_v1_x",
)


class _Text(html.parser.HTMLParser):
  """The text and the tags of a page."""

  def __init__(self, text):
    super().__init__()
    self.texts, self.tags = [], set()
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.add(tag)

  def handle_data(self, data):
    self.texts.append(data)


def _document():
  table = Table(("class", *NAMES), [(name, *NAMES) for name in NAMES], NAMES[4])
  figure = Figure("figure", np.zeros((4, 4, 3), np.uint8), " ".join(NAMES))
  return Document(
    title=NAMES[4],
    intro=NAMES[4],
    claims=[("yes", "holds", name, name) for name in NAMES],
    tables={"Results": table},
    sections=[Section(x, "a", x, figures=(figure,)) for x in NAMES],
    protocol=[(name, name) for name in NAMES],
    notes=NAMES,
  )


def _commonmark(text):
  """(texts of all blocks in order, kinds of all that is no text)."""
  parser = markdown_it.MarkdownIt("commonmark").enable("table")
  parser.enable("strikethrough")
  texts, kinds = [], set()
  for token in parser.parse(text):
    if token.type != "inline":
      kinds.add(token.type)
      continue
    kinds |= {x.type for x in token.children} - {"text", "text_special"}
    texts.append("".join(x.content for x in token.children))
  return texts, kinds


def test_markdown_shows_names():
  texts, kinds = _commonmark(page.markdown(_document(), "figures"))
  for name in NAMES:
    shown = escape.printable(name)
    assert texts.count(shown) >= len(NAMES) + 1  # in a column of the table
    assert f"{shown}: {shown}" in texts
    assert f"holds: {shown} ({shown})" in texts
  blocks = {kind.removesuffix("_open").removesuffix("_close") for kind in kinds}
  assert blocks == {
    *("heading", "paragraph", "bullet_list", "list_item", "strong", "image"),
    *("table", "thead", "tbody", "tr", "th", "td"),
  }


def test_html_shows_names():
  found = _Text(page.html(_document(), {"figure": b""}))
  text = "".join(found.texts)
  for name in NAMES:
    assert text.count(name) > len(NAMES)
  assert not found.tags & {"script", "strong", "em", "code", "i"}


def test_latex_shows_names():
  plain = r"[^\\&%$#_{}~^`\[\]*|<>\n]|\\text\w+\{\}|\\[&%$#_{}]"
  for name in NAMES:
    tex = escape.latex(name)
    assert re.fullmatch(rf"(?:{plain}|\{{[\[\]*]\}}|\$[<>]\$)*", tex), tex
  text = page.latex(_document())
  assert text.count("\\\\\n") == len(NAMES) + 1  # rows and titles
  assert len(escape.latex("a\nb").splitlines()) == 1


def test_cells_are_no_formulas():
  file = io.StringIO()
  csv.writer(file).writerows([escape.csv_cell(name)] for name in NAMES)
  cells = [cell for (cell,) in csv.reader(io.StringIO(file.getvalue()))]
  assert not [cell for cell in cells if cell[0] in "=+-@"]
  # One apostrophe in front of a formula is taken off again.
  restored = [re.sub(r"^'(?='*[=+\-@\t\r])", "", cell) for cell in cells]
  assert tuple(restored) == NAMES
  changed = [x for x, cell in zip(NAMES, cells, strict=True) if x != cell]
  starts = (*"=+-@", "'=")
  assert changed == [name for name in NAMES if name.startswith(starts)]


def test_terminals_show_names(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "1000")
  output = console.Console()
  for name in NAMES:
    output.line(name)
  output.table("title", ("class", "n"), [(name, "1") for name in NAMES])
  output.line("\x1b[31mred\x07")
  lines = capsys.readouterr().out.splitlines()
  shown = list(map(escape.printable, NAMES))
  assert lines[: len(NAMES)] == shown
  rows = [line for line in lines if line.startswith("│")]
  assert [row.strip("│ ").removesuffix("1").rstrip("│ ") for row in rows] == (
    shown
  )
  assert lines[-1] == r"\x1b[31mred\x07"


def test_commands_can_be_pasted(capsys, tmp_path):
  for name in NAMES[:-4]:
    workdir = tmp_path / name.replace("/", ":")
    summary = {"best_metric": "accuracy", "seed": 0, "best_step": 1}
    summary |= {"val/accuracy": 0.5, "experiment": name, "chosen_on": "val"}
    console.print_seeds(console.Console(), [summary], workdir)
    last = capsys.readouterr().out.splitlines()[-1].removeprefix("Curves:")
    assert shlex.split(last) == ["tensorboard", "--logdir", str(workdir)]


def test_tensorboard_shows_names(tmp_path, monkeypatch):
  written = {}
  writer = writers.TensorBoardWriter(tmp_path)
  monkeypatch.setattr(writer, "write_texts", lambda _, x: written.update(x))
  writer.write_hparams({f"field{i}": name for i, name in enumerate(NAMES)})
  writer.close()
  # As TensorBoard reads it.
  made = markdown.markdown(
    written["config"], extensions=["markdown.extensions.tables"]
  )
  found = _Text(made)
  assert found.tags == {"table", "thead", "tbody", "tr", "th", "td"}
  text = "".join(found.texts)
  for i, name in enumerate(NAMES):
    assert f"field{i}\n{escape.printable(name)}\n" in text


@pytest.fixture
def drawn(monkeypatch):
  """Texts of all figures that are drawn, as they are drawn."""
  found = []
  draw = matplotlib.text.Text.draw

  def record(text, renderer):
    assert not text.get_parse_math()
    found.append(text.get_text())
    draw(text, renderer)

  monkeypatch.setattr(matplotlib.text.Text, "draw", record)
  return found


def test_figures_show_names(drawn):
  """Warnings, as of letters without a font, are errors here."""
  count = len(NAMES)
  rng = np.random.default_rng(0)
  points = rng.normal(size=(count, 2))
  labels = np.arange(count, dtype=np.int32)
  images = np.zeros((count, 8, 8, 3), np.uint8)
  maps = {"grad_cam": np.ones((count, 2, 2), np.float32)}
  rows = [
    report_figures.MemberRow(name, [0.5], 0.5, 0.4, 0.6, 0.3, {"colour": 0.5})
    for name in NAMES
  ]
  title = NAMES[1]
  curve = {"train/loss": [(0.0, 1.0), (1.0, 0.5)]}
  area = np.ones((4, 4))
  for draw, limit in (
    (
      lambda: figures.confusion_matrix(np.eye(count, dtype=int), NAMES, title),
      30,
    ),
    (lambda: report_figures.members(rows, title, title), 30),
    (
      lambda: inspection_figures.embedding(
        {title: points}, labels, NAMES, title
      ),
      18,
    ),
    (lambda: inspection_figures.heat_maps(images, maps, NAMES), 300),
    (lambda: report_figures.examples(images, NAMES), 300),
  ):
    drawn.clear()
    draw()
    for name in NAMES:
      assert canvas.label(name, limit) in drawn
  for draw in (
    lambda: figures.pr_curve(np.array([True, False]), np.ones(2), title),
    lambda: report_figures.learning_curves([curve], ["loss"], title),
    lambda: inspection_figures.slide(
      np.ones((4, 4, 3)), area, area, name=title, title=title
    ),
  ):
    drawn.clear()
    draw()
    assert title in drawn


def test_labels_keep_both_ends_of_names():
  assert canvas.label("Hyperplastic_polyp", 30) == "Hyperplastic_polyp"
  assert canvas.label("Hyperplastic_polyp", 11) == "Hyper…polyp"
  assert canvas.label("\udcff\t😀\ue000", 99) == r"\udcff\t😀\ue000"
