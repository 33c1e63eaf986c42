"""Tests of the layout of tables."""

from mn_jax.observe.console import Console
from mn_jax.report import page
from mn_jax.report.document import Document
from mn_jax.report.tables import Table

TABLE = Table(
  ("row", "accuracy", "note"),
  [("a|b", "0.5", "x <y>"), ("c_d", "", "50 %")],
  "A note & more.",
)


def test_a_table_in_every_language(capsys):
  assert Table(("a", "b"), []).numeric() == [False, False]
  assert TABLE.markdown() == (
    "| row | accuracy | note |\n"
    "|---|---:|---|\n"
    "| a\\|b | 0.5 | x &lt;y> |\n"
    "| c_d |  | 50 % |\n\n"
    "A note &amp; more."
  )
  document = Document("Results_1", tables={"Test": TABLE})
  text = page.html(document, {})
  assert "<th class=number>accuracy</th>" in text
  assert "<td>a|b</td><td class=number>0.5</td><td>x &lt;y&gt;</td>" in text
  assert '<p class="note">A note &amp; more.</p>' in text
  text = page.latex(document)
  assert r"\caption{Results\_1. Test. A note \& more.}" in text
  assert r"\begin{tabular}{lrl}" in text
  assert r"c\_d &  & 50 \% \\" in text
  assert r"a\textbar{}b & 0.5 & x $<$y$>$ \\" in text
  TABLE.show(Console(), "Title")
  out = capsys.readouterr().out
  assert "Title" in out
  assert "a|b" in out
  assert out.endswith("A note & more.\n")
