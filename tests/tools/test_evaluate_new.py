"""`tools.evaluate --data`, as its users run it on new images."""

import json
import shutil

import numpy as np
import pytest

from mn_jax.metrics import predictions
from mn_jax.tools import evaluate
from tests.evaluation import new_sample
from tests.tools.inspecting import content, refuse

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
  """Folders of new images and of two runs, a level below their own."""
  root = tmp_path_factory.mktemp("new_images")
  own, new = new_sample.write(root)
  for fold in range(2):
    new_sample.train(
      own,
      root / "folds" / f"fold{fold}" / "seed0",
      data__split="kfold",
      data__folds=3,
      data__fold=fold,
    )
  return own, new, root / "folds"


@pytest.fixture
def start(capsys):
  def start(*arguments):
    code = evaluate.main([*map(str, arguments)])
    return code, *capsys.readouterr()

  return start


def test_new_images_are_shown_and_written_as_a_page(start, places, tmp_path):
  _, new, folds = places
  run = folds / "fold0" / "seed0"
  before = content(run)
  table, page = tmp_path / "out" / "new.npz", tmp_path / "page" / "new.html"
  code, out, _ = start(
    f"--workdir={run}",
    f"--data={new}",
    f"--output={table}",
    f"--page={page}",
    "--tta=flips",
    "--conformal=0.5",
    "--at-specificity=0.7",
  )
  assert code == 0
  assert content(run) == before
  for text in (
    "balanced accuracy",
    "patients resampled",
    "At the threshold of validation",
    "on validation.",
    "Mean of the views (flips) minus the plain image",
    "The loss on validation",
    "Least accurate patients",
    "Conformal sets that should hold the class of 0.5 of the images of each",
    "Images unlike those of training",
    "Operating points of idc",
    f"Page: {page}",
  ):
    assert text in out, text
  assert "known to the run" not in out
  assert max(map(len, [x for x in out.splitlines() if "┃" in x])) <= 80
  written = predictions.read(table)
  assert len(written.names) == len(new_sample.files(new))
  assert {*written.groups} == {path.name for path in new.iterdir()}
  html = page.read_text("utf-8")
  assert html.count("data:image/webp") == 4
  assert "<script" not in html
  assert "http" not in html.replace("http-equiv", "")
  for text in ("At the threshold of validation", "Operating points", str(new)):
    assert text in html, text


def test_folds_are_an_ensemble_that_warns_of_what_each_run_knows(
  start, places, tmp_path
):
  own, new, folds = places
  mixed = tmp_path / "mixed"
  shutil.copytree(new, mixed)
  for case in sorted(own.iterdir())[:2]:
    shutil.copytree(case, mixed / case.name)
  code, out, _ = start(
    "--workdir", folds, f"--data={mixed}", "--json", f"data.path={own}"
  )
  assert code == 0
  found = json.loads(out)
  assert [x["workdir"] for x in found["runs"]] == [
    str(folds / f"fold{i}" / "seed0") for i in range(2)
  ]
  assert len(found["members"]) == 2
  runs = found["overlap"]["runs"]
  known = [x["images"] for x in runs]
  added = sum(len(new_sample.files(case)) for case in sorted(own.iterdir())[:2])
  assert 0 < max(known) <= found["overlap"]["images"] <= added
  assert runs[0]["equal"] == runs[0]["same_group"]
  assert found["without_overlap"]["loss"]["value"] is not None
  assert any("are known to some run" in x for x in found["warnings"])
  assert any("different splits" in x for x in found["notes"])
  code, out, _ = start("--workdir", folds, f"--data={mixed}")
  assert code == 0
  for text in ("Warning: ", "others", "Members of the ensemble", "fold1/seed0"):
    assert text in out, text


def test_what_does_not_go_together_is_refused(start, places, tmp_path):
  _, new, folds = places
  run, data = f"--workdir={folds / 'fold0' / 'seed0'}", f"--data={new}"
  for arguments, text in (
    ((run, data, "--part=test"), "--part: got it with --data; valid: without"),
    ((run, data, "--precision=int8"), "--precision: got it with --data"),
    ((run, "--tta"), "--tta: got it without --data; valid: with --data"),
    ((run, "--page=x.html"), "--page: got it without --data"),
    ((run, data, "--marginal"), "--marginal: got it without --conformal"),
    ((run, data, "--page=x.pdf"), "--page: got 'x.pdf'; valid: a file called"),
    ((run, data, "--tta=spin"), "--tta: invalid choice: 'spin'"),
    ((run, data, "--conformal=2"), "--conformal: got 2; valid: 0 to 1"),
    ((run, data, "model.width=1"), "model.width: got it with --data; valid: "),
    ((run, data, "data.bits=12"), "data.bits: got it for new images; valid: "),
    ((run, data, "--json", "--conformal=0.01"), "conformal: got 0.01 with"),
    ((run, f"--data={tmp_path / 'no'}"), "no', which does not exist; valid: a"),
    ((run, run, data), "twice; valid: each run once"),
    (
      (f"--workdir={folds}", run),
      "--workdir: got 2 without --data; valid: one",
    ),
  ):
    refuse(start(*arguments), "evaluate", text)
  assert not list(tmp_path.iterdir())


def test_a_threshold_stays_where_the_images_of_a_run_are_gone(start, places):
  _, new, folds = places
  run = f"--workdir={folds / 'fold0' / 'seed0'}"
  code, out, _ = start(run, f"--data={new}", "--json", "data.path=/no/where")
  assert code == 0
  found = json.loads(out)
  assert 0 < found["thresholds"][0] < 1
  assert any("pixels could not be compared" in x for x in found["warnings"])
  assert np.isfinite(found["temperatures"]).all()
