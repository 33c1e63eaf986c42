"""Tests of the evaluation of saved runs on images that they never saw."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.augment import views
from mn_jax.deploy import predictor
from mn_jax.errors import InputError
from mn_jax.evaluation import evaluation
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
from mn_jax.run import reference, reopen
from tests.evaluation import new_sample

pytestmark = pytest.mark.usefixtures("standard_promotion")
QUICK = new_sample.QUICK


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
  assert found.thresholds == (threshold,)
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
  assert scaled.thresholds != found.thresholds
  assert scaled.intervals["loss"].value == found.at_temperature["loss"]


def test_new_images_are_compared_with_those_of_training(found, runs, places):
  """By the features and logits that the folded network computes."""
  (strange,) = found.strangeness
  known = reference.read(runs[0].path)
  loaded = predictor.from_run(runs[0])
  data = found.data
  outputs = list(loaded.outputs(data.cache.images))
  distances, energies = known.percentiles(
    np.stack([x.features for x in outputs]),
    np.stack([x.logits for x in outputs]),
  )
  # An image of validation may lie between the two ways of computing.
  step = 100 / len(known.distances) + 1e-6
  np.testing.assert_allclose(strange.distances, distances, atol=step)
  np.testing.assert_allclose(strange.energies, energies, atol=step)
  assert strange.validation == len(known.distances)
  share = (strange.energies > 95).mean()
  assert strange.beyond(95)["energy"] == share
  other = dataclasses.replace(runs[0], step=runs[0].step + 1)
  unknown = evaluation.evaluate([other], places[2], options=QUICK)
  assert "is of step" in unknown.strangeness[0].problem
  assert np.isnan(unknown.strangeness[0].beyond(95)["distance"])


def test_numbers_can_be_written_as_json(found):
  numbers = json.loads(json.dumps(found.numbers(), allow_nan=False))
  auroc = found.intervals["auroc"]
  assert numbers["intervals"]["auroc"]["value"] == auroc.value
  assert numbers["runs"][0]["step"] == found.runs[0].step
  assert sum(numbers["classes"].values()) == numbers["images"]
  assert numbers["overlap"]["images"] == 0


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
  assert turned.thresholds == pytest.approx((threshold,), abs=1e-6)


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
  assert both.thresholds == pytest.approx((threshold,))
  assert len(both.temperatures) == len(both.overlaps) == 2
  assert not any("different splits" in note for note in both.notes)


def test_members_of_one_split_may_see_images_of_other_sizes(
  runs, workdirs, places, tmp_path
):
  fields = {"data__image_size": 40, "data__other_sizes": "resize"}
  smaller = new_sample.train(places[1], tmp_path / "smaller", **fields)
  members = [runs[0], reopen.open_run(smaller)]
  assert members[0].digests["images"] != members[1].digests["images"]
  both = evaluation.evaluate(members, places[2], options=QUICK)
  val = [val_of(x).predictions for x in (workdirs[0], smaller)]
  np.testing.assert_array_equal(
    both.validation.predictions.logits, ensemble.mean(val).logits
  )
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
    (scores[labels == y] >= mixed.thresholds[0]).mean() for y in (1, 0)
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
