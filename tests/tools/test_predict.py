"""Tests of the program that classifies images."""

import csv
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mn_jax.commandline import prediction_rows
from mn_jax.data import decode
from mn_jax.deploy import confidence, folded, predictor
from mn_jax.models import registry
from mn_jax.parallel import batching
from mn_jax.tools import predict
from tests.weights import toy_h5

ROOT = pathlib.Path(__file__).parents[2]
CLASSES = ("red, dark", 'the "green"', "blue")
COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


@pytest.fixture
def batches(monkeypatch):
  """Sizes of the batches that a stand-in for a trained network gets.

  Its probabilities are the shares of the colours.
  """
  sizes = []

  def program(images):
    assert images.dtype == np.uint8
    assert images.shape[1:] == (4, 4, 3)
    sizes.append(len(images))
    total = images.astype(np.float64).sum((1, 2))
    return folded.Outputs(np.log(total.clip(1e-9)), total)

  def load_run(args):
    assert args.precision in (None, "int8")
    loaded = predictor.Predictor(
      classes=CLASSES,
      read_image=lambda data: decode.decode(data, 4),
      outputs=lambda images: batching.apply_in_batches(
        program, images, batch_size=args.batch_size
      ),
    )
    return loaded, confidence.Confidence(multi_label=False)

  monkeypatch.setattr(predict, "_load_run", load_run)
  return sizes


def save(path, colour="red", size=(8, 8), mode="RGB"):
  path.parent.mkdir(parents=True, exist_ok=True)
  if mode == "I;16":
    image = Image.fromarray(np.full(size, 0x8000, np.uint16))
  else:
    image = Image.new("RGB", size, COLOURS[colour]).convert(mode)
  image.save(path)
  return path


@pytest.fixture
def images(tmp_path):
  """A folder with three images, one of them further inside, and no images."""
  folder = tmp_path / "images"
  save(folder / "b.png", "green")
  save(folder / "a" / "z.JPG", "red")
  save(folder / "c.tiff", "blue")
  (folder / "notes.txt").write_text("no image")
  (folder / "folder.png").mkdir()
  return folder


def classify(capsys, *arguments, workdir="run"):
  code = predict.main([f"--workdir={workdir}", *map(str, arguments)])
  captured = capsys.readouterr()
  return code, captured.out, captured.err


def rows(out):
  return list(csv.reader(io.StringIO(out)))


def test_csv_has_a_header_and_a_row_per_image(capsys, batches, images):
  code, out, err = classify(capsys, images / "b.png")
  assert (code, err) == (0, "")
  columns = [
    f"top{k}_{c}" for k in (1, 2, 3) for c in ("index", "name", "probability")
  ]
  red = blue = f"{20 / 240:.6f}"
  assert rows(out) == [
    ["file", *columns],
    [
      *(str(images / "b.png"), "1", CLASSES[1], f"{200 / 240:.6f}"),
      *("0", CLASSES[0], red),
      *("2", CLASSES[2], blue),
    ],
  ]
  # Names with commas and quotes survive.
  assert '"red, dark"' in out
  assert '"the ""green"""' in out
  assert "\r" not in out
  _, out, _ = classify(capsys, "--top=100", images / "b.png")
  assert len(rows(out)[1]) == 1 + 3 * 3


def test_json_is_valid(capsys, batches, images):
  code, out, err = classify(
    capsys, "--format=json", "--top=1", images / "c.tiff", images / "b.png"
  )
  assert (code, err) == (0, "")
  found = json.loads(out)
  assert [row["file"] for row in found] == [
    str(images / "c.tiff"),
    str(images / "b.png"),
  ]
  ((blue,), (green,)) = (row["top"] for row in found)
  assert (blue["index"], blue["name"]) == (2, "blue")
  assert green["probability"] == pytest.approx(200 / 240)
  assert classify(capsys, "--format=json", images / "notes.txt")[1] == "[]\n"


def test_folders_and_archives_are_searched_in_order(
  capsys, batches, images, tmp_path
):
  code, out, err = classify(capsys, "--top=1", images, images / "b.png")
  assert (code, err) == (
    0,
    f"predict: {images}: passed over .txt files (1), empty folders (1)\n",
  )
  assert [row[:2] for row in rows(out)[1:]] == [
    [str(images / name), index]
    for name, index in (
      ("a/z.JPG", "0"),
      ("b.png", "1"),
      ("c.tiff", "2"),
      ("b.png", "1"),
    )
  ]
  (images / "notes.txt").unlink()
  (images / "folder.png").rmdir()
  for kind in ("zip", "tar"):
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, images)
    code, out, err = classify(capsys, "--top=1", packed)
    assert (code, err) == (0, "")
    assert [row[0] for row in rows(out)[1:]] == [
      f"{packed}/{name}" for name in ("a/z.JPG", "b.png", "c.tiff")
    ]


