"""Tests of the layout of tables."""

from mn_jax.observe.console import Console
from mn_jax.report.tables import Table

TABLE = Table(
  ("row", "accuracy", "note"),
  [("a|b", "0.5", "x <y>"), ("c_d", "", "50 %")],
  "A note & more.",
)


def test_numeric_columns():
  assert TABLE.numeric() == [False, True, False]
  assert Table(("a", "b"), []).numeric() == [False, False]


def test_markdown():
  assert TABLE.markdown() == (
    "| row | accuracy | note |\n"
    "|---|---:|---|\n"
    "| a\\|b | 0.5 | x <y> |\n"
    "| c_d |  | 50 % |\n\n"
    "A note & more."
  )


def test_html_is_escaped():
  text = TABLE.html()
  assert "<th class=number>accuracy</th>" in text
  assert "<td>a|b</td><td class=number>0.5</td><td>x &lt;y&gt;</td>" in text
  assert text.endswith('<p class="note">A note &amp; more.</p>')


def test_latex_is_escaped():
  text = TABLE.latex("Results_1")
  assert r"\caption{Results\_1. A note \& more.}" in text
  assert r"\begin{tabular}{lrl}" in text
  assert r"c\_d &  & 50 \% \\" in text
  assert r"a|b & 0.5 & x $<$y$>$ \\" in text


def test_a_terminal_shows_the_note(capsys):
  TABLE.show(Console(), "Title")
  out = capsys.readouterr().out
  assert "Title" in out
  assert "a|b" in out
  assert out.endswith("A note & more.\n")
