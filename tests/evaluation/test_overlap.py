"""Tests of new images that a run was trained with."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mn_jax.errors import InputError
from mn_jax.evaluation import evaluation
from mn_jax.run import reopen
from tests.evaluation import new_sample

pytestmark = pytest.mark.usefixtures("standard_promotion")
QUICK = new_sample.QUICK


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
  clean = "no image of training or validation is among them, by pixels and "
  assert f"{clean}groups" in found.notes
  assert not any(clean in note for note in seen.notes)
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
  assert seen.thresholds
  own = evaluation.evaluate([run], places[1], options=QUICK)
  split = json.loads((workdirs[0] / "split.json").read_text("utf-8"))
  groups = {*split["groups"]["train"], *split["groups"]["val"]}
  expected = np.isin(own.images.groups, [*groups])
  np.testing.assert_array_equal(own.known(), expected)
  assert 0 < expected.sum() < len(expected)
  options = dataclasses.replace(QUICK, views="horizontal")
  turned = evaluation.evaluate([run], folder, options=options)
  assert turned.thresholds == ()
  assert turned.gain == {}
  assert any("validation part is gone" in note for note in turned.notes)
  for asked in ({"conformal": 0.4}, {"calibrated": True}):
    with pytest.raises(InputError, match="validation part is gone"):
      evaluation.evaluate(
        [run], folder, options=dataclasses.replace(options, **asked)
      )
