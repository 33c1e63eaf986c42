"""Tests of reports of studies, and of the files they are written to."""

import html.parser
import json
import re

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.observe import formatting, report_figures
from mn_jax.report import (
  claim_tables,
  page,
  run_report,
  study_report,
  study_tables,
)
from mn_jax.report.inspection import Inspection, Inspections
from mn_jax.studies import claims as claims_lib
from mn_jax.studies.study import Claim
from tests.report import toy_runs as toy

NOTHING = Inspections({}, {})


class Reader(html.parser.HTMLParser):
  """Text and links of a page; a tag that is not closed fails."""

  VOID = frozenset(("meta", "img", "br"))

  def __init__(self, text):
    super().__init__()
    self.links, self.text, self.open = [], [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.links += [v for k, v in attrs if k in ("src", "href")]
    assert tag != "script"
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
  """A study's folder."""
  folder = tmp_path_factory.mktemp("study")
  toy.write_study(folder)
  return folder


@pytest.fixture(scope="module")
def plain(studied):
  """Its document, without what opening networks would add."""
  return report(studied)


def report(folder, inspections=NOTHING):
  return study_report.build(*study_report.read(folder), inspections)


def test_html_page_is_self_contained_and_escaped(plain):
  images = {figure.name: b"image" for figure in plain.all_figures()}
  read = Reader(page.html(plain, images))
  assert len(read.links) == len(images) + 2  # two rows to go to
  for link in read.links:
    assert link.startswith(("data:image/webp;base64,", "#"))
  text = "".join(read.text)
  assert "A & B: 50 % of <toys>" in text  # and no tag of that name
  for words in ("b beats a", "not run", "x | y_z", "0.857", "patient"):
    assert words in text


def test_tables_have_published_numbers_and_baselines(studied):
  results, analyses = study_report.read(studied)
  table = study_tables.published_table(results)
  found = results["members"][0]["published"]["val/accuracy"]
  here = f"{found['mean']:.3f} ± {found['std']:.3f}"
  gap = formatting.number(found["mean"] - 0.857, signed=True)
  ends = formatting.interval(found["low"], found["high"])
  row = ("a", "val accuracy", "0.857", here, ends, gap, "x | y_z")
  assert table.rows == [row]
  numbers = results["members"][0]["metrics"]
  results["baseline_rows"] = [
    {"name": "majority class", "row": row, "metrics": numbers}
    for row in ("a", "b")
  ]
  firsts = [runs[0] for runs in analyses.values() if runs]
  table = study_tables.results_table(results, firsts)
  # Rows with the same splits have one baseline.
  assert [x[0] for x in table.rows] == ["a", "b", "majority class"]
  assert table.note.endswith(" Without runs: never.")
  _, seeds, *cells = table.rows[-1]
  assert (seeds, *cells[:2]) == ("2", *table.rows[0][2:4])


def test_rows_without_runs_are_not_drawn(studied, monkeypatch):
  drawn = []

  def members(rows, axis, title):
    drawn.extend(row.name for row in rows)
    return np.zeros((2, 2, 3), np.uint8)

  monkeypatch.setattr(report_figures, "members", members)
  report(studied)
  assert drawn == ["a", "b"]


def test_markdown_and_latex_escape_their_cells(plain):
  text = page.markdown(plain, "figures")
  assert "majority class" not in text
  lines = [line for line in text.splitlines() if line.startswith("|")]
  assert any("x \\| y_z" in line for line in lines)
  table = None
  for line in text.splitlines():
    if line.startswith("|"):
      columns = len(re.findall(r"(?<!\\)\|", line))
      table = table or columns
      assert columns == table
    else:
      table = None
  tex = page.latex(plain)
  assert r"A \& B: 50 \% of $<$toys$>$" in tex
  for row in re.findall(r".* \\\\$", tex, re.MULTILINE):
    assert "_" not in row.replace(r"\_", "")


def test_a_member_selected_on_the_test_shows_no_test_metric(tmp_path):
  toy.write_study(tmp_path, chosen_on="test")
  results, analyses = study_report.read(tmp_path)
  document = report(tmp_path)
  firsts = [runs[0] for runs in analyses.values() if runs]
  numbers = results | run_report.numbers(firsts, NOTHING)
  page.write(document, numbers, tmp_path / "report")
  hidden = [
    json.loads((tmp_path / name / f"seed{seed}" / "summary.json").read_text())
    for name in ("a", "b")
    for seed in (0, 1)
  ]
  values = {s[f"test/{k}"] for s in hidden for k in ("accuracy", "auroc")}
  for name in ("report.html", "report.md", "tables.tex", "report.json"):
    text = (tmp_path / "report" / name).read_text()
    text = re.sub(r"data:image[^\"]*", "", text)
    for value in values:
      assert f"{value:.3f}" not in text
      assert repr(value) not in text
  assert "refused" in (tmp_path / "report" / "report.md").read_text()
  # Those of validation, which chose nothing, are shown.
  table = study_tables.published_table(results)
  mean = np.mean([s["val/accuracy"] for s in hidden[:2]])
  assert table.rows[0][3].startswith(f"{mean:.3f} ± ")


def test_figures_are_written_and_stale_ones_removed(studied, tmp_path):
  blank = np.zeros((40, 2000, 3), np.uint8)
  inspection = Inspection(blank, blank, None, 0.5, np.nan, {})
  inspections = Inspections({}, {studied / "a" / "seed0": inspection})
  (tmp_path / "figures").mkdir()
  stale = tmp_path / "figures" / "old.webp"
  stale.touch()
  kept = tmp_path / "figures" / "notes.txt"
  kept.touch()
  document = report(studied, inspections)
  page.write(document, {}, tmp_path)
  names = {f"{figure.name}.webp" for figure in document.all_figures()}
  assert {"rows.webp", "a_mistakes.webp", "b_curves.webp"} <= names
  assert "b_mistakes.webp" not in names
  there = {path.name for path in (tmp_path / "figures").iterdir()}
  assert there == names | {"notes.txt"}
  text = (tmp_path / "report.md").read_text()
  links = re.findall(r"\]\((figures/[^)]*)\)", text)
  assert {f"figures/{name}" for name in names} == set(links)
  assert not list(tmp_path.glob("*.partial"))


def test_a_claim_shows_its_numbers():
  claim = vars(Claim("b beats a", "b", "a", "test/auroc"))
  claim |= {"mean": -0.25, "low": -0.5, "high": 0.125, "seeds": [0, 1]}
  claim["verdict"] = "not decided"
  sign, verdict, text, numbers = claim_tables.claim_row(claim)
  assert (sign, verdict, text) == ("open", "not decided", "b beats a")
  assert numbers.replace(formatting.MINUS, "-") == (
    "AUROC of b minus a: -0.250 (-0.500 to +0.125), 2 seeds; claimed: above 0"
  )


def test_a_claim_says_why_it_is_not_decided(studied):
  results, _ = study_report.read(studied)
  (_, verdict, _, numbers), never = map(
    claim_tables.claim_row, results["claims"]
  )
  assert verdict == "not decided"
  assert numbers.endswith("; 3 seeds are the least that decide")
  assert never[:2] == ("missing", "not run")
  decided = {**results["claims"][0], "verdict": "holds", "p_holm": 0.012}
  assert claim_tables.claim_row(decided)[3].endswith("; Holm's p 0.012")
  early = {**decided, "wanted": 5}
  assert ", 2 of 5 seeds; claimed" in claim_tables.claim_row(early)[3]
  undecided = {
    **vars(Claim("b beats a", "b", "a", "test/auroc", margin=0.03)),
    **{"mean": 0.01, "low": -0.1, "high": 0.1, "seeds": [0, 1, 2]},
    **{"verdict": "not decided", "spread_from": "measured", "most": 100},
    "reason": "the interval has both sides",
  }
  by_holm = {"reason": claims_lib.BY_HOLM, "seeds_alone": 3}
  for limits, said in (
    ({"seeds_alone": None}, "even 100 seeds would not tell a margin of 0.03"),
    ({"seeds_alone": 7}, "and a margin of 0.03 takes 7 seeds"),
    ({"seeds_alone": 3}, "both sides, with seeds enough for a margin of 0.03"),
    ({"seeds_alone": 7, "most": 5}, "even 5 folds would not tell a margin of "),
    (
      by_holm | {"seeds_needed": 31},
      "claims, and a margin of 0.03 takes 31 se",
    ),
    (by_holm | {"seeds_needed": None}, "even 100 seeds would not tell a margi"),
  ):
    assert said in claim_tables.claim_row(undecided | limits)[3]
  enough = undecided | by_holm | {"seeds_needed": 3}
  assert claim_tables.claim_row(enough)[3].endswith("for all claims")
  plan = claim_tables.plan_table(results)
  assert [row[1:] for row in plan.rows] == [
    ("0.02", "-", "not known", "not known", "2"),
    ("0.02", "-", "not known", "not known", "0 of 2"),
  ]


def test_a_sample_has_no_verdicts(tmp_path):
  results = toy.write_study(tmp_path, sample=True)
  assert results["claims"] == []
  text = page.markdown(report(tmp_path), "figures")
  assert "## Claims" not in text
  assert "**holds**" not in text
  assert "b beats a" not in text
  assert "generated images" in text


def test_choices_of_validation_that_made_the_test_worse_are_counted(studied):
  _, analyses = study_report.read(studied)
  table = study_tables.choices_table(analyses)
  runs = [run for of_row in analyses.values() for run in of_row]
  worse = sum(
    run.at_temperature["ece"] > run.intervals["ece"].value for run in runs
  )
  lost = sum(
    run.at_threshold["balanced_accuracy"]
    < run.intervals["balanced_accuracy"].value
    for run in runs
  )
  assert f"worse in {worse} of 4 runs" in table.note
  assert f"accuracy in {lost} of 4 runs" in table.note
  assert worse + lost > 0
  assert [row[0] for row in table.rows] == ["a", "b"]
  found = [row[3].split(" of ") for row in table.rows]
  assert sum(int(count) for count, _ in found) == worse


def test_intervals_of_every_number_are_shown_by_what_varies(studied):
  results, _ = study_report.read(studied)
  table = study_tables.interval_table(results)
  assert [row[:2] for row in table.rows] == [
    (name, metric) for name in "ab" for metric in ("accuracy", "AUROC")
  ]
  numbers = results["members"][0]["metrics"]["accuracy"]
  assert table.rows[0][3:] == (
    formatting.interval(numbers["low"], numbers["high"]),
    formatting.interval(*numbers["over_seeds"]),
    formatting.interval(*numbers["over_groups"]),
    "seeds and test",
  )


def test_results_of_another_version_are_refused(tmp_path):
  (tmp_path / "results.json").write_text('{"members": []}')
  with pytest.raises(InputError, match="it has no 'title'"):
    study_report.read(tmp_path)


def test_damaged_runs_are_named_and_the_others_are_shown(tmp_path):
  toy.write_study(tmp_path)
  (tmp_path / "a/seed0/summary.json").write_bytes(b"\xff")
  (tmp_path / "b/seed1/config.json").unlink()
  document = report(tmp_path)
  for note, run, name in zip(
    document.notes,
    ("a seed 0", "b seed 1"),
    ("summary", "config"),
    strict=False,
  ):
    assert note.startswith(f"{run} is left out: --workdir: got ")
    assert f"whose {name}.json cannot be read" in note
  assert [section.title for section in document.sections] == ["a", "b"]
  # With all of its runs damaged a row has no section.
  (tmp_path / "a/seed1/summary.json").write_text("{")
  assert [section.title for section in report(tmp_path).sections] == ["b"]


def test_a_member_shows_the_command_that_repeats_it_without_paths(plain):
  text = page.markdown(plain, "figures")
  wanted = (
    "python -m mn_jax.main --config=idc_v2 seed=10 data.split=random "
    "model.weights=file.h5 model.name=mobilenet_v1 experiment=idc_v1"
  )
  (section,) = (s for s in plain.sections if s.title == "b")
  assert set(section.command.split()) == set(wanted.split())
  assert section.command in text
  assert "/secret" not in text
