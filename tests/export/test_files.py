"""Exported files are written beside a description that is true."""

import dataclasses
import hashlib
import json
import os
import pathlib

import numpy as np
import pytest

import mn_jax
from mn_jax.deploy.model import Model
from mn_jax.errors import InputError, RunError
from mn_jax.export import description, files
from mn_jax.export.options import Options
from mn_jax.train import state
from tests.deploy import test_predictor as predictors
from tests.export import toy_networks as toy

finished = predictors.finished
pytestmark = predictors.pytestmark


def described(path: pathlib.Path) -> dict:
  return json.loads(files.description_path(path).read_text())


def test_a_run_is_described_without_its_place(finished, tmp_path):
  model = mn_jax.load(finished)
  path = model.export(tmp_path / "made" / "model.stablehlo", batch=2)
  found = described(path)
  assert found["network"] == "mobilenet_v1"
  assert found["classes"] == list(model.classes)
  assert not found["multi_label"]
  assert found["precision"] == "float32"
  assert found["calibration"] is None
  assert (
    found["input"]
    | {
      "name": "images",
      "dtype": "uint8",
      "shape": [2, "height", "width", 3],
      "channels": "RGB",
      "normalised_inside": True,
      "resized_inside": True,
      "resized_to": 32,
      "cropped_share": None,
      "resolution": 40,
    }
    == found["input"]
  )
  assert {
    name: output["shape"] for name, output in found["outputs"].items()
  } == {"probabilities": [2, 2], "logits": [2, 2]}
  run = model.saved_run()
  assert found["weights"] == {
    "experiment": run.config.experiment,
    "seed": run.config.seed,
    "step": run.step,
    **{f"{name}_sha256": digest for name, digest in run.digests.items()},
    "sha256": state.sha256(run.variables),
  }
  assert found["versions"]["mn_jax"] == mn_jax.__version__
  assert found["file"] == {
    "name": "model.stablehlo",
    "bytes": path.stat().st_size,
    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
  }
  text = files.description_path(path).read_text()
  assert str(finished) not in text
  assert ".png" not in text
  assert len(list(path.parent.iterdir())) == 2


def describe(options: Options, form="stablehlo", **changes) -> dict:
  made = toy.trained(**changes)
  of = files.source_lib.of(made)
  return description.describe(
    of, form, files.complete(form, options, made), origin={}
  )


def test_the_description_is_true_of_every_option():
  size = (toy.SIZE, toy.SIZE)
  ready = describe(Options(size=size))["input"]
  assert ready["shape"] == ["batch", *size, 3]
  assert not ready["resized_inside"]
  assert ready["normalised_inside"]
  other = describe(Options(size=(40, 50), batch=1))["input"]
  assert other["shape"] == [1, 40, 50, 3]
  assert other["resized_inside"]
  normalised = describe(Options(input="normalised"), resolution=48)["input"]
  assert normalised["dtype"] == "float32"
  assert normalised["shape"] == ["batch", 48, 48, 3]
  assert not normalised["normalised_inside"]
  assert (normalised["mean"], normalised["std"]) == ([0.5] * 3, [0.5] * 3)
  lite = describe(Options(), "litert")
  assert lite["format"] == "LiteRT"
  assert lite["input"]["shape"] == ["batch", *size, 3]
  assert "litert-converter" in lite["versions"]
  labels = describe(Options(), multi_label=True)
  assert labels["multi_label"]
  meanings = [x["meaning"] for x in labels["outputs"].values()]
  assert meanings == ["probability of each label", "before the sigmoid"]


@pytest.mark.parametrize(
  ("form", "options", "message"),
  [
    ("coreml", Options(), "format: got 'coreml'; valid: litert, onnx, stable"),
    ("onnx", Options("int4"), "precision: got 'int4'; valid: float32, float"),
    (
      "stablehlo",
      Options("int8_full"),
      "precision: got 'int8_full' for stablehlo, whose products are in float32",
    ),
    ("onnx", Options(input="bytes"), "input: got 'bytes'; valid: pixels, nor"),
    ("onnx", Options(batch=0), "batch: got 0; valid: 1 to 4096"),
    ("onnx", Options(batch=1.5), r"batch: got 1\.5; valid: 1 to 4096"),
    ("onnx", Options(size=(0, 9)), "size: got 0; valid: 1 to 4096"),
    (
      "onnx",
      Options(input="normalised", size=(9, 9)),
      r"size: got \(9, 9\) of normalised images",
    ),
    ("onnx", Options("int8_full"), "calibration: got no images for int8_full"),
  ],
)
def test_wrong_options_are_one_line(form, options, message):
  with pytest.raises(InputError, match=message) as caught:
    files.make(toy.trained(), form, options)
  assert "\n" not in str(caught.value)


def test_the_suffix_says_the_format(tmp_path):
  model = Model(toy.trained())
  with pytest.raises(InputError, match=r"path: got .*a'; valid: .* \*\.tflite"):
    model.export(tmp_path / "a")
  path = model.export(tmp_path / "a", format="stablehlo")
  assert described(path)["file"]["name"] == "a"


def test_nothing_is_left_where_nothing_can_be_written(tmp_path, monkeypatch):
  model = Model(toy.trained())
  (tmp_path / "file").touch()
  (tmp_path / "b.stablehlo").mkdir()
  for path in (tmp_path / "file" / "a.stablehlo", tmp_path / "b.stablehlo"):
    with pytest.raises(InputError, match=r"path: got .* cannot be wri"):
      model.export(path)
  assert sorted(x.name for x in tmp_path.iterdir()) == ["b.stablehlo", "file"]
  (tmp_path / "d.stablehlo.json").mkdir()
  with pytest.raises(InputError, match=r"path: got .* cannot be wri"):
    model.export(tmp_path / "d.stablehlo")
  assert not (tmp_path / "d.stablehlo").exists()
  before = model.export(tmp_path / "c.stablehlo").read_bytes()
  json_before = (tmp_path / "c.stablehlo.json").read_text()
  left = sorted(path.name for path in tmp_path.iterdir())

  def full(*_):
    raise OSError(28, os.strerror(28))

  monkeypatch.setattr(pathlib.Path, "replace", full)
  model = Model(dataclasses.replace(toy.trained(), classes=("x", "y", "z")))
  with pytest.raises(RunError, match=r"cannot be written \(No space left"):
    model.export(tmp_path / "c.stablehlo")
  assert (tmp_path / "c.stablehlo").read_bytes() == before
  assert (tmp_path / "c.stablehlo.json").read_text() == json_before
  assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_a_model_of_random_weights_says_so(tmp_path):
  model = Model(dataclasses.replace(toy.trained(), random="network"))
  with pytest.warns(UserWarning, match="these results mean nothing yet"):
    model.export(tmp_path / "a.stablehlo")


def test_files_are_opened_by_their_runtime():
  made = files.make(toy.trained(), "stablehlo", Options())
  assert made.name == "mobilenet_v1_0.125-float32.stablehlo"
  assert made.sha256 == hashlib.sha256(made.data).hexdigest()
  found = made.open().run(toy.images(2))
  assert np.isfinite(found.logits).all()


def test_what_no_runtime_opens_is_not_handed_out(monkeypatch):
  stablehlo = files.module("stablehlo")
  monkeypatch.setattr(stablehlo, "export", lambda *_, **__: b"broken")
  with pytest.raises(RunError, match="its own runtime refuses it") as caught:
    files.make(toy.trained(), "stablehlo", Options())
  assert "\n" not in str(caught.value)
