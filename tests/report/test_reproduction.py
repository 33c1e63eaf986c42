"""Tests of the page of the papers' numbers beside those found here."""

import hashlib
import json
import pathlib

import pytest

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.observe import formatting
from mn_jax.report import page, reproduction, study_report
from mn_jax.report.reproduction import Headline, NetworkSize, Paper, PaperItem
from mn_jax.studies import study
from tests.report import toy_runs as toy

ROOT = pathlib.Path(__file__).parents[2]
STUDIES = ROOT / "configs" / "studies"
OWN = {"distillation"}  # studies that repeat no paper


def toy_paper(*items):
  commands = (("`run it`", "1 hour"),)
  headline = Headline("idc", "b beats a")
  return Paper("A paper", "What it did.", items, commands, headline)


def rows(*items, results):
  document = reproduction.build([toy_paper(*items)], results)
  return document.sections[0].tables[0].rows


def test_numbers_come_from_reports(tmp_path):
  """Under the name of a real study, whose published numbers are used."""
  results = toy.write_study(tmp_path / "runs")
  names = ("v1_source", "v2", "v1")
  for member, name in zip(results["members"], names, strict=True):
    member["name"] = name
  published = results["members"][0]["published"]
  first = published["last/val/accuracy"] = published.pop("val/accuracy")
  folder = tmp_path / "results" / "idc"
  (folder / "figures").mkdir(parents=True)
  (folder / "report.json").write_text(json.dumps(results))
  (folder / "figures" / "v1_curves.webp").touch()
  found = rows(
    PaperItem(
      "Accuracies",
      "idc",
      (
        ("v1_source", "last/val/accuracy"),
        ("v2", "test/auroc"),
        ("v1", "test/f1"),
      ),
      figures=("v1_curves", "v2_curves"),
      reason="no time",
    ),
    results=tmp_path / "results",
  )
  second = results["members"][1]["metrics"]["auroc"]
  here = [
    (
      f"{x['mean']:.3f} ± {x['std']:.3f}",
      formatting.interval(x["low"], x["high"]),
    )
    for x in (first, second)
  ]
  link = "[v1_curves](results/idc/figures/v1_curves.webp)"
  title, state = "Accuracies", "run, 2 seeds, summaries only"
  assert found == [
    (title, "v1_source, val accuracy, last epoch", "0.857", *here[0], state),
    ("", "v2, test AUROC", "-", *here[1], state),
    ("", "v1, test F1", "-", "-", "-", "not run: no time"),
    ("", "v1_curves", "figure", link, "", "reproduced"),
    ("", "v2_curves", "figure", "-", "", "not run: no time"),
  ]


def test_sizes_are_measured_and_missing_results_say_why(tmp_path):
  sizes = (
    NetworkSize("right", 1_342_536, "mobilenet_v1", width=0.5),
    NetworkSize("wrong", 1_342_537, "mobilenet_v1", width=0.5),
    NetworkSize("mult-adds", 149, "mobilenet_v1", "macs", width=0.5),
  )
  found = rows(PaperItem("Counts", sizes=sizes), results=tmp_path)
  states = [("1,342,536", "equal"), ("1,342,536", "differs"), ("149", "equal")]
  assert [(row[3], row[5]) for row in found] == states
  assert rows(PaperItem("A figure", reason="no data"), results=tmp_path) == [
    ("A figure", "", "-", "-", "", "not run: no data")
  ]


@pytest.fixture(scope="module")
def papers():
  return reproduction.read()


def test_every_number_of_a_paper_is_in_its_study(papers):
  for paper in papers:
    for item in paper.items:
      if not item.study:
        assert item.sizes or item.reason
        continue
      made = files.load(item.study, "get_study", study.Study)
      members = {member.name: member for member in made.members}
      for name, key in item.metrics:
        published = members[name].published
        part, _, metric = key.rpartition("/")
        assert key in published or (part == "test" and metric in made.metrics)
      for name in item.figures:
        row, _, kind = name.rpartition("_")
        assert row in {member.replace(".", "_") for member in members}
        assert kind in {"curves", "confusion", "embedding", "saliency"}


