"""Every study, from its file to its page, on its sample."""

import json
import pathlib

import jax
import pytest

from mn_jax.config import files
from mn_jax.evaluation import run_ensemble
from mn_jax.report import page, study_report
from mn_jax.report.inspection import Inspections
from mn_jax.studies import kept, study
from mn_jax.studies import results as study_results
from tests import toy_transfer
from tests.studies.test_study import STUDIES, config_of, expand

# Two steps, of images that cost little to draw and to pack.
SHORT = ("train.epochs=0.0", "train.steps=2")

pytestmark = pytest.mark.usefixtures("standard_promotion")


def run(path: pathlib.Path, folder: pathlib.Path, only: list[str]) -> None:
  """Trains these rows, gathers them and writes the page."""
  made = files.load(str(path), "get_study", study.Study)
  runs = expand(
    made,
    folder=folder,
    seeds=1,
    only=only,
    overrides=SHORT,
    kept=folder / "kept",
  )
  with jax.numpy_dtype_promotion("standard"):
    for each in runs:
      if each.parts:
        run_ensemble.write(
          each.workdir,
          each.parts,
          views=each.member.views,
          progress=lambda done, total: None,
        )
      else:
        toy_transfer.run(config_of(each), each.workdir)
      kept.keep(each, siblings=runs)
  results = study_results.collect(made, runs)
  text = json.dumps(results, allow_nan=False)
  (folder / "results.json").write_text(text)
  complete = [m["name"] for m in results["members"] if m["seeds"] == [0]]
  assert sorted(complete) == sorted(only)
  for member in results["members"]:
    found = [spread["mean"] for spread in member["metrics"].values()]
    assert member["name"] not in only or any(x is not None for x in found)
    for spread in member["published"].values():
      assert (spread["mean"] is not None) == (member["name"] in only)
  document = study_report.build(*study_report.read(folder), Inspections({}, {}))
  assert [section.title for section in document.sections] == complete
  written = page.markdown(document, "figures")
  for name in only:
    assert f"\n## {name}\n" in written
  for claim in made.claims:
    assert claim.text in written


def names(path: pathlib.Path) -> list[str]:
  return [
    member.name
    for member in files.load(str(path), "get_study", study.Study).members
  ]


@pytest.mark.extended
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_first_member_of_every_study_runs(path, tmp_path):
  run(path, tmp_path, names(path)[:1])


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_member_of_every_study_runs(path, tmp_path):
  run(path, tmp_path, names(path))
