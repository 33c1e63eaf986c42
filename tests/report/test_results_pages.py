"""Tests that the pages of results are those of the runs that are kept."""

import json
import pathlib

import numpy as np
import pytest

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.metrics import classification, predictions
from mn_jax.observe import formatting
from mn_jax.observe.formatting import jsonable
from mn_jax.report import page, reproduction, results_index, study_report
from mn_jax.studies import expansion, kept
from mn_jax.studies import results as study_results
from mn_jax.studies import study as study_lib
from tests import toy_summary
from tests.report import toy_runs

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"
# The tables of older folders are written by hand.
PUBLISHED_CASES = RESULTS / "idc_15_epochs"


def all_runs(name: str) -> list[study_lib.StudyRun]:
  """The runs of a study with as many seeds as are kept of some row.

  Optional rows are among them as far as they are kept.
  """
  made = files.load(name, "get_study", study_lib.Study)
  folder = RESULTS / name / "runs"
  rows = [
    member.name
    for member in made.members
    if not member.optional or (folder / member.name).exists()
  ]
  runs = expansion.expand(
    made,
    folder=pathlib.Path("runs") / name,
    seeds=kept.count_seeds(folder),
    sample=False,
    weights=None,
    only=rows,
    kept=folder,
  )
  kept.check_all(made, runs)
  return runs


def kept_runs(name: str) -> list[study_lib.StudyRun]:
  """Those that are kept; weights are not needed for these."""
  return [run for run in all_runs(name) if run.is_kept()]


STUDIES = files.names("get_study")


@pytest.mark.parametrize("name", STUDIES)
def test_kept_runs_are_of_the_studies_of_today(name):
  folder = RESULTS / name / "runs"
  assert len(kept_runs(name)) == len(kept.digests(folder))


@pytest.mark.parametrize("name", STUDIES)
def test_reports_have_the_numbers_of_kept_predictions(name):
  """Of some runs; each was compared with its summary when it was kept."""
  path = RESULTS / name / "report.json"
  report = json.loads(path.read_text()) if path.exists() else {}
  assert report.get("kept", {}) == kept.digests(RESULTS / name / "runs")
  if not report.get("kept"):
    return
  members = {member["name"]: member for member in report["members"]}
  for run in kept_runs(name)[::7]:
    summary, row = run.summary(), members[run.member.name]
    for part in kept.PARTS:
      named = predictions.read(run.kept / "predictions" / f"{part}.npz")
      metrics = jsonable(
        classification.summarize(named.predictions, positive=named.positive)
      )
      logits = summary["kept"]["predictions"][part]["logits"]
      tolerance = kept.TOLERANCES[getattr(np, logits)]
      for metric, value in metrics.items():
        expected = summary[f"{part}/{metric}"]
        if expected is None:
          assert value is None
          continue
        assert value == pytest.approx(expected, abs=tolerance, rel=tolerance)
    if run.seed in row["refused"]:
      continue
    for metric, found in row["metrics"].items():
      value = summary[f"test/{metric}"]
      assert value is None or value in found["values"]


def test_the_first_part_of_the_results_is_that_of_the_reports():
  text = (DOCS / "results.md").read_text()
  assert results_index.rewrite(text, reproduction.read(), RESULTS) == text, (
    "run: python -m mn_jax.tools.report --index=docs/results.md"
  )


def assert_close(found, saved):
  """Compares values of JSON; another processor rounds sums otherwise."""
  assert type(found) is type(saved)
  if isinstance(found, dict):
    assert found.keys() == saved.keys()
    found, saved = [*found.values()], [saved[name] for name in found]
  if isinstance(found, list):
    for one, other in zip(found, saved, strict=True):
      assert_close(one, other)
  elif isinstance(found, float):
    assert found == pytest.approx(saved, rel=1e-9, abs=1e-12)
  else:
    assert found == saved


@pytest.mark.extended
@pytest.mark.parametrize("name", STUDIES)
def test_pages_of_studies_are_made_of_kept_runs(name):
  if not kept_runs(name):
    return
  folder = RESULTS / name
  made = files.load(name, "get_study", study_lib.Study)
  found = study_results.collect(made, all_runs(name))
  document, numbers = study_report.of_kept(found, folder / "runs")
  saved = json.loads((folder / "report.json").read_text())
  assert_close(json.loads(json.dumps(numbers)), saved)
  text = page.markdown(document, "figures")
  assert (folder / "report.md").read_text() == text


@pytest.mark.extended
def test_the_page_of_the_papers_is_that_of_the_reports():
  document = reproduction.build(reproduction.read(), RESULTS)
  text = page.markdown(document, "figures")
  assert (DOCS / "reproduction.md").read_text() == text, (
    "run: python -m mn_jax.tools.report --reproduction=docs/reproduction.md"
  )


