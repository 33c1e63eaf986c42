"""The programs of docs/serving.md, run where this package is not."""

import http.client
import io
import json
import pathlib
import re
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from mn_jax.data import decode, resizing
from mn_jax.deploy import predictor, trained
from mn_jax.export import files as export_files
from mn_jax.export.options import FORMATS, Options
from mn_jax.metrics import out_of_distribution
from mn_jax.run import reference, reopen
from tests import toy_transfer as toy
from tests.data import hostile_images as hostile
from tests.test_docs import TEXT

PAGE = TEXT["docs/serving.md"]
PROGRAMS = {"onnx": "onnx", "litert": "litert", "stablehlo": "jax"}
# Runs a program where this package cannot be imported.
ALONE = (
  "import runpy, sys; sys.modules['mn_jax'] = None; sys.path.insert(0, '.'); "
  "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def program(name: str) -> str:
  """A block of Python of the page, which starts with its name."""
  (found,) = re.findall(rf"```python\n(# {name}\n.*?)```", PAGE, re.DOTALL)
  return found


def names_of(name: str) -> dict:
  """What a block defines."""
  names: dict = {}
  exec(program(name), names)  # noqa: S102 (of this repository's own page)
  return names


@pytest.mark.parametrize("share", [None, 0.875, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_those_of_training(share, interpolation):
  read = names_of("images.py")["read"]
  wanted = {
    "shape": ["batch", 24, 24, 3],
    "resized_inside": False,
    "resized_to": 24,
    "cropped_share": share,
    "interpolation": interpolation,
  }
  draw = np.random.default_rng(0)
  for height, width in ((24, 24), (40, 31), (17, 90), (200, 300)):
    pixels = draw.integers(0, 256, (height, width, 3), np.uint8)
    data = hostile.save(pixels, "PNG", exif=hostile.exif(6))
    upright = decode.decode(data)
    if share is not None:
      expected = resizing.resize_and_crop(
        upright, 24, share=share, interpolation=interpolation
      )
    elif interpolation == "bilinear":
      expected = resizing.resize(upright, 24)
    else:
      continue  # no run resizes so
    (found,) = read(io.BytesIO(data), wanted)
    np.testing.assert_array_equal(found, expected)
    wanted_inside = {
      **wanted,
      "shape": ["batch", "height", "width", 3],
      "resized_inside": True,
    }
    (found,) = read(io.BytesIO(data), wanted_inside)
    np.testing.assert_array_equal(found, upright)


@pytest.mark.parametrize(
  ("pixels", "message"),
  [
    (np.full((4, 4), 4000, np.uint16), "mode I;16"),
    (np.zeros((1, 9, 3), np.uint8), r"size \(9, 1\)"),
  ],
)
def test_images_that_pillow_would_get_wrong_are_refused(pixels, message):
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, "PNG")
  with pytest.raises(ValueError, match=message):
    names_of("images.py")["read"](content, {"resized_inside": True})


def test_images_of_a_size_that_the_file_does_not_take_are_refused():
  content = io.BytesIO()
  Image.new("RGB", (64, 48)).save(content, "PNG")
  read = names_of("images.py")["read"]
  wanted = {"resized_inside": True, "shape": ["batch", 48, 60, 3]}
  with pytest.raises(ValueError, match="64 pixels, where the file takes 60"):
    read(content, wanted)
  wanted["shape"] = ["batch", 48, 64, 3]
  assert read(content, wanted).shape == (1, 48, 64, 3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_energies_are_compared_with_validation(tmp_path, multi_label):
  logits = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
  energies = out_of_distribution.energies(logits, multi_label=multi_label)
  np.savez(tmp_path / "reference.npz", energies=energies[:40])
  expected = out_of_distribution.percentiles(
    energies[40:], np.sort(energies[:40])
  )
  found = names_of("strange.py")["energy_percentiles"](
    logits[40:], tmp_path, multi_label
  )
  np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  """(folder of the page's programs and of a network's files, the run)."""
  folder = tmp_path_factory.mktemp("serving")
  for name in re.findall(r"```python\n# (\w+\.py)\n", PAGE):
    (folder / name).write_text(program(name))
  config = toy.load(model__name="simple_cnn")
  toy.run(config, folder / "run")
  source = trained.from_run(reopen.open_run(folder / "run"))
  options = Options(size=(config.data.image_size,) * 2)
  for form, suffix in FORMATS.items():
    file = export_files.make(source, form, options)
    export_files.write(file, folder / f"model{suffix}")
  draw = np.random.default_rng(2)
  for number, size in enumerate(((32, 32), (50, 70), (33, 20))):
    pixels = draw.integers(0, 256, (*size, 3), np.uint8) // (number + 1)
    Image.fromarray(pixels).save(folder / f"{number}.png")
  pixels[:] = [200, 30, 90]
  data = hostile.save(pixels, "JPEG", exif=hostile.exif(6))
  (folder / "3.jpg").write_bytes(data)
  return folder


def images_of(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.glob("[0-9].*"))


def predictions(folder: pathlib.Path) -> dict[str, dict[str, float]]:
  """Class -> probability of each image, as `mn-jax predict` prints them."""
  loaded = predictor.from_workdir(folder / "run")
  paths = images_of(folder)
  rows = loaded.probabilities(loaded.read_image(p.read_bytes()) for p in paths)
  return {
    path.name: dict(zip(loaded.classes, row.tolist(), strict=True))
    for path, row in zip(paths, rows, strict=True)
  }


@pytest.mark.extended
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("form", PROGRAMS)
def test_programs_agree_with_predict(exported, form):
  names = [path.name for path in images_of(exported)]
  line = (f"with_{PROGRAMS[form]}.py", f"model{FORMATS[form]}", *names)
  done = subprocess.run(
    [sys.executable, "-c", ALONE, *line],
    cwd=exported,
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  found: dict = {}
  for row in done.stdout.splitlines():
    name, label, probability = re.fullmatch(r"(.+): (\w+) (.+)", row).groups()
    found.setdefault(name, {})[label] = float(probability)
  expected = predictions(exported)
  assert found.keys() == expected.keys()
  for name in names:
    assert found[name] == pytest.approx(expected[name], abs=2e-4)
  # The first of an image is the most probable.
  assert list(found["0.png"]) == sorted(
    found["0.png"], key=found["0.png"].get, reverse=True
  )
  answers = [tuple(row.values()) for row in expected.values()]
  assert np.std(answers, axis=0).min() > 1e-3


@pytest.fixture(scope="module")
def server(exported):
  """The port of the page's server, in a process of its own."""
  child = subprocess.Popen(
    [sys.executable, "-c", ALONE, "server.py", "model.onnx", "0"],
    cwd=exported,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )
  try:
    (port,) = re.findall(r":(\d+)/", child.stdout.readline())
    yield int(port)
  finally:
    child.kill()
    child.communicate()


def post(port, body, **headers):
  """(status, value) of a POST."""
  connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
  try:
    connection.request("POST", "/", body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
  finally:
    connection.close()


def large_png() -> bytes:
  """A PNG of a few bytes that says it has 10,000 x 10,000 pixels."""

  def chunk(kind, data):
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check

  head = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


@pytest.mark.extended
@pytest.mark.usefixtures("standard_promotion")
def test_the_server_answers_images_and_refuses_the_rest(exported, server):
  for name, expected in predictions(exported).items():
    code, found = post(server, (exported / name).read_bytes())
    assert code == 200
    assert found == pytest.approx(expected, abs=1e-4)
  bitmap = io.BytesIO()
  Image.new("RGB", (8, 8)).save(bitmap, "BMP")
  for body in (b"", b"\x89PNG", b"x" * 1000, large_png(), bitmap.getvalue()):
    code, found = post(server, body)
    assert (code, [*found]) == (400, ["error"])
  for length, expected in (
    ("10000001", 413),
    ("9" * 5000, 413),
    ("0" * 20 + "10000001", 413),
    ("-1", 411),
    ("1e3", 411),
    ("²", 411),
  ):
    headers = {"Content-Length": length.encode("utf-8")}
    assert post(server, b"x", **headers)[0] == expected
  # It still answers.
  assert post(server, (exported / "0.png").read_bytes())[0] == 200


@pytest.mark.extended
@pytest.mark.usefixtures("standard_promotion")
def test_ctrl_c_ends_the_server_without_a_traceback(exported):
  # A job in the background inherits that Ctrl-C is ignored.
  code = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    f"{ALONE}"
  )
  child = subprocess.Popen(
    [sys.executable, "-c", code, "server.py", "model.onnx", "0"],
    cwd=exported,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    assert child.stdout.readline().startswith("http://127.0.0.1:")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
  finally:
    child.kill()
  assert child.returncode == 0, err
  assert "Traceback" not in err


@pytest.mark.extended
@pytest.mark.usefixtures("standard_promotion")
def test_the_run_has_what_tells_strange_images(exported):
  logits = np.array([[3.0, -2.0], [0.1, 0.0]], np.float32)
  known = reference.read(exported / "run")
  features = np.zeros((2, len(known.mean)), np.float32)
  _, expected = known.percentiles(features, logits)
  found = names_of("strange.py")["energy_percentiles"](logits, exported / "run")
  np.testing.assert_allclose(found, expected, atol=100 / len(known.energies))


def test_pages_of_files_and_of_their_programs_are_linked():
  assert "(export.md" in PAGE
  assert "(serving.md" in TEXT["docs/export.md"]


def test_the_files_that_are_named_are_there():
  names = {f"with_{name}.py" for name in PROGRAMS.values()}
  assert set(re.findall(r"`python (\w+\.py) ", PAGE)) == names | {"server.py"}