def test_folders_are_read_as_those_of_training_are(capsys, batches, tmp_path):
  folder = tmp_path / "in"
  image = save(folder / "x.png", "green")
  for name in ("photo.webp", "photo.gif", "photo.avif"):
    Image.open(image).save(folder / name)
  Image.open(image).save(folder / "b.jfif", "JPEG")
  shutil.copy(image, folder / "noext")
  (folder / "link.png").symlink_to("x.png")
  for hidden in (".h.png", "._x.png", ".ipynb_checkpoints/x.png"):
    save(folder / hidden)
  save(folder / "__MACOSX" / "x.png")
  code, out, err = classify(capsys, "--top=1", folder)
  assert code == 0
  assert [row[:2] for row in rows(out)[1:]] == [
    [str(folder / name), "1"]
    for name in (
      *("b.jfif", "link.png", "noext", "photo.avif", "photo.gif", "photo.webp"),
      "x.png",
    )
  ]
  assert [line.partition("in: ")[2] for line in err.splitlines()] == [
    "files without the suffix of an image that are read as the images that "
    "they are: 1, the first 'noext'",
    "GIF files, of which the first frame is read: 1",
    "passed over hidden files (4)",
  ]
  # What is named itself is read.
  assert classify(capsys, folder / ".h.png")[0] == 0


