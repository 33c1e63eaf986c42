"""Tests of the look at a user's own images."""

import itertools
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from mn_jax.own_images import overview as overview_lib
from mn_jax.perf import training_time
from mn_jax.tools import look

TIMED = training_time.TrainingTime(
  compile=20.0,
  step=0.5,
  steps=1000,
  evaluation=65.0,
  decode=3.0,
  device="1 x cpu",
)


def picture(seed: int, size=(90, 120)) -> Image.Image:
  """Blobs, of which those of two seeds look different."""
  small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
  return Image.fromarray(small).resize(size[::-1], Image.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> pathlib.Path:
  """Two classes, a file in both of them, look-alikes and a broken file."""
  root = tmp_path_factory.mktemp("data") / "photos"
  for label, (name, count) in enumerate({"cat": 20, "dog": 10}.items()):
    (root / name).mkdir(parents=True)
    for number in range(count):
      picture(100 * label + number).save(root / name / f"{number}.png")
  whole = (root / "cat" / "3.png").read_bytes()
  (root / "dog" / "stray.png").write_bytes(whole)
  picture(5).save(root / "cat" / "small.jpg", quality=60)
  picture(99, (300, 200)).convert("L").save(root / "dog" / "tall.bmp")
  (root / "cat" / "broken.png").write_bytes(whole[: len(whole) // 2])
  (root / "cat" / ".DS_Store").write_bytes(b"finder")
  (root / "notes.txt").touch()
  return root


@pytest.fixture
def run(capsys):
  """Runs the program; returns its exit code and what it printed."""

  def run(*arguments) -> tuple[int, str, str]:
    code = look.main([*map(str, arguments)])
    return code, *capsys.readouterr()

  return run


def state(folder: pathlib.Path) -> dict:
  files = sorted(folder.rglob("*"))
  return {f: (f.stat().st_mtime_ns, f.stat().st_size) for f in files}


def test_what_is_printed(photos, run, monkeypatch):
  monkeypatch.setattr(training_time, "measure", lambda *_, **__: TIMED)
  before = state(photos)
  code, out, err = run(photos, "train.epochs=7")
  assert (code, err) == (0, "")
  assert state(photos) == before
  lines = out.splitlines()
  assert any("photos: 34 images in 2 classes" in line for line in lines)
  # Readable images in all, training, validation and test.
  (cat,) = (line for line in lines if line.startswith("│ cat "))
  cells = [cell.strip() for cell in cat.split("│")[2:-1]]
  assert cells == ["21", "63.6%", "14", "3", "4"]
  assert "1 image cannot be read:" in lines
  assert any(line.startswith("  cat/broken.png: ") for line in lines)
  assert "different labels, equal files: cat/3.png = dog/stray.png" in lines
  assert "look alike: cat/5.png = cat/small.jpg" in lines
  assert "Formats: PNG RGB (31), JPEG RGB (1), BMP L (1)" in lines
  assert any("left out: .txt files (1)" in line for line in lines)
  assert "train.epochs=7" in out
  assert "about 10 min on 1 x cpu" in out
  tables = [line for line in lines if line.startswith(("│", "┏", "└"))]
  assert max(map(len, tables)) <= 80
  (train,) = (line for line in lines if line.startswith("Train:"))
  assert train.endswith(f"--data={photos} train.epochs=7")


def test_images_too_blank_to_look_alike_are_said(run, tmp_path):
  for name, shift in (("sea", 0), ("land", 40)):
    (tmp_path / name).mkdir()
    for number in range(8):
      picture(shift + number).save(tmp_path / name / f"{number}.png")
    for number in range(4):
      colour = (number, shift, 200)
      blank = Image.new("RGB", (90, 120), colour)
      blank.save(tmp_path / name / f"blank{number}.png")
  code, out, _ = run(tmp_path, "--no-time")
  assert code == 0
  said = "Note: 8 of 24 images have next to no contrast: look-alikes are not"
  assert said in out
  code, out, _ = run(tmp_path, "--no-time", "--json")
  assert json.loads(out)["blank"] == 8


def test_all_of_it_as_json(photos, run):
  code, out, _ = run(photos, "--json", "--no-time")
  assert code == 0
  found = json.loads(out)
  assert found["images"] == 34
  assert found["classes"]["dog"]["images"] == 12
  counts = found["classes"]["cat"]
  assert counts["images"] == counts["train"] + counts["val"] + counts["test"]
  assert [name for name, _ in found["unreadable"]] == ["cat/broken.png"]
  assert found["equal"] == [["cat/3.png", "dog/stray.png"]]
  assert found["near"] == [["cat/5.png", "cat/small.jpg"]]
  assert found["blank"] == 0
  assert found["sizes"]["height"] == {"min": 90, "median": 90, "max": 300}
  assert found["time"] is None
  fields = {k: v for x in found["recommended"] for k, v in x["fields"].items()}
  assert fields["model.name"] == "mobilenet_v2"
  assert found["split"]["kind"] == "stratified"


def test_the_page_holds_all_of_it(photos, run, tmp_path):
  page = tmp_path / "page.html"
  code, out, _ = run(photos, "--no-time", f"--output={page}")
  assert code == 0
  assert f"Page:     {page}" in out
  text = page.read_text()
  for word in ("cat/broken.png", "mobilenet_v2", "dog/stray.png", "34 images"):
    assert word in text
  # Samples, sizes and pairs; nothing is loaded from elsewhere.
  assert text.count("data:image/webp;base64,") == 3
  assert "http" not in text.replace("http-equiv", "")


def test_parts_are_those_of_the_folders(run, tmp_path):
  for part, count in (("train", 8), ("val", 4), ("test", 5)):
    for label, name in enumerate(("a", "b")):
      folder = tmp_path / part / name
      folder.mkdir(parents=True)
      for number in range(count):
        seed = 1000 * count + 100 * label + number
        picture(seed).save(folder / f"{number}.png")
  image = (tmp_path / "train" / "a" / "0.png").read_bytes()
  (tmp_path / "test" / "a" / "0.png").write_bytes(image)
  _, out, _ = run(tmp_path, "--json", "--no-time")
  found = json.loads(out)
  assert found["split"]["kind"] == "fixed"
  expected = {"images": 17, "train": 8, "val": 4, "test": 5}
  assert found["classes"]["a"] == expected
  _, out, _ = run(tmp_path, "--no-time")
  (row,) = (x for x in out.splitlines() if x.startswith("│ sets of equal"))
  assert [x.strip() for x in row.split("│")[2:-1]] == ["1", "2", "0", "1"]


def test_names_suggest_groups(run, tmp_path):
  for patient in range(8):
    for number in range(4):
      folder = tmp_path / ("a", "b")[number % 2]
      folder.mkdir(exist_ok=True)
      name = f"patient{patient:02}_view{number}.png"
      picture(10 * patient + number).save(folder / name)
  _, out, _ = run(tmp_path, "--no-time")
  (note,) = (x for x in out.splitlines() if "images suggest" in x)
  assert "8 groups" in note
  pattern = note.partition("data.group_pattern=")[2].partition("' ")[0]
  given = f"data.group_pattern={pattern.strip(chr(39))}"
  _, out, _ = run(tmp_path, "--no-time", given)
  assert "images suggest" not in out
  assert "8 groups of images that belong together" in " ".join(
    " ".join(x.strip("│ ").split("│")[-1].split()) for x in out.splitlines()
  )


def test_too_many_images_are_not_compared(photos, run, monkeypatch):
  monkeypatch.setattr(overview_lib, "MOST_COMPARED", 10)
  _, out, _ = run(photos, "--json", "--no-time")
  found = json.loads(out)
  assert found["near"] is None
  assert found["equal"]


def test_images_that_cannot_be_split_are_shown(run, tmp_path):
  for name, count in (("a", 9), ("b", 1)):
    (tmp_path / name).mkdir()
    for number in range(count):
      picture(number).save(tmp_path / name / f"{number}{name}.png")
  page = tmp_path / "page.html"
  code, out, err = run(tmp_path, f"--output={page}")
  assert code == 2
  assert "10 images in 2 classes" in out
  assert "Train:" not in out
  assert err.count("\n") == 1
  assert "without an image of 'b'" in err
  assert "cannot be trained on" in page.read_text()
  code, out, err = run(tmp_path, "--json")
  assert code == 2
  assert "without an image of 'b'" in json.loads(out)["split"]["problem"]
  assert err.count("\n") == 1


def test_what_training_refuses_to_read_is_refused_here(photos, run, tmp_path):
  few = "data.max_unreadable=0.02"  # one of 34 cannot be read
  code, out, err = run(photos, "--no-time", few)
  assert code == 2
  assert "Train:" not in out
  assert "data.max_unreadable: at least 1 of 34 files are unreadable" in err
  for part, name in itertools.product(("train", "test"), "ab"):
    (tmp_path / part / name).mkdir(parents=True)
    for number in range(9 if part == "train" else 1):
      picture(number).save(tmp_path / part / name / f"{number}.png")
    if part == "test":
      (tmp_path / part / name / "0.png").write_bytes(b"no image")
  code, _, err = run(tmp_path, "--no-time", "data.max_unreadable=0.5")
  assert code == 2
  assert "got the part 'test' without an image that can be used" in err


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["nowhere"], "data.path: got"),
    (["photos", "--output=page.pdf"], "--output: got 'page.pdf'"),
    (["photos", "--output=no/page.html"], "--output: got 'no/page.html'"),
    (["photos/cat"], "got 0 folders of images, 22 images in no folder"),
    (["photos", "--model=vgg"], "vgg"),
    (["photos", "--weights=no.h5"], "model.weights: got 'no.h5', which is no"),
  ],
)
def test_mistakes_are_one_line(arguments, message, photos, run, monkeypatch):
  monkeypatch.chdir(photos.parent)
  code, out, err = run(*arguments)
  assert (code, out) == (2, "")
  assert message in err
  assert err.count("\n") == 1


def test_time_is_measured_on_this_machine(photos, run):
  small = ("model.name=simple_cnn", "data.image_size=32", "train.steps=50")
  with jax.numpy_dtype_promotion("standard"):
    code, out, _ = run(photos, "--json", *small)
  assert code == 0
  time = json.loads(out)["time"]
  assert 0 < time["step"] < time["compile"] < 60
  assert time["steps"] == 50
  parts = time["decode"] + time["compile"] + 50 * time["step"]
  assert time["total"] == pytest.approx(parts + time["evaluation"])
