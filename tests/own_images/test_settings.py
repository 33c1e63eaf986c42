"""Tests of the config of runs on a user's own images."""

import faulthandler
import pathlib

import numpy as np
import pytest
from PIL import Image

from mn_jax import main
from mn_jax.commandline import network_arguments
from mn_jax.config import own_data
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.own_images import settings
from mn_jax.run import split_data
from mn_jax.run.workdir import Workdir
from mn_jax.weights import locate

QUIET = Console(quiet=True)
SMALL = {"model.width": 0.25, "data.image_size": 32}


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
  """Forty images of two classes, in a folder of a name with a dot."""
  folder = tmp_path / "my.photos"
  numbers = np.random.default_rng(0)
  for name in ("cat", "dog"):
    (folder / name).mkdir(parents=True)
    for number in range(20):
      pixels = numbers.integers(0, 256, (40, 50, 3), np.uint8)
      Image.fromarray(pixels).save(folder / name / f"{number}.png")
  return folder


@pytest.mark.parametrize(
  ("path", "name"),
  [
    ("photos", "photos"),
    ("a/photos/", "photos"),
    ("EuroSAT.zip", "EuroSAT"),
    ("a/images.tar.gz", "images"),
    ("labels.v2.csv", "labels.v2"),
    (".", None),
    ("a/..", None),
    ("/", "images"),
  ],
)
def test_the_name_of_images_is_that_of_their_folder(
  path, name, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "a").mkdir()
  assert own_data.name(path) == (name or tmp_path.name)


def test_a_folder_keeps_what_looks_like_a_suffix(photos):
  workdir = pathlib.Path("runs/my.photos")
  assert own_data.default_workdir(str(photos)) == workdir


def test_what_is_given_comes_before_what_is_recommended(photos):
  new = settings.recommended(str(photos), SMALL | {"train.steps": 5})
  assert new.config.data.path == str(photos)
  assert new.config.experiment == "my.photos"
  assert new.config.data.image_size == 32
  assert (new.config.train.steps, new.config.train.epochs) == (5, 0)
  shown = "\n".join(f"{a}\n{b}" for a, b in new.rows())
  assert "data.image_size=32" in shown
  assert "as you say" in shown


def test_weights_that_are_here_are_used(photos, monkeypatch):
  found = {("mobilenet_v2", 1.0): pathlib.Path("weights.h5")}
  monkeypatch.setattr(
    locate, "at_hand", lambda name, width, **_: found.get((name, width))
  )
  of_all = settings.recommended(str(photos), {}).config.model
  assert (of_all.weights, of_all.transfer) == ("imagenet", "fine_tune")
  narrow = settings.recommended(str(photos), SMALL).config.model
  assert (narrow.weights, narrow.transfer) == ("", "scratch")


def test_a_run_keeps_its_config(photos, tmp_path, monkeypatch, capsys):
  folder = tmp_path / "run"
  first = settings.config(str(photos), folder, SMALL, QUIET)
  workdir = Workdir(folder, first_process=True)
  workdir.write_config(first, 0)
  workdir.close()
  # Weights have come, and images by which the batch would be another.
  monkeypatch.setattr(locate, "at_hand", lambda *_, **__: photos)
  for number in range(200):
    image = Image.new("RGB", (300, 300), (number, 0, 0))
    image.save(photos / "cat" / f"new{number}.png")
  again = settings.config(str(photos), folder, SMALL, Console())
  assert again == first
  assert "its settings are used" in capsys.readouterr().out
  changed = settings.config(
    str(photos), folder, {**SMALL, "train.patience": 9}, QUIET
  )
  assert changed.train.patience == 9
  # Another folder has none of that.
  other = settings.config(str(photos), tmp_path / "other", {}, QUIET)
  assert other.model.weights == "imagenet"


def _finish(folder, config):
  """Writes what a run that has ended leaves, but the network."""
  data = split_data.load(config.data, lambda *_: None)
  digests = data.digests()
  workdir = Workdir(folder, first_process=True)
  workdir.write_config(config, 0)
  saved = {f"{what}_sha256": digests[what] for what in ("images", "labels")}
  saved |= {"sha256": digests["split"], "seed": 0, "notes": (), "images": {}}
  workdir.write_json("split.json", saved)
  workdir.write_json("summary.json", {})
  workdir.close()


def test_a_finished_run_refuses_other_images(photos, tmp_path):
  folder = tmp_path / "run"
  config = settings.config(str(photos), folder, SMALL, QUIET)
  _finish(folder, config)
  assert settings.config(str(photos), folder, {}, QUIET) == config
  Image.new("RGB", (50, 50)).save(photos / "cat" / "new.png")
  with pytest.raises(InputError, match="got other images than"):
    settings.config(str(photos), folder, {}, QUIET)


def test_a_finished_run_refuses_corrected_labels(photos, tmp_path):
  """Pixels, names and parts are what they were."""
  rows = [
    f"{name}/{number}.png,{name},{part}\n"
    for name in ("cat", "dog")
    for number, part in enumerate(["train", "val", "test", "train"] * 5)
  ]
  table = photos / "labels.csv"
  table.write_text("".join(["file,label,part\n", *rows]))
  folder = tmp_path / "run"
  given = SMALL | {"data.part": "part"}
  config = settings.config(str(table), folder, given, QUIET)
  _finish(folder, config)
  assert settings.config(str(table), folder, {}, QUIET) == config
  rows[3] = rows[3].replace(",cat", ",dog")
  table.write_text("".join(["file,label,part\n", *rows]))
  with pytest.raises(InputError, match="got other labels than"):
    settings.config(str(table), folder, {}, QUIET)


def test_seeds_are_continued_too(photos, tmp_path):
  given = SMALL | {"train.replicas": 2, "seed": 3}
  config = settings.config(str(photos), tmp_path / "run", given, QUIET)
  workdir = Workdir(tmp_path / "run" / "seed3", first_process=True)
  workdir.write_config(config, 0)
  workdir.close()
  saved = settings.saved(tmp_path / "run", str(photos), given)
  assert (saved.seed, saved.train.replicas) == (3, 2)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "--data: got nothing to train"),
    (["--config=idc_v1:test"], "--workdir: got nothing"),
    (["--data=gs://bucket"], "--data: got 'gs://bucket'"),
    (["--data=photos", "--model=x", "model.name=y"], "--model: got 'x' beside"),
    (["--data=nowhere"], "data.path: got"),
    (["--data=photos", "--model=nothing"], "nothing"),
    (["--data=photos", "train.epochs=x"], "train.epochs: got 'x'"),
    (["--data=photos", "train.epochs=-1"], "train.epochs: got -1.0"),
  ],
)
def test_mistakes_are_one_line(
  arguments, message, photos, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  # It needs a terminal.
  monkeypatch.setattr(faulthandler, "enable", lambda: None)
  photos.rename(tmp_path / "photos")
  assert main.main(arguments) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count("\n") == 1
  assert not (tmp_path / "runs").exists()


def test_a_config_decides_all_but_the_data(photos):
  args = main._parser().parse(
    ["--config=idc_v2", f"--data={photos}", "--weights=imagenet", "seed=4"]
  )
  config = main._experiment(args, network_arguments.given(args))
  assert (config.data.name, config.data.split) == ("image_folder", "auto")
  assert config.data.path == str(photos)
  assert config.data.image_size == 50
  assert (config.model.weights, config.model.transfer, config.seed) == (
    "imagenet",
    "fine_tune",
    4,
  )
  assert main._workdir(args) == pathlib.Path("runs/my.photos")
