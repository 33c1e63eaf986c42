"""Tests of kept runs: what they hold, and which ones a study refuses."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from mn_jax.config import files
from mn_jax.errors import InputError, RunError
from mn_jax.evaluation import run_ensemble
from mn_jax.metrics import classification, predictions
from mn_jax.report import run_analysis
from mn_jax.run import records
from mn_jax.run import workdir as workdir_lib
from mn_jax.studies import cross_validation, evidence, expansion, kept, study
from mn_jax.studies.study import Member, Study
from tests.metrics import toy_predictions
from tests.report import toy_runs
from tests.studies import toy_folds

MADE = Study(
  title="Kept",
  source="nobody",
  members=(
    Member("a", "idc_v1"),
    Member("b", "idc_v2:fine_tune", weights="mobilenet_v2_1.0_224"),
  ),
  sample={},
  metrics=("accuracy",),
)


def expand(folder: pathlib.Path, **options) -> list[study.StudyRun]:
  values = {
    "folder": folder / "runs",
    "seeds": 2,
    "sample": False,
    "weights": None,
    "only": ["a", "b"],
    "kept": folder / "kept",
    **options,
  }
  return expansion.expand(MADE, **values)


def finish(run: study.StudyRun, weights: str = "") -> None:
  """Leaves a complete workdir; rows and seeds have other predictions."""
  place = 10 * (run.member.name == "b") + run.seed
  toy_runs.write(run.workdir, place)
  # As the toy wrote them, but with the config of the run.
  changes = [f"model.weights={weights}"] if weights else []
  config = files.load_config(run.member.config, [*run.arguments[1:], *changes])
  (run.workdir / "config.json").unlink()
  folder = workdir_lib.Workdir(run.workdir, first_process=False)
  folder.write_config(config, step=0)
  changed = {"data.path": ["/secret/a", "/secret/b"], "train.patience": [0, 3]}
  history = [{"step": 5, "fields": changed}]
  edit(run.workdir / "config.json", history=history)


@pytest.fixture
def runs(tmp_path):
  """Two rows of two seeds, complete and kept."""
  made = expand(tmp_path)
  for run in made:
    finish(run, "/secret/mobilenet_v2_1.0_224.h5" * (run.member.name == "b"))
    kept.keep(run, siblings=made)
  return made


def edit(path: pathlib.Path, **values) -> None:
  content = records.read_object(path)
  records.write_object(path, content | values)


def message(of, *arguments, **options) -> str:
  with pytest.raises((InputError, RunError)) as caught:
    of(*arguments, **options)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_a_kept_run_is_read_like_its_workdir(runs):
  for run in runs:
    there, here = (
      run_analysis.analyze(path) for path in (run.workdir, run.kept)
    )
    assert here.curves == there.curves
    assert not here.damage
    assert here.test.classes == there.test.classes
    assert here.groups == there.groups
    assert np.array_equal(here.matrix, there.matrix)
    assert here.intervals == there.intervals
    assert here.at_threshold == there.at_threshold


def part_of(run: study.StudyRun, part: str) -> pathlib.Path:
  return run.workdir / "predictions" / f"{part}.npz"


def predict(
  run: study.StudyRun, named: predictions.NamedPredictions, part: str = "test"
) -> None:
  """Replaces the predictions for a part, and their metrics."""
  labels = named.predictions.labels
  losses = predictions.losses(named.predictions.logits, labels)
  outputs = dataclasses.replace(named.predictions, losses=losses)
  named = dataclasses.replace(named, predictions=outputs)
  named.write(part_of(run, part))
  metrics = classification.summarize(outputs, positive=named.positive)
  summary = run.summary()
  for name in [x for x in summary if x.startswith(f"{part}/")]:
    del summary[name]
  summary |= {f"{part}/{name}": value for name, value in metrics.items()}
  records.write_object(run.workdir / "summary.json", summary)


def without_ties(count: int, classes: int) -> predictions.NamedPredictions:
  rng = np.random.default_rng(0)
  labels = rng.integers(0, classes, count)
  logits = rng.normal(size=(count, classes))
  logits[np.arange(count), labels] += 1
  made = toy_runs.predictions(count, 0, tuple("0123456789"[:classes]))
  outputs = toy_predictions.of(labels, logits)
  return dataclasses.replace(made, predictions=outputs)


@pytest.mark.parametrize(
  ("images", "classes", "kind"), [(500, 2, "float32"), (2000, 10, "float16")]
)
def test_metrics_of_kept_predictions_are_those_of_the_summary(
  tmp_path, images, classes, kind
):
  run = expand(tmp_path)[0]
  finish(run)
  predict(run, without_ties(images, classes))
  kept.keep(run, siblings=())
  summary = run.summary()
  path = run.kept / "predictions" / "test.npz"
  found = predictions.read(path)
  metrics = classification.summarize(found.predictions, positive=found.positive)
  facts = summary["kept"]["predictions"]["test"]
  assert facts["logits"] == kind
  tolerance = kept.TOLERANCES[getattr(np, kind)]
  assert facts["largest_difference"] <= tolerance
  assert len(metrics) > 10
  for name, value in metrics.items():
    assert summary[f"test/{name}"] == pytest.approx(value, abs=tolerance)
  width = np.dtype(kind).itemsize
  assert path.stat().st_size < 2_000 + images * (3 + width * classes)


def test_what_float16_would_change_is_kept_in_float32(tmp_path):
  run = expand(tmp_path)[0]
  finish(run)
  named = without_ties(900, 9)
  outputs = named.predictions
  outputs.labels[0] = 1
  outputs.logits[0] = 0
  outputs.logits[0, :2] = [4, 4 + 1e-4]  # equal in float16
  predict(run, named)
  kept.keep(run, siblings=())
  assert run.summary()["kept"]["predictions"]["test"]["logits"] == "float32"
  found = predictions.read(run.kept / "predictions" / "test.npz").predictions
  assert np.array_equal(found.logits, outputs.logits)


def test_predictions_of_another_run_are_not_kept(tmp_path):
  first, second = expand(tmp_path, only=["a"])
  finish(first)
  finish(second)
  name = "predictions/test.npz"
  shutil.copy(second.workdir / name, first.workdir / name)
  text = message(kept.keep, first, siblings=())
  assert "a seed 0 is not kept: by its predictions test/" in text
  assert not first.kept.exists()
  assert not first.is_kept()


def test_kept_runs_have_no_paths_of_the_machine(runs, tmp_path):
  for run in runs:
    for path in run.kept.rglob("*"):
      if path.is_file():
        for secret in (b"/secret", str(tmp_path).encode()):
          assert secret not in path.read_bytes(), path
    history = records.read_object(run.kept / "config.json")["history"]
    assert history[0]["fields"]["train.patience"] == [0, 3]
    command = run.summary()["kept"]["command"]
    start = (
      f"python -m mn_jax.main --config={run.member.config} seed={run.seed}"
    )
    assert command.startswith(start)


def test_without_workdirs_kept_runs_are_complete(runs, tmp_path):
  shutil.rmtree(tmp_path / "runs")
  # Nor are the weights needed that they started from.
  again = expand(tmp_path, weights=tmp_path / "no weights here")
  for run, before in zip(again, runs, strict=True):
    assert run.is_complete()
    kept.check(run)
    assert run.summary() == before.summary()
  kept.check_together(again)
  shutil.rmtree(again[1].kept)
  text = message(expand, tmp_path, weights=tmp_path / "no weights here")
  assert "from which 'b' starts" in text


def test_a_kept_run_of_another_config_is_refused(runs, tmp_path):
  for overrides, words in (
    (["train.epochs=4.0"], "train.epochs: "),
    (["data.name=chest_xray"], "data.name: 'idc' there, 'chest_xray' now"),
    (["model.weights=other.h5"], "'mobilenet_v2_1.0_224' there, 'other.h5' n"),
  ):
    run = expand(tmp_path, overrides=overrides)[1]
    text = message(kept.check, run)
    assert words in text
    assert str(run.kept) in text
  # Where files are is not compared.
  for overrides in (["data.path=/else/where"], ["data.cache_dir=/a/cache"]):
    for run in expand(tmp_path, overrides=overrides):
      kept.check(run)


def test_another_result_of_a_kept_run_is_refused(runs):
  run = runs[0]
  kept.keep(run, siblings=runs)  # the same again changes nothing
  edit(run.workdir / "summary.json", **{"test/accuracy": 0.125})
  text = message(kept.keep, run, siblings=runs)
  assert "whose test/accuracy is 0." in text
  assert "and 0.125 in" in text
  (run.kept / "summary.json").unlink()
  text = message(kept.keep, run, siblings=runs)
  assert text.endswith("which has no summary.json; valid: without that folder")


@pytest.mark.parametrize("what", ["split", "images", "weights"])
def test_runs_of_other_images_are_not_put_together(runs, what):
  """As two machines with another choice of images would have them."""
  last = runs[-1]
  shutil.rmtree(last.kept)
  key = {f"{what}_sha256": "f" * 64}
  for run in runs if what == "weights" else ():
    if run is not last:
      edit(run.kept / "summary.json", weights_sha256="e" * 64)
  edit(last.workdir / "summary.json", **key)
  text = message(kept.keep, last, siblings=runs)
  assert f"sha256 of the {what} of b seed 1 is ffffffffffffffff, but" in text
  assert not last.is_kept()


def test_rows_may_have_their_images_from_other_crops(tmp_path):
  for row, share in (("a", 1.0), ("b", 0.875)):
    overrides = ["data.other_sizes=crop", f"data.crop_share={share}"]
    run = expand(tmp_path, seeds=1, only=[row], overrides=overrides)[0]
    finish(run)
    edit(run.workdir / "summary.json", images_sha256=row * 64)
    kept.keep(run, siblings=expand(tmp_path))
    assert run.is_kept()


def test_folders_of_no_row_are_refused(runs, tmp_path):
  kept.check_rows(tmp_path / "kept", ["a", "b"])
  kept.check_rows(tmp_path / "nothing", ["a"])
  text = message(kept.check_rows, tmp_path / "kept", ["a"])
  assert text.endswith("valid: one of a, or without that folder")
  assert kept.count_seeds(tmp_path / "kept") == 2
  assert kept.count_seeds(tmp_path / "nothing") == 0


def test_a_damaged_kept_run_is_no_run_to_repeat(runs):
  path = runs[0].kept / "summary.json"
  content = json.loads(path.read_text())
  path.write_text(json.dumps(content | {"test/accuracy": 0.99}))
  assert "not as it was written" in message(runs[0].summary)


def test_kept_folds_are_put_together_without_workdirs(tmp_path):
  _, runs = toy_folds.write(tmp_path / "runs")
  runs = [
    dataclasses.replace(run, kept=tmp_path / "kept" / run.member.name / "seed0")
    for run in runs
  ]
  for run in runs:
    for part in kept.PARTS:  # with losses of their logits
      predict(run, predictions.read(part_of(run, part)), part)
  before = cross_validation.read(runs)
  for run in runs:
    kept.keep(run, siblings=runs)
  shutil.rmtree(tmp_path / "runs")
  after = cross_validation.read(runs)
  kept.check_together(runs)
  for fold, same in zip(after, before, strict=True):
    assert fold.split["groups"] == same.split["groups"]
    assert fold.temperature == same.temperature
    assert np.array_equal(fold.test.groups, same.test.groups)
    outputs = (x.test.predictions.logits for x in (fold, same))
    assert np.array_equal(*outputs)
    assert np.array_equal(
      fold.test.attributes["site"], same.test.attributes["site"]
    )


def test_an_ensemble_is_kept_and_outlives_workdirs(tmp_path):
  mean = Member("mean", "idc_v1", ensemble=("a", "c"))
  members = (MADE.members[0], Member("c", "idc_v1", {"seed": 3}), mean)
  made = dataclasses.replace(MADE, members=members)
  places = {"folder": tmp_path / "runs", "kept": tmp_path / "kept"}
  options = {"seeds": 1, "sample": False, "weights": None, "overrides": ()}

  def again() -> list[study.StudyRun]:
    return expansion.expand(made, only=["a", "c", "mean"], **places, **options)

  runs = again()
  for run in runs[:2]:
    finish(run)
  ensemble = again()[2]
  run_ensemble.write(
    ensemble.workdir,
    ensemble.parts,
    views="",
    progress=lambda done, total: None,
  )
  for run in (*runs[:2], ensemble):
    kept.keep(run, siblings=runs)
  shutil.rmtree(tmp_path / "runs")
  ensemble = again()[2]
  kept.check(ensemble)
  assert ensemble.is_complete()
  assert ensemble.parts[0] == tmp_path / "kept" / "a" / "seed0"
  assert ensemble.summary()["kept"]["command"] == (
    "python -m mn_jax.tools.ensemble --output=mean/seed0 --workdir a/seed0 "
    "c/seed0"
  )
  assert run_analysis.analyze(ensemble.folder).test.groups is not None
  assert list(evidence.read([ensemble])) == ["mean"]
  # A member that was trained again makes another mean.
  edit(tmp_path / "kept" / "a" / "seed0" / "summary.json", best_step=1)
  stale = again()[2]
  assert "is the mean of other runs" in message(kept.check, stale)
  assert "is the mean of other runs" in stale.damage()
  assert not evidence.read([stale])


@pytest.mark.parametrize("groups", [["a", "b"], ["a", "a"]])
def test_groups_of_one_image_each_are_counted_not_listed(groups):
  split = {"images": {"test": 2}, "groups": {"test": groups}}
  kept._count_images(split)
  assert ("groups" in split) == (groups == ["a", "a"])
  if "groups" not in split:
    assert split["group_counts"] == {"test": 2}
