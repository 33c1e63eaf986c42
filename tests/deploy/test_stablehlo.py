"""Networks as StableHLO, which a process runs that has JAX alone."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import mn_jax
from mn_jax.data import decode
from mn_jax.deploy import stablehlo
from mn_jax.deploy.model import Model
from mn_jax.models import registry
from mn_jax.models.spec import Conventions
from tests.deploy import test_predictor as predictors

finished = predictors.finished
pytestmark = predictors.pytestmark
_DRAW = np.random.default_rng(0)


def smooth(height: int, width: int) -> np.ndarray:
  """u8[h, w, 3] with edges and gradients, as photographs have them."""
  y, x = np.mgrid[:height, :width]
  waves = [np.sin(x / 3 + c) + np.cos(y / (4 + c)) for c in range(3)]
  noise = _DRAW.normal(0, 0.3, (height, width, 3))
  return ((np.stack(waves, -1) + noise) * 60 + 128).clip(0, 255).astype("u1")


@pytest.mark.parametrize("crop", [None, 1.0, 0.875, 0.7])
@pytest.mark.parametrize("shape", [(31, 50), (97, 64), (32, 32), (20, 20)])
def test_images_are_fitted_as_files_are(crop, shape):
  image = smooth(*shape)
  fitted = jax.jit(
    lambda x: stablehlo.fit(x, 32, crop=crop, interpolation="bilinear")
  )(image[None])
  expected = decode.resize(image, 32)
  if crop is not None:
    expected = decode.resize_and_crop(image, 32, share=crop)
  assert fitted.dtype == np.uint8
  # Pillow rounds after each of the two directions.
  difference = np.abs(np.asarray(fitted[0]).astype(int) - expected)
  assert difference.max() <= 1
  if shape == (32, 32) and crop in (None, 1.0):
    assert not difference.any()


LOADER = """
import sys
import jax
import numpy as np
from jax import export
with open(sys.argv[1], "rb") as file:
  exported = export.deserialize(bytearray(file.read()))
call = jax.jit(exported.call)
images = np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: call(images[name]) for name in images})
other = {"mn_jax", "flax", "PIL", "optax"} & {*sys.modules}
assert not other, other
"""


def test_a_process_with_jax_alone_predicts_the_same(finished, tmp_path):
  model = mn_jax.load(finished)
  path = model.export(tmp_path / "made" / "model.stablehlo")
  images = {
    "one": smooth(32, 32)[None],
    "several": np.stack([smooth(32, 32) for _ in range(3)]),
    "large": np.stack([smooth(60, 50) for _ in range(2)]),
  }
  np.savez(tmp_path / "images.npz", **images)
  files = [path, tmp_path / "images.npz", tmp_path / "out.npz"]
  done = subprocess.run(
    [sys.executable, "-I", "-c", LOADER, *files],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  found = np.load(tmp_path / "out.npz")
  for name, batch in images.items():
    # Which differs from Pillow's result by a level of grey in some pixels.
    fitted = stablehlo.fit(batch, 32, crop=None, interpolation="bilinear")
    assert found[name].dtype == np.float32
    np.testing.assert_allclose(found[name], model.predict(fitted), atol=1e-5)
    np.testing.assert_allclose(found[name], model.predict(batch), atol=0.05)
  assert np.std(found["several"]) > 1e-4
  described = json.loads((tmp_path / "made/model.stablehlo.json").read_text())
  assert described["classes"] == list(model.classes)
  assert described["input"]["resized_to"] == 32
  assert described["input"]["resolution"] == 40
  assert described["versions"]["mn_jax"] == mn_jax.__version__
  assert len(list((tmp_path / "made").iterdir())) == 2


def _labels(multi_label: bool) -> Model:
  """A tiny network whose classes exclude each other, or do not."""
  network = registry.describe(
    "simple_cnn",
    num_classes=3,
    width=0.05,
    conventions=Conventions(
      mean=(0.5,) * 3, std=(0.5,) * 3, resolution=32, interpolation="bicubic"
    ),
  )
  from mn_jax.deploy import trained

  made = trained.initial(network, ("a", "b", "c"), seed=0)
  made.variables["params"]["head"]["logits"]["bias"][:] = (0, 1, -2)
  return Model(dataclasses.replace(made, multi_label=multi_label, random=""))


@pytest.mark.parametrize("multi_label", [False, True])
def test_probabilities_are_those_of_the_labels(multi_label, tmp_path):
  model = _labels(multi_label)
  path = model.export(tmp_path / "a.stablehlo")
  images = np.stack([smooth(36, 36) for _ in range(3)])
  exported = jax.export.deserialize(bytearray(path.read_bytes()))
  found = jax.jit(exported.call)(images)
  np.testing.assert_allclose(found, model.predict(images), atol=1e-3)
  is_one = np.allclose(found.sum(axis=1), 1, atol=1e-6)
  assert is_one != multi_label
  described = json.loads((tmp_path / "a.stablehlo.json").read_text())
  assert ("each label" in described["output"]["meaning"]) == multi_label


def test_what_is_missing_is_one_line(tmp_path, monkeypatch):
  model = _labels(False)
  (tmp_path / "file").touch()
  for path in (tmp_path / "file" / "a", tmp_path):
    with pytest.raises(mn_jax.InputError, match=r"path: got .* cannot be wri"):
      model.export(path)
  find = stablehlo.importlib.util.find_spec
  monkeypatch.setattr(
    stablehlo.importlib.util,
    "find_spec",
    lambda name: None if name == "flatbuffers" else find(name),
  )
  with pytest.raises(mn_jax.InputError, match=r"pip install 'mn_jax\[export\]"):
    model.export(tmp_path / "a")
  assert [path.name for path in tmp_path.iterdir()] == ["file"]