@pytest.mark.parametrize("model", ["v1", "v2"])
def test_published_cases_are_those_of_the_runs(model):
  summary = json.loads(
    (PUBLISHED_CASES / f"{model}_published_cases.json").read_text()
  )
  names = ("accuracy", "balanced_accuracy", "sensitivity", "f1", "auroc")
  shown = (f"{summary[f'test/{x}']:.3f}".removeprefix("0") for x in names)
  line = f"| MobileNet{model.upper()}, published cases | {' | '.join(shown)} |"
  assert line in (PUBLISHED_CASES / "README.md").read_text().splitlines()


def test_a_page_without_blocks_is_refused():
  text = (DOCS / "results.md").read_text()
  for broken, count in (
    (text.replace("<!-- /studies -->", ""), 0),
    (text + text[text.index("<!-- studies") :], 2),
  ):
    with pytest.raises(InputError, match=f"with {count} blocks 'studies'; va"):
      results_index.rewrite(broken, reproduction.read(), RESULTS)


def test_the_table_of_a_study_has_the_rows_that_were_run(tmp_path):
  found = toy_runs.write_study(tmp_path / "toy")
  folder = tmp_path / "results" / "idc"
  folder.mkdir(parents=True)
  (folder / "report.json").write_text(json.dumps(found))
  text = (DOCS / "results.md").read_text()
  written = results_index.rewrite(text, reproduction.read(), folder.parent)
  a, b, never = found["members"]
  table = written.partition("<!-- table idc")[2].partition("<!-- /table")[0]
  assert "| row | seeds | accuracy | 95 % | AUROC | split | epochs |" in table
  for member in (a, b):
    mean, auroc = (member["metrics"][x] for x in ("accuracy", "auroc"))
    cells = (
      member["name"],
      "2",
      formatting.mean_std(mean["mean"], mean["std"]),
      formatting.interval(mean["low"], mean["high"]),
      formatting.mean_std(auroc["mean"], auroc["std"]),
    )
    line = f"| {' | '.join(cells)} | grouped | 2 |".replace(" 0.", " .")
    assert line in table
  assert never["name"] not in table
  eurosat = written.partition("<!-- table eurosat")[2].partition("<!-- /")[0]
  assert eurosat.splitlines()[2] == "Not run."


def test_cross_validations_are_listed_with_their_folds(tmp_path):
  folder = tmp_path / "idc_cv"
  for fold in range(2):
    path = folder / "runs" / f"fold{fold}" / "seed0"
    path.mkdir(parents=True)
    summary = {**toy_summary.FIELDS, "wall_seconds": 900.0}
    (path / "summary.json").write_text(json.dumps(summary))
  content = {"title": "Cross-validation of a_b", "folds": [{}, {}]}
  (folder / "crossval.json").write_text(json.dumps(content))
  text = (DOCS / "results.md").read_text()
  written = results_index.rewrite(text, reproduction.read(), tmp_path)
  line = "| 2 folds | 2 | 0.5 | | [idc_cv](results/idc_cv/report.md) |"
  assert f"| Cross-validation of a_b {line}".replace("| |", "|  |") in written


def test_what_is_said_first_of_a_paper(tmp_path):
  """By the report of a study of its name, and without one."""
  papers = reproduction.read()
  headline = papers[-1].headline
  claim = {
    **dict.fromkeys(("one", "other"), "a_b"),
    "text": headline.claim,
    "metric": "test/accuracy",
    "relation": ">",
    "value": 0.0,
    "mean": 0.031,
    "low": 0.01,
    "high": 0.052,
    "seeds": [0, 1, 2],
    "verdict": "holds",
  }
  studies = {
    name: files.load(name, "get_study", study_lib.Study)
    for name in {x.study for x in papers[-1].items if x.study}
  }
  made = studies[headline.study]
  unlike = next(x for x in made.claims if x.text != headline.claim)
  other = {**claim, "text": unlike.text, "verdict": "not decided"}
  report = toy_runs.write_study(tmp_path / "toy")
  report["claims"] = [claim, other]
  results = tmp_path / "results"
  folder = results / headline.study
  (folder / "figures").mkdir(parents=True)
  (folder / "figures" / f"{headline.figure}.webp").touch()
  (folder / "report.json").write_text(json.dumps(report))
  text = (DOCS / "results.md").read_text()
  written = results_index.rewrite(text, papers, results)

  def sentence(text):
    return text[0].upper() + text[1:]

  assert f"\n{sentence(headline.claim)}: **holds**.\n" in written
  assert "Accuracy of a_b minus a_b: +0.031 (+0.010 to +0.052), 3 s" in written
  # Claims and rows are those of the study files, whether a page has them.
  total = sum(len(x.claims) for x in studies.values())
  counted = f"1 holds, 1 not decided, {total - 2} not run"
  assert f"Of {total} claims about it: {counted}." in written
  figure = f"results/{headline.study}/figures/{headline.figure}.webp"
  assert f"![{papers[-1].title}]({figure})" in written
  cells = (
    f"2 of {len(made.members)} | 0 of 4: summaries only |  | "
    f"1 of {len(made.claims)} | [{headline.study}]"
  )
  assert cells in written
  first = sentence(papers[0].headline.claim)
  assert f"\n{first}: **not run**.\n" in written
  assert " | | | | | not run |\n" in written