def test_claims_without_runs_are_listed_too(papers, tmp_path):
  document = reproduction.build(papers, tmp_path)
  for paper, section in zip(papers, document.sections, strict=True):
    claims = section.tables[1].rows
    declared = [
      claim.text
      for name in dict.fromkeys(x.study for x in paper.items if x.study)
      for claim in files.load(name, "get_study", study.Study).claims
    ]
    assert [text for _, text, _ in claims] == declared
    assert {verdict for verdict, *_ in claims} == {"not run"}
    assert all("no runs; claimed: " in numbers for *_, numbers in claims)


def test_the_first_thing_said_of_a_paper_is_a_claim_of_its_study(papers):
  for paper in papers:
    headline = paper.headline
    assert headline.study in {item.study for item in paper.items}
    made = files.load(headline.study, "get_study", study.Study)
    assert headline.claim in {claim.text for claim in made.claims}


def test_a_report_of_other_runs_than_are_kept_is_refused(tmp_path):
  folder = tmp_path / "idc"
  kept_run = folder / "runs" / "v1" / "seed0"
  kept_run.mkdir(parents=True)
  (kept_run / "summary.json").write_text("{}")
  item = PaperItem("Accuracies", "idc", (("v1", "test/accuracy"),))
  with pytest.raises(InputError) as caught:
    rows(item, results=tmp_path)
  assert str(caught.value) == (
    f"{folder / 'report.json'}: it was made before v1/seed0 was kept, changed "
    "or removed; valid: after `python -m mn_jax.tools.study idc --collect "
    f"--keep={tmp_path}`"
  )


@pytest.mark.parametrize("changed", ["claim", "row", "pair", "published"])
def test_a_report_of_another_study_file_than_today_s_is_refused(
  changed, tmp_path
):
  """The page lacks a claim or row, or has another number of the paper."""
  made = files.load("cifar100", "get_study", study.Study)
  published = {"published": {"test/accuracy": {"there": 0.5}}}
  report = {
    "members": [
      {
        **vars(member),
        "published": {k: {"there": v} for k, v in member.published.items()},
      }
      for member in made.members
    ],
    "pairs": [{"members": list(pair)} for pair in made.pairs],
    "claims": [vars(claim) for claim in made.claims],
    "kept": {"v1_1.0/seed0": hashlib.sha256(b"{}").hexdigest()},
  }
  folder = tmp_path / "cifar100"
  kept_run = folder / "runs" / "v1_1.0" / "seed0"
  kept_run.mkdir(parents=True)
  (kept_run / "summary.json").write_text("{}")

  def read():
    (folder / "report.json").write_text(json.dumps(report))
    return study_report.read_report(folder)

  assert read() == json.loads(json.dumps(report))
  if changed == "published":
    report["members"][0] |= published
    what = f"row {{.*{made.members[0].name}"
  else:
    key = {"row": "members"}.get(changed, f"{changed}s")
    report[key] = report[key][1:]
    what = f"{changed} "
  with pytest.raises(
    InputError, match=f"before the {what}.*was declared, changed or removed; v"
  ):
    read()


def test_every_study_and_published_number_is_on_the_page(papers):
  items = [item for paper in papers for item in paper.items]
  asked = {(item.study, *row) for item in items for row in item.metrics}
  commands = "".join(c for paper in papers for c, _ in paper.commands)
  for path in STUDIES.glob("*.py"):
    if path.stem in OWN:
      assert path.stem not in {item.study for item in items}
      continue
    assert f"configs/studies/{path.name} " in commands
    for member in files.load(str(path), "get_study", study.Study).members:
      for key in member.published:
        assert (path.stem, member.name, key) in asked


def test_the_page_is_markdown(tmp_path):
  document = reproduction.build([toy_paper()], tmp_path)
  text = page.markdown(document, "figures")
  assert "| `run it` | 1 hour |" in text
  assert "## Protocol" not in text
