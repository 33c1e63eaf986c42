"""Tests of what the folds of a cross-validation are trained with."""

import numpy as np
import pytest
from PIL import Image

from mn_jax.config import checks, files, overrides
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.own_images import settings
from mn_jax.studies import cross_validation, expansion, fold_settings

GIVEN = {
  "model.name": "simple_cnn",
  "data.group": "patient",
  "data.attributes": ("site", "age"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  numbers = np.random.default_rng(0)
  lines = ["path,label,patient,site,age"]
  for number in range(40):
    pixels = numbers.integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}.png")
    label = ("cat", "dog")[number % 2]
    lines.append(f"{number}.png,{label},{number // 4},north,{number}")
  path = folder / "photos.csv"
  path.write_text("\n".join(lines) + "\n")
  return str(path)


def of_images(images, folder, given=GIVEN, folds=3):
  return fold_settings.of_images(
    images, given, folder, Console(quiet=True), folds=folds
  )


def config_of(run):
  """The config that a fold's program reads from its arguments."""
  name, *changes = run.arguments
  values = files.read_config(name.removeprefix("--config="))
  overrides.apply(values, changes)
  return checks.from_config_dict(values)


def test_every_fold_is_trained_with_what_is_recommended(images, tmp_path):
  found = of_images(images, tmp_path)
  expected = settings.recommended(images, GIVEN).config
  selected = cross_validation.plan(
    found.name, "photos", found.fields, folds=3, count=3, positive=False
  )
  runs = expansion.expand(
    selected,
    folder=tmp_path,
    seeds=2,
    sample=False,
    weights=None,
    only=[member.name for member in selected.members],
  )
  assert len(runs) == 6
  for run in runs:
    config = config_of(run)
    data = config.data
    assert (data.split, data.folds) == ("kfold", 3)
    assert f"fold{data.fold}" == run.member.name
    assert config.seed == run.seed
    for section in ("model", "optim", "augment", "train", "eval"):
      assert getattr(config, section) == getattr(expected, section)
    for name in ("path", "group", "attributes", "image_size"):
      assert getattr(data, name) == getattr(expected.data, name)


def test_what_was_recommended_once_stays(images, tmp_path, monkeypatch, capsys):
  first = of_images(images, tmp_path)
  first.write(tmp_path)

  def fail(*_):
    raise AssertionError("recommended again")

  monkeypatch.setattr(settings, "recommended", fail)
  again = fold_settings.of_images(images, GIVEN, tmp_path, Console(), folds=3)
  assert "settings are used, but for those that you give" in (
    " ".join(capsys.readouterr().out.split())
  )
  assert again.config == first.config
  assert dict(again.fields) == dict(first.fields)
  other = of_images(images, tmp_path, {**GIVEN, "train.epochs": 3.0})
  assert other.config.train.epochs == 3
  assert other.config.model == first.config.model


def test_an_experiment_can_have_the_images_of_a_user(images):
  found = fold_settings.of_experiment(
    "image_folder_v2", {"model.width": 0.5}, data=images
  )
  assert found.config.data.path == images
  assert found.config.model.width == 0.5
  assert found.config.experiment == "photos"
  assert fold_settings.of_experiment("idc_v2", {}).fields == {}


def test_weights_fine_tune_an_experiment_from_scratch():
  weights = {"model.weights": "imagenet"}
  found = fold_settings.of_experiment(
    "image_folder_v2", weights, fine_tune=True
  )
  assert found.config.model.transfer == "fine_tune"
  found = fold_settings.of_experiment(
    "image_folder_v2:frozen", weights, fine_tune=True
  )
  assert found.config.model.transfer == "frozen"


def test_wrong_fields_are_refused(images, tmp_path):
  with pytest.raises(InputError, match=r"model\.width"):
    of_images(images, tmp_path, {"model.width": -1.0})
  with pytest.raises(InputError, match="unknown field"):
    fold_settings.of_experiment("idc_v2", {"model.x": 1})
