"""What a model makes of images in every form that Python code has them."""

import json
import os

import numpy as np
import pytest
from PIL import Image

import mn_jax
from mn_jax.data import decode, resizing
from mn_jax.tools import predict as program
from tests.data import hostile_images as hostile
from tests.deploy import test_predictor as predictors

finished = predictors.finished
pytestmark = predictors.pytestmark
_DRAW = np.random.default_rng(0)
PIXELS = _DRAW.integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model(finished):
  return mn_jax.load(finished)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Images of several formats and sizes, one of them turned."""
  folder = tmp_path_factory.mktemp("images")
  for number, pixels in enumerate(PIXELS):
    Image.fromarray(pixels).save(folder / f"{number}.png")
  wide = _DRAW.integers(0, 256, (300, 200, 3), np.uint8)
  data = hostile.save(wide, "JPEG", exif=hostile.exif(6), quality=95)
  (folder / "5.jpg").write_bytes(data)
  Image.fromarray(wide[..., 0]).save(folder / "6.tif")
  Image.fromarray(wide).convert("RGBA").save(folder / "7.png")
  return sorted(folder.iterdir())


def test_predictions_are_those_of_the_program(model, files, finished, capsys):
  arguments = ["--format=json", "--top=2", f"--workdir={finished}"]
  assert program.main([*arguments, str(files[0].parent)]) == 0
  printed = json.loads(capsys.readouterr().out)
  assert [row["file"] for row in printed] == [str(file) for file in files]
  expected = np.zeros((len(files), 2), np.float32)
  for row, result in zip(expected, printed, strict=True):
    for entry in result["top"]:
      row[entry["index"]] = entry["probability"]
  predicted = model.predict(files)
  assert predicted.dtype == np.float32
  assert np.std(predicted[:, 0]) > 1e-4
  np.testing.assert_array_equal(predicted, expected)
  np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)


def test_forms_of_images_are_alike(model, files):
  paths = files[:5]
  expected = model.predict(paths)
  opened = [Image.open(path) for path in paths]
  for images in (
    [str(path) for path in paths],
    (path for path in paths),
    np.array([str(path) for path in paths]),
    np.array(paths, object),
    PIXELS,
    list(PIXELS),
    opened,
    [paths[0], PIXELS[1], opened[2], str(paths[3]), PIXELS[4]],
  ):
    np.testing.assert_array_equal(model.predict(images), expected)
  for image in (paths[0], str(paths[0]), PIXELS[0], opened[0]):
    one = model.predict(image)
    assert one.shape == (1, 2)
    # A program for one image may round in another way than one for eight.
    np.testing.assert_allclose(one, expected[:1], atol=1e-5)


def test_channels_mean_what_they_mean_in_files(model):
  grey, colour = PIXELS[..., 0], PIXELS
  alpha = np.concatenate([colour, grey[..., None]], axis=-1)
  as_grey = np.repeat(grey[..., None], 3, axis=-1)
  for images, expected in (
    (grey[0], as_grey[:1]),
    (grey[..., None], as_grey),
    (list(grey), as_grey),
    (alpha, colour),
    ([Image.fromarray(image) for image in alpha], colour),
    ([Image.fromarray(image) for image in grey], as_grey),
  ):
    np.testing.assert_array_equal(model.prepare(images), expected)


def test_other_sizes_are_fitted_as_in_training(model, files):
  """The run squeezes, and JPEG files may be decoded at a smaller scale."""
  for path in files[5:]:
    pixels = decode.decode(path.read_bytes())
    expected = resizing.resize(pixels, 32)[None]
    with Image.open(path) as image:
      np.testing.assert_array_equal(model.prepare(image), expected)
    np.testing.assert_array_equal(model.prepare(pixels), expected)
  turned, grey, alpha = files[5:]
  np.testing.assert_array_equal(
    model.prepare(turned)[0], decode.decode(turned.read_bytes(), 32)
  )
  assert (model.prepare([grey, alpha])[0] == model.prepare(grey)).all()


def test_no_images_have_no_rows(model):
  assert model.predict([]).shape == (0, 2)
  assert model.features([]).shape == (0, model.features(PIXELS).shape[1])
  assert model.explain([]).shape == (0, 40, 40)
  assert model.prepare([]).shape == (0, 32, 32, 3)
  assert model.predict(PIXELS[:0]).dtype == np.float32


def test_features_are_what_the_head_sees(model, finished):
  features = model.features(PIXELS)
  assert features.dtype == np.float32
  x = PIXELS.astype(np.float32) / 127.5 - 1
  # The network's input is 40 pixels; the module's is any.
  expected = model.module.apply(model.variables, x, method="extract")
  assert features.shape == expected.shape
  small = mn_jax.load(finished)
  np.testing.assert_array_equal(small.features(list(PIXELS)), features)


def test_maps_explain_the_class_that_is_asked_for(model):
  likeliest = model.predict(PIXELS).argmax(axis=1)
  maps = model.explain(PIXELS)
  assert (maps.shape, maps.dtype) == ((5, 40, 40), np.float32)
  assert maps.max() > 0
  for classes in (likeliest, [model.classes[i] for i in likeliest]):
    np.testing.assert_array_equal(model.explain(PIXELS, classes), maps)
  np.testing.assert_array_equal(
    model.explain(PIXELS[:1], likeliest[0]), model.explain(PIXELS[:1])
  )
  both = np.stack([model.explain(PIXELS, i, method="gradient") for i in (0, 1)])
  # Rows have gradients of their own, whatever their batch; ten are two batches.
  twice = model.explain(
    np.concatenate([PIXELS, PIXELS]), [0] * 5 + [1] * 5, method="gradient"
  )
  np.testing.assert_allclose(twice, both.reshape(10, 40, 40), atol=1e-4)
  for classes, message in (
    ("cat", "classes: got 'cat'; valid: no_idc, idc, or an index where s"),
    (2, "classes: got 2; valid: 0 to 1"),
    (-1, "classes: got -1; valid: 0 to 1"),
    ([0.7], "classes: got 0.7 of type float; valid: names or indices"),
    ([True], "classes: got True of type bool; valid: names or indices"),
    ([0, 1], "classes: got 2 for 5 images; valid: one for all, or one for e"),
  ):
    with pytest.raises(mn_jax.InputError, match=message):
      model.explain(PIXELS, classes)
  with pytest.raises(mn_jax.InputError, match="method: got 'x'; valid: gradie"):
    model.explain(PIXELS, method="x")


def test_unreadable_images_are_named_together(model, files, tmp_path):
  bad = [tmp_path / f"bad{number}.png" for number in range(7)]
  for path in bad:
    path.write_bytes(b"\x89PNG\r\n\x1a\n no more")
  with pytest.raises(mn_jax.InputError) as caught:
    model.predict([files[0], *bad, files[1], Image.new("F", (3, 3))])
  text = str(caught.value)
  assert text.startswith("images: got 8 that cannot be read (")
  assert text.count("\n") == 0
  assert [str(path) in text for path in bad] == [True] * 5 + [False] * 2
  assert "; and 3 more); valid: readable PNG, " in text
  cut = tmp_path / "cut.png"
  cut.write_bytes(files[0].read_bytes()[:-100])
  with pytest.raises(mn_jax.InputError, match=r"\(.*/cut.png: "):
    model.features(Image.open(cut))
  with pytest.raises(mn_jax.InputError, match=r"\(images\[1\]: pixels of mod"):
    model.explain([files[0], Image.new("F", (3, 3))])


@pytest.mark.parametrize(
  ("images", "message"),
  [
    (PIXELS / 255, r"images: got an array of float64; valid: uint8.*255 \* x"),
    (PIXELS.astype(int), r"images: got an array of int64; valid: .*image$"),
    (PIXELS[0] > 9, r"images\[0\]: got an array of bool; valid"),
    (PIXELS.transpose(0, 3, 1, 2), r"images: got .* shape \(5, 3, 32, 32\)"),
    ([PIXELS], r"images\[0\]: got an array of shape \(5, 32, 32, 3\)"),
    (PIXELS[None], r"images\[0\]: got an array of shape \(1, 5, 32, 32, 3\)"),
    (PIXELS[:, :0], r"images: got an array of shape \(5, 0, 32, 3\)"),
    (PIXELS[0, ..., :2], r"images\[0\]: got an array of shape \(32, 32, 2\)"),
    (3, "images: got builtins.int; valid: paths, uint8 arrays and PIL"),
    (b"a", "images: got builtins.bytes; valid"),
    ([None], r"images\[0\]: got builtins.NoneType; valid: paths"),
    ("none.jpg", r"images\[0\]: got 'none.jpg', which is neither a file"),
    (["https://x/a.jpg"], r"images\[0\]: got .*, which is no file on this"),
    (os.curdir, r"images\[0\]: got '\.', which holds 0 images; valid: the"),
  ],
)
def test_what_is_no_image_is_refused(
  images, message, model, monkeypatch, tmp_path
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(mn_jax.InputError, match=message) as caught:
    model.predict(images)
  assert "\n" not in str(caught.value)


def test_sizes_of_batches_compile_few_programs(model):
  program = model._folded.program
  for count in range(1, 10):
    model.predict(PIXELS[[0] * count], batch_size=4)
  assert program._cache_size() <= 3 + 1  # 1, 2, 4; and 8 of other tests
  for size in (0, True, 2.5, "4"):
    with pytest.raises(mn_jax.InputError, match="batch_size: got"):
      model.predict(PIXELS, batch_size=size)
