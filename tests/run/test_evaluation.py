"""Tests of the evaluation of saved runs on images that they never saw."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import sklearn.metrics
from PIL import Image

from mn_jax.augment import views
from mn_jax.deploy import predictor
from mn_jax.errors import InputError
from mn_jax.metrics import (
  bootstrap,
  calibration,
  classification,
  comparison,
  conformal,
  ensemble,
  predictions,
  thresholds,
)
from mn_jax.run import evaluation, reopen
from tests.run import new_sample

pytestmark = pytest.mark.usefixtures("standard_promotion")
QUICK = evaluation.Options(resamples=40)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
  root = tmp_path_factory.mktemp("evaluation")
  own, new = new_sample.write(root)
  return root, own, new


@pytest.fixture(scope="module")
def workdirs(places):
  """Two seeds of one split, and a run of another split."""
  root, own, _ = places
  return [
    new_sample.train(own, root / "runs" / name, **fields)
    for name, fields in (
      ("a", {}),
      ("b", {"seed": 1}),
      ("c", {"seed": 2, "data__split_seed": 5}),
    )
  ]


@pytest.fixture(scope="module")
def runs(workdirs):
  return [reopen.open_run(path) for path in workdirs]


@pytest.fixture(scope="module")
def found(runs, places):
  return evaluation.evaluate(runs[:1], places[2], options=QUICK)


def val_of(workdir):
  return predictions.read(workdir / "predictions" / "val.npz")


def test_new_images_are_predicted_as_by_predict(found, workdirs, places):
  """Image by image, by the folded network, with the labels of the folders."""
  loaded = predictor.from_workdir(workdirs[0])
  files = new_sample.files(places[2])
  of_file = dict(
    zip(
      (path.name for path in files),
      loaded.probabilities(loaded.read_image(x.read_bytes()) for x in files),
      strict=True,
    )
  )
  images = found.images
  names = [name.rpartition("/")[2] for name in images.names.tolist()]
  assert sorted(names) == sorted(of_file)
  np.testing.assert_allclose(
    images.predictions.probabilities(),
    np.stack([of_file[name] for name in names]),
    atol=1e-4,
  )
  labels = [int(name[-5]) for name in names]
  assert images.predictions.labels.tolist() == labels
  assert images.groups.tolist() == [name.split("_")[0] for name in names]
  assert found.unit == "patient"
  scores = images.predictions.probabilities()[:, 1]
  auroc = sklearn.metrics.roc_auc_score(labels, scores)
  assert found.intervals["auroc"].value == pytest.approx(auroc)
  expected = bootstrap.intervals(
    images.predictions, positive=1, groups=images.groups, resamples=40
  )
  assert repr(found.intervals) == repr(expected)
  matrix = sklearn.metrics.confusion_matrix(labels, scores > 0.5)
  np.testing.assert_array_equal(found.matrix, matrix)
  assert sum(count for _, count, _ in found.groups) == len(labels)


def test_choices_are_those_of_validation(found, workdirs):
  val, outputs = val_of(workdirs[0]).predictions, found.images.predictions
  threshold = thresholds.best_balanced_accuracy(val, positive=1)
  assert found.threshold == threshold
  decided = outputs.probabilities()[:, 1] >= threshold
  recall = sklearn.metrics.recall_score(outputs.labels, decided)
  assert found.at_threshold["sensitivity"].value == pytest.approx(recall)
  temperature = calibration.fit_temperature(val)
  assert found.temperatures == (temperature,)
  scaled = calibration.scale(outputs, temperature)
  expected = classification.summarize(scaled, positive=1)
  assert repr(found.at_temperature) == repr(expected)
  assert found.reliability[1].ece() == found.at_temperature["ece"]
  assert found.overlaps[0].known().sum() == 0
  assert found.without_overlap == {}


def test_calibrated_predictions_choose_anew(found, runs, places):
  options = dataclasses.replace(QUICK, calibrated=True)
  scaled = evaluation.evaluate(runs[:1], places[2], options=options)
  expected = calibration.scale(found.images.predictions, found.temperatures[0])
  np.testing.assert_array_equal(
    scaled.images.predictions.logits, expected.logits
  )
  assert scaled.threshold != found.threshold
  assert scaled.intervals["loss"].value == found.at_temperature["loss"]


def test_numbers_can_be_written_as_json(found):
  numbers = json.loads(json.dumps(found.numbers(), allow_nan=False))
  auroc = found.intervals["auroc"]
  assert numbers["intervals"]["auroc"]["value"] == auroc.value
  assert numbers["runs"][0]["step"] == found.runs[0].step
  assert sum(numbers["classes"].values()) == numbers["images"]
  assert numbers["overlap"]["images"] == 0


@pytest.fixture(scope="module")
def leaking(places, workdirs, tmp_path_factory):
  """New images with three of training, each known in another way."""
  _, own, new = places
  folder = tmp_path_factory.mktemp("leaking") / "new"
  shutil.copytree(new, folder)
  run = reopen.open_run(workdirs[0])
  data = run.data(lambda *_: None)
  row = data.part("train")[0]
  (file,) = own.rglob(data.cache.names[row])
  target = new_sample.files(folder)[0]
  case, label = target.parts[-3], target.parts[-2]

  def place(group, number):
    return (
      folder / group / label / f"{group}_idx5_x{number}_y1_class{label}.png"
    )

  shutil.copy(file, place(case, 9001))
  pixels = new_sample.pixels(file)
  brighter = np.clip(pixels.astype(int) + 2, 0, 255).astype(np.uint8)
  Image.fromarray(brighter).save(place(case, 9002))
  patient = str(data.cache.groups[row])
  noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
  place(patient, 9003).parent.mkdir(parents=True)
  Image.fromarray(noise).save(place(patient, 9003))
  return folder, str(data.cache.names[row]), patient


def test_images_of_training_are_found_and_left_out(leaking, runs, found):
  folder, name, patient = leaking
  seen = evaluation.evaluate(runs[:1], folder, options=QUICK)
  (overlap,) = seen.overlaps

  def names(mask):
    return [x.split("_x")[1] for x in seen.images.names[mask].tolist()]

  assert [x[:4] for x in names(overlap.equal)] == ["9001"]
  assert [x[:4] for x in names(overlap.similar)] == ["9002"]
  assert [x[:4] for x in names(overlap.same_group)] == ["9003"]
  assert overlap.groups == (patient,)
  assert {theirs for _, theirs in overlap.pairs} == {name}
  assert overlap.parts == ("train", "val")
  assert seen.known().sum() == 3
  assert seen.intervals["loss"].value != found.intervals["loss"].value
  for metric, interval in seen.without_overlap.items():
    expected = dataclasses.astuple(found.intervals[metric])
    assert dataclasses.astuple(interval) == pytest.approx(
      expected, abs=1e-6, nan_ok=True
    )


def test_a_run_whose_images_are_gone_compares_names_and_groups(
  leaking, places, workdirs, tmp_path
):
  folder, _, patient = leaking
  run = reopen.open_run(workdirs[0], data_path=str(tmp_path / "gone"))
  seen = evaluation.evaluate([run], folder, options=QUICK)
  (overlap,) = seen.overlaps
  assert "gone" in overlap.problem
  assert overlap.groups == (patient,)
  assert overlap.known().sum() == overlap.same_group.sum() == 1
  # What validation chose is in the file that the run wrote.
  assert seen.threshold is not None
  own = evaluation.evaluate([run], places[1], options=QUICK)
  split = json.loads((workdirs[0] / "split.json").read_text("utf-8"))
  groups = {*split["groups"]["train"], *split["groups"]["val"]}
  expected = np.isin(own.images.groups, [*groups])
  np.testing.assert_array_equal(own.known(), expected)
  assert 0 < expected.sum() < len(expected)
  options = dataclasses.replace(QUICK, views="horizontal")
  turned = evaluation.evaluate([run], folder, options=options)
  assert turned.threshold is None
  assert turned.gain == {}
  assert any("validation part is gone" in note for note in turned.notes)
  for asked in ({"conformal": 0.4}, {"calibrated": True}):
    with pytest.raises(InputError, match="validation part is gone"):
      evaluation.evaluate(
        [run], folder, options=dataclasses.replace(options, **asked)
      )


def test_views_are_averaged_and_judged_on_validation(runs, places, found):
  options = dataclasses.replace(QUICK, views="dihedral")
  turned = evaluation.evaluate(runs[:1], places[2], options=options)
  data, run = found.data, runs[0]

  def average(data, rows):
    each = []
    for view in views.KINDS["dihedral"]:
      seen = dataclasses.replace(
        data.cache, images=np.ascontiguousarray(view(data.cache.images))
      )
      each.append(run.predict(dataclasses.replace(data, cache=seen), rows))
    return ensemble.mean(each)

  expected = average(data, data.part("new"))
  np.testing.assert_allclose(
    turned.images.predictions.logits, expected.logits, atol=1e-5
  )
  own = run.data(lambda *_: None)
  rows = own.part("val")
  gain = comparison.on_images(
    average(own, rows),
    run.predict(own, rows),
    positive=1,
    groups=own.cache.groups[rows],
    resamples=40,
  )
  for name in ("loss", "auroc", "brier"):
    assert dataclasses.astuple(turned.gain[name]) == pytest.approx(
      dataclasses.astuple(gain[name]), abs=1e-5
    )
  assert turned.gain["loss"].low < turned.gain["loss"].high
  # The threshold is that of averaged validation images too.
  threshold = thresholds.best_balanced_accuracy(average(own, rows), positive=1)
  assert turned.threshold == pytest.approx(threshold, abs=1e-6)


def test_automatic_views_are_those_of_training(runs, places):
  """These runs are trained on images as they are."""
  options = dataclasses.replace(QUICK, views="auto")
  with pytest.raises(InputError, match="--tta: got auto for a run that was"):
    evaluation.evaluate(runs[:1], places[2], options=options)
  augment = dataclasses.replace(runs[0].config.augment, flip="horizontal")
  config = dataclasses.replace(runs[0].config, augment=augment)
  flipped = dataclasses.replace(runs[0], config=config)
  assert (
    evaluation.evaluate([flipped], places[2], options=options).views
    == "horizontal"
  )
  options = dataclasses.replace(QUICK, views="upside")
  with pytest.raises(InputError, match="--tta: got 'upside'; valid: auto, "):
    evaluation.evaluate(runs[:1], places[2], options=options)


def test_runs_of_one_split_are_an_ensemble(runs, workdirs, places, found):
  both = evaluation.evaluate(runs[:2], places[2], options=QUICK)
  data = both.data
  alone = [run.predict(data, data.part("new")) for run in runs[:2]]
  np.testing.assert_allclose(
    both.images.predictions.probabilities(),
    np.mean([x.probabilities() for x in alone], axis=0),
    atol=1e-6,
  )
  assert [x["loss"] for x in both.members] == pytest.approx(
    [x.losses.mean() for x in alone]
  )
  assert both.members[0]["loss"] == pytest.approx(found.intervals["loss"].value)
  val = ensemble.mean([val_of(x).predictions for x in workdirs[:2]])
  threshold = thresholds.best_balanced_accuracy(val, positive=1)
  assert both.threshold == pytest.approx(threshold)
  assert len(both.temperatures) == len(both.overlaps) == 2
  assert not any("different splits" in note for note in both.notes)


def test_runs_of_other_splits_choose_on_their_own_validation(
  runs, workdirs, places
):
  """And the images of one's test may be those of another's training."""
  mixed = evaluation.evaluate([runs[0], runs[2]], places[1], options=QUICK)
  vals = [val_of(workdirs[i]).predictions for i in (0, 2)]
  labels = np.concatenate([x.labels for x in vals])
  scores = np.concatenate([x.probabilities()[:, 1] for x in vals])
  hits, alarms = [
    (scores[labels == y] >= mixed.threshold).mean() for y in (1, 0)
  ]
  best = max(
    (scores[labels == 1] >= x).mean() - (scores[labels == 0] >= x).mean()
    for x in scores
  )
  assert hits - alarms == pytest.approx(best)
  assert any("different splits" in note for note in mixed.notes)
  known = [x.known() for x in mixed.overlaps]
  assert (known[0] != known[1]).any()
  np.testing.assert_array_equal(mixed.known(), known[0] | known[1])


def test_runs_that_are_no_ensemble_are_refused(runs, places):
  other = dataclasses.replace(runs[1], classes=("no_idc", "other"))
  with pytest.raises(
    InputError, match=r"--workdir: .* of no_idc, other; valid"
  ):
    evaluation.evaluate([runs[0], other], places[2], options=QUICK)
  with pytest.raises(InputError, match="twice; valid: each run once"):
    evaluation.evaluate([runs[0], runs[0]], places[2], options=QUICK)


def test_prediction_sets_are_calibrated_on_validation(runs, workdirs, places):
  options = dataclasses.replace(QUICK, conformal=0.5)
  sets = evaluation.evaluate(runs[:1], places[2], options=options).sets
  expected = conformal.calibrate(val_of(workdirs[0]), alpha=0.5)
  np.testing.assert_array_equal(sets.thresholds.least, expected.least)
  assert len(sets.per_class) == 2
  options = dataclasses.replace(options, conformal=0.001)
  with pytest.raises(InputError, match=r"conformal: got 0\.001 with"):
    evaluation.evaluate(runs[:1], places[2], options=options)


def test_a_table_has_columns_and_attributes(runs, places, tmp_path, found):
  new = places[2]
  rows = ["Datei,Befund,Mensch,Ort"]
  for path in new_sample.files(new):
    label = "idc" if path.parts[-2] == "1" else "no_idc"
    case = path.parts[-3]
    site = "north" if int(case) % 2 else "south"
    rows.append(f"{path.relative_to(new)},{label},{case},{site}")
  table = new / "images.csv"
  table.write_text("\n".join(rows), "utf-8")
  try:
    read = evaluation.evaluate(
      runs[:1],
      table,
      {
        "file": "Datei",
        "label": ("Befund",),
        "group": "Mensch",
        "attributes": ("Ort",),
      },
      QUICK,
    )
    with pytest.raises(InputError, match=r"data\.bits: got it for new images"):
      evaluation.evaluate(runs[:1], table, {"bits": 12}, QUICK)
  finally:
    table.unlink()
  assert read.unit == "mensch"
  for name in ("auroc", "sensitivity", "loss"):
    assert read.intervals[name].value == pytest.approx(
      found.intervals[name].value
    )
  (site,) = read.attributes
  assert site.name == "Ort"
  counts = {x.value: x.images for x in site.subsets}
  assert counts.keys() == {"north", "south"}
  assert sum(counts.values()) == len(read.images.names)


def test_classes_are_those_of_the_run(runs, places, tmp_path):
  """Some may be missing; others are refused."""
  folder = tmp_path / "new"
  for i, path in enumerate(new_sample.files(places[2])):
    if path.parts[-2] == "1":
      target = folder / "idc" / f"{i}.png"
      target.parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(path, target)
  changes = {"name": "image_folder"}
  read = evaluation.evaluate(runs[:1], folder, changes, QUICK)
  assert read.data.classes == ("no_idc", "idc")
  assert set(read.images.predictions.labels.tolist()) == {1}
  assert np.isnan(read.intervals["auroc"].value)
  assert "no image of no_idc" in read.notes
  assert any("data.group_pattern" in note for note in read.notes)
  with pytest.raises(InputError, match="or, if they do not lie as those of"):
    evaluation.evaluate(runs[:1], folder, options=QUICK)
  (folder / "idc").rename(folder / "tumour")
  with pytest.raises(InputError, match="tumour"):
    evaluation.evaluate(runs[:1], folder, changes, QUICK)