def test_unreadable_images_are_listed_and_skipped(
  capsys, batches, images, tmp_path
):
  data = (images / "b.png").read_bytes()
  (images / "cut.png").write_bytes(data[: len(data) // 2])
  (images / "empty.jpg").write_bytes(b"")
  code, out, err = classify(capsys, "--top=1", images, images / "notes.txt")
  assert code == 1
  assert len(rows(out)) == 4
  first, *lines, last = err.splitlines()
  assert "passed over .txt files (1)" in first
  assert last == "predict: 3 of 6 images could be classified"
  assert [line.split(": ")[:2] for line in lines] == [
    ["predict", str(images / "cut.png")],
    ["predict", str(images / "empty.jpg")],
    ["predict", str(images / "notes.txt")],
  ]
  assert "no readable PNG, JPEG, TIFF, BMP" in lines[2]
  empty = tmp_path / "none"
  empty.mkdir()
  for path, message in (
    (images / "notes.txt", "none of 1 images could be classified"),
    (empty, f"no image is in {str(empty)!r}; valid: images, and folders, "),
  ):
    code, out, err = classify(capsys, path)
    assert code == 2
    assert len(rows(out)) == 1
    last = err.splitlines()[-1]
    assert last.startswith(f"predict: {message}")


def test_the_last_batch_is_padded(capsys, batches, tmp_path):
  for i in range(7):
    save(tmp_path / f"{i}.png", list(COLOURS)[i % 3])
  (tmp_path / "1.png").write_bytes(b"")
  code, out, _ = classify(capsys, "--batch-size=4", "--top=1", tmp_path)
  assert code == 1
  assert batches == [4, 4]  # of six
  assert [row[1] for row in rows(out)[1:]] == ["0", "2", "0", "1", "2", "0"]
  batches.clear()
  classify(capsys, tmp_path / "0.png")
  assert batches == [1]
  batches.clear()
  # Folders of other counts need no other program.
  classify(capsys, "--precision=int8", tmp_path)
  assert batches == [8]


def test_odd_images_are_classified(capsys, batches, tmp_path):
  for name, size, mode in (
    ("wide.png", (300, 2), "RGB"),
    ("tall.bmp", (2, 300), "RGB"),
    ("tiny.png", (1, 1), "RGB"),
    ("grey.png", (9, 7), "L"),
    ("deep.tif", (9, 7), "I;16"),
    ("palette.png", (9, 7), "P"),
    ("alpha.png", (9, 7), "RGBA"),
    ("cmyk.jpg", (9, 7), "CMYK"),
  ):
    path = save(tmp_path / name, "blue", size, mode)
    code, out, err = classify(capsys, "--top=1", path)
    assert (code, err) == (0, "")
    probability = float(rows(out)[1][3])
    grey = mode in ("L", "I;16")
    assert probability == pytest.approx(1 / 3 if grey else 200 / 240, abs=0.02)
  image = Image.new("P", (4, 4))
  image.putpalette([0, 0, 255] * 256)
  # Pillow warns of this one's metadata.
  image.save(tmp_path / "a.png", transparency=bytes(range(200)))
  code, _, err = classify(capsys, tmp_path / "a.png")
  assert (code, err) == (0, "")
  Image.new("1", (8193, 8192)).save(tmp_path / "huge.png")
  code, _, err = classify(capsys, tmp_path / "huge.png")
  assert code == 2
  assert f"{tmp_path / 'huge.png'}: 8193x8192 pixels; valid: 1 to " in err


def test_names_in_csv_are_no_formulas(capsys):
  judged = confidence.Judged(np.array([0.5]), (0,), None, None)
  row = prediction_rows.Row("=a.png", [(0, "+b", 0.5)], judged)
  judge = confidence.Confidence(multi_label=False)
  prediction_rows.write_csv(iter([row]), judge, ["+b"], top=1)
  out, _ = capsys.readouterr()
  assert out.splitlines()[1] == "'=a.png,0,'+b,0.500000,1,0,'+b"


def test_mistakes_are_one_line_and_2(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  run, vgg16 = [".", "--workdir=x"], [".", "--model=vgg16", "--weights=y"]
  for arguments, message in (
    ([], "the following arguments are required: PATH"),
    (["."], "got no network; valid: --workdir=DIR, or --model=NAME and"),
    ([".", "--model=vgg16"], "got --model=vgg16; valid: --workdir=DIR, or"),
    ([".", "--weights=x"], "model.weights: got 'x', which is no file; valid"),
    ([".", "--weights=imagenet"], "got 'imagenet' without the name of its n"),
    ([".", "--weights=x", "--width=2"], "--width: got it without a network"),
    ([".", "--weights=hf:x"], "got 'hf:x'; valid: hf:OWNER/NAME, or"),
    ([*run, "--model=y"], "got --workdir=x, --model=y; valid"),
    ([*run, "--width=2"], "got --workdir=x, --width=2.0; valid"),
    ([*run, "--minimalistic"], "--minimalistic=True; valid: --"),
    (run, "got 'x', whose config.json cannot be read"),
    ([*run, "--top=0"], "--top: got 0; valid: 1 or more"),
    ([*run, "--batch-size=-1"], "--batch-size: got -1; valid: 1 o"),
    ([*run, "--top=a"], "--top: got a; valid: 1 or more"),
    ([*run, "--format=xml"], "invalid choice: 'xml'"),
    ([*run, "--precision=int4"], "invalid choice: 'int4' (choo"),
    (
      [".", "--wokdir=x"],
      "got '--wokdir=x' (did you mean '--workdir=x'?); valid",
    ),
    ([".", "--model=x", "--weights=y"], "model.name: got 'x'; valid: mobile"),
    (vgg16, "got 'y', which is no file; valid"),
    ([*vgg16, "--width=0"], "--width: got 0; valid: 0.01 to 4"),
    ([*vgg16, "--width=nan"], "--width: got nan; valid: 0.01 to 4"),
    (
      [*vgg16, "--minimalistic"],
      "model.minimalistic: got True for 'vgg16'; valid",
    ),
    (["nothing.png", "--workdir=x"], "got 'nothing.png', which is neither a "),
    (["x" * 5000, "--workdir=x"], "which is neither a file nor a folder"),
    ([os.devnull, "--workdir=x"], "which is neither a file nor a folder"),
    (["-", "--workdir=x"], "got '-', which is no file on this machine; valid"),
    (["https://x.org/a.jpg", "--workdir=x"], "which is no file on this mach"),
  ):
    assert predict.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("predict: ")
    assert message in err
    assert err.count("\n") == 1


PROGRAM = (sys.executable, "-m", "mn_jax.tools.predict")


@pytest.mark.skipif(
  not sys.platform.startswith("linux"), reason="file names need to be UTF-8"
)
def test_the_program_is_quiet_and_takes_any_name(run, images):
  odd = os.fsencode(images) + b"/\xff\xfe, \xc3\xa9.png"
  pathlib.Path(os.fsdecode(odd)).write_bytes((images / "b.png").read_bytes())
  done = subprocess.run(
    [*PROGRAM, f"--workdir={run}", "--top=2", images],
    cwd=ROOT,
    capture_output=True,
  )
  assert done.returncode == 0
  passed_over, *strange = done.stderr.splitlines()
  assert b"passed over" in passed_over
  assert all(b" of 4 images are farther from the tr" in x for x in strange)
  assert len(strange) <= 1
  lines = done.stdout.splitlines()
  assert lines[0].startswith(b"file,top1_index,top1_name,top1_probability,top2")
  assert len(lines) == 5
  assert lines[4].startswith(b'"' + odd + b'",')
  assert b"idc," in lines[1]


@pytest.mark.extended
def test_a_reader_that_has_seen_enough_ends_it_quietly(images, tmp_path):
  network = registry.describe("vgg16", num_classes=4, width=1 / 64)
  weights = tmp_path / "toy.h5"
  toy_h5.write(weights, network, toy_h5.tensors(network))
  with subprocess.Popen(
    [
      *(*PROGRAM, "--model=vgg16", f"--weights={weights}"),
      *("--width=0.015625", "--batch-size=1", *[images / "b.png"] * 60),
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  ) as program:
    assert program.stdout.readline().startswith(b"file,top1_index,")
    program.stdout.close()
    (note,) = program.stderr.read().splitlines()
    assert b"published weights come without images to" in note
    assert program.wait() == 141  # as of a program that SIGPIPE ends


@pytest.mark.extended
def test_damage_is_said_without_a_traceback(run, images, tmp_path):
  """Orbax's threads, which go on after an error, add nothing to it."""
  damaged = shutil.copytree(run, tmp_path / "run")
  for path in (damaged / "checkpoints").glob("*/state/**/*"):
    if path.is_file():
      path.write_bytes(b"")
  done = subprocess.run(
    [*PROGRAM, f"--workdir={damaged}", images / "b.png"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert (done.returncode, done.stdout) == (2, "")
  *damaged, last = done.stderr.splitlines()
  assert last.startswith("predict: --workdir: all checkpoints in ")
  assert all("is damaged, and the next" in line for line in damaged)
