"""A new user's story: a folder of photographs, three commands, a prediction."""

import csv
import io
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests import programs

SUFFIXES = ("jpg", "png", "webp", "bmp", "tif", "gif")
# For seconds instead of minutes; nothing else is said.
SHRUNK = (
  "--model=simple_cnn",
  "data.image_size=32",
  "train.steps=60",
  "optim.learning_rate=0.003",
)


def photo(number: int, colour: tuple[int, int, int]) -> Image.Image:
  """A blob of a colour on grey, of a size by number."""
  numbers = np.random.default_rng(number)
  height, width = numbers.integers(40, 200, 2)
  pixels = numbers.normal(128, 30, (height, width, 3))
  top, left = height // 4, width // 4
  pixels[top : 3 * top, left : 3 * left] += np.array(colour) - 128
  return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """Holidays: 60 beaches and 30 woods as cameras and people leave them."""
  photos = tmp_path / "holidays"
  for name, colour, count in (
    ("beach", (230, 200, 90), 60),
    ("wood", (40, 120, 40), 30),
  ):
    (photos / name).mkdir(parents=True)
    for number in range(count):
      image = photo(1000 * count + number, colour)
      if number % 10 == 4:
        image = image.quantize(64)
      suffix = SUFFIXES[number % len(SUFFIXES)]
      exif = Image.Exif()
      exif[0x0112] = 6 if number % 5 == 0 else 1
      image = image.convert("RGB") if suffix in ("jpg", "webp") else image
      options = {"exif": exif} if suffix == "jpg" else {}
      image.save(photos / name / f"IMG_{number:04}.{suffix}", **options)
    (photos / name / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
  (photos / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
  whole = (photos / "beach" / "IMG_0000.jpg").read_bytes()
  (photos / "beach" / "IMG_9999.jpg").write_bytes(whole[: len(whole) // 2])
  new = tmp_path / "new"
  new.mkdir()
  photo(7, (230, 200, 90)).save(new / "sand.jpg")
  photo(8, (40, 120, 40)).save(new / "trees.png")
  return photos


@pytest.mark.extended
def test_three_commands_to_a_prediction(folder, tmp_path, monkeypatch):
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path / "cache"))
  before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

  def run(module, *arguments):
    ended = programs.run(f"mn_jax.{module}", *arguments, folder=tmp_path)
    assert "Traceback" not in ended.stderr
    return ended

  looked = run("tools.look", "holidays", "--no-time", *SHRUNK)
  assert (looked.returncode, looked.stderr) == (0, "")
  for text in (
    "holidays: 91 images in 2 classes",
    "beach/IMG_9999.jpg: ",
    "left out: hidden files",
    "train.class_weights=balanced",
    "Train:    python -m mn_jax.main --data=holidays --model=simple_cnn",
    "Predict:  python -m mn_jax.tools.predict --workdir=runs/holidays",
  ):
    assert text in looked.stdout
  assert not (tmp_path / "runs").exists()

  trained = run("main", "--data=holidays", *SHRUNK)
  assert trained.returncode == 0, trained.stderr
  # It trains what was announced, and says so again.
  settings = table(looked.stdout)
  assert settings
  assert table(trained.stdout) == settings
  for text in ("left out: unreadable images", "holidays: best checkpoint"):
    assert text in trained.stdout
  summary = json.loads((tmp_path / "runs/holidays/summary.json").read_text())
  assert summary["test/balanced_accuracy"] > 0.9
  split = json.loads((tmp_path / "runs/holidays/split.json").read_text())
  assert sum(split["images"].values()) == 90
  assert [name for name, _ in split["quarantine"]] == ["beach/IMG_9999.jpg"]

  predicted = run("tools.predict", "--workdir=runs/holidays", "new")
  assert predicted.returncode == 0, predicted.stderr
  rows = {
    pathlib.Path(row[0]).name: row
    for row in csv.reader(io.StringIO(predicted.stdout))
  }
  assert "beach" in rows["sand.jpg"]
  assert "wood" in rows["trees.png"]

  # The same command has nothing left to do; a new photograph is not ignored.
  assert run("main", "--data=holidays", *SHRUNK).returncode == 0
  assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
  photo(9, (40, 120, 40)).save(folder / "wood" / "new.png")
  refused = run("main", "--data=holidays", *SHRUNK)
  assert refused.returncode == 2
  assert refused.stderr.count("\n") == 1
  assert "got other images than" in refused.stderr


def table(out: str) -> str:
  """The table of what is trained, as it was printed."""
  _, _, rest = out.partition("what is trained, and why")
  return rest.partition("└")[0]
