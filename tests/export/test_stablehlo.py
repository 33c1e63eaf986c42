"""Networks as StableHLO, which a process runs that has JAX alone."""

import importlib.util
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export as jax_export

import mn_jax
from mn_jax.deploy import folded, trained
from mn_jax.errors import InputError
from mn_jax.export import fitting, source, stablehlo
from mn_jax.export.options import OUTPUTS, PRECISIONS_OF, Options
from mn_jax.models import registry
from tests.deploy import test_predictor as predictors
from tests.export import toy_networks as toy
from tests.export import toy_sources

finished = predictors.finished
pytestmark = predictors.pytestmark

LOADER = """
import sys
import jax
import numpy as np
from jax import export
with open(sys.argv[1], "rb") as file:
  exported = export.deserialize(bytearray(file.read()))
call = jax.jit(exported.call)
images = np.load(sys.argv[2])
np.savez(
  sys.argv[3],
  **{
    f"{name} {output}": values
    for name in images
    for output, values in call(images[name]).items()
  },
)
other = {"mn_jax", "flax", "PIL", "optax"} & {*sys.modules}
assert not other, other
"""


def test_a_process_with_jax_alone_predicts_the_same(finished, tmp_path):
  model = mn_jax.load(finished)
  path = model.export(tmp_path / "made" / "model.stablehlo")
  images = {
    "one": toy.images(1),
    "several": toy.images(3),
    "large": toy.images(2, 60, 50),
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
  assert {*found} == {
    f"{name} {output}" for name in images for output in OUTPUTS
  }
  for name, batch in images.items():
    probabilities = found[f"{name} probabilities"]
    # Which differs from Pillow's result by a level of grey in some pixels.
    fitted = fitting.fit(batch, 32, crop=None, interpolation="bilinear")
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, model.predict(fitted), atol=1e-5)
    np.testing.assert_allclose(probabilities, model.predict(batch), atol=0.05)
    np.testing.assert_allclose(
      jax.nn.softmax(found[f"{name} logits"]), probabilities, atol=1e-6
    )
  assert np.std(found["several probabilities"]) > 1e-4


def _logits(made) -> np.ndarray:
  network = folded.Folded(
    made.network, made.variables, resolution=0, precision="float32"
  )
  return np.stack([*network.logits(toy.images(3), batch_size=4)])


# Of the largest logit: float16 keeps 11 bits, 8-bit kernels move by 0.4 %.
GAPS = {
  "float32": (0, 1e-6),
  "float16": (1e-6, 2e-3),
  "int8_weights": (1e-4, 0.05),
}
SIZES = {"float32": 1.0, "float16": 0.62, "int8_weights": 0.45}


@pytest.mark.parametrize("precision", PRECISIONS_OF["stablehlo"])
def test_precisions_are_as_close_and_as_small_as_they_say(precision):
  made = toy.trained()
  expected = _logits(made)
  images = toy.images(3)
  size = (toy.SIZE, toy.SIZE)
  data = {
    name: stablehlo.export(
      source.of(made), Options(name, batch=3, size=size), description=""
    )
    for name in ("float32", precision)
  }
  session = stablehlo.open_bytes(data[precision])
  assert session.batch == 3
  found = session.run(images)
  gap = np.abs(found.logits - expected).max() / np.abs(expected).max()
  low, high = GAPS[precision]
  assert low <= gap < high
  assert len(data[precision]) <= SIZES[precision] * len(data["float32"])


def test_sizes_and_batch_may_be_open_or_fixed():
  made = toy.trained()
  of = source.of(made)
  images = toy.images(2)
  expected = _logits(made)[:2]
  wide = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
  assert int(toy.SIZE / made.crop) == wide.shape[1]  # so its middle is cropped
  normalised = np.asarray(of.normalise(images))
  for options, batch in (
    (Options(), wide),
    (Options(size=wide.shape[1:3]), wide),
    (Options(size=(toy.SIZE, toy.SIZE)), images),
    (Options(batch=2), wide),
    (Options(input="normalised"), normalised),
  ):
    session = stablehlo.open_bytes(
      stablehlo.export(of, options, description="")
    )
    assert session.batch == options.batch
    np.testing.assert_allclose(
      session.run(batch).logits, expected, atol=1e-4, err_msg=str(options)
    )
    if options.batch is None:
      assert session.run(batch[:1]).logits.shape == (1, 3)


@pytest.mark.parametrize("multi_label", [False, True])
def test_probabilities_are_those_of_the_labels(multi_label):
  made = toy.trained(multi_label=multi_label)
  options = Options(size=(toy.SIZE, toy.SIZE))
  session = stablehlo.open_bytes(
    stablehlo.export(source.of(made), options, description="")
  )
  found = session.run(toy.images(3))
  activation = jax.nn.sigmoid if multi_label else jax.nn.softmax
  np.testing.assert_allclose(
    found.probabilities, activation(found.logits), atol=1e-6
  )
  is_one = np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
  assert is_one != multi_label


def test_what_it_cannot_do_is_one_line(monkeypatch):
  made = toy.trained()
  of = source.of(made)
  kernel = of.variables["params"]["head"]["logits"]["kernel"]
  kernel[0, 0] = 1e5
  with pytest.raises(InputError, match="head/logits/kernel overflows"):
    stablehlo.export(of, Options("float16"), description="")
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name: None if name == "flatbuffers" else find(name),
  )
  for attempt in (
    lambda: stablehlo.export(of, Options(), description=""),
    lambda: stablehlo.open_bytes(b""),
  ):
    with pytest.raises(InputError, match=r"pip install '.\[export\]"):
      attempt()


def test_broken_and_foreign_files_are_one_line():
  data = stablehlo.export(
    source.of(toy.trained()), Options(batch=1), description=""
  )
  other = jax_export.export(jax.jit(lambda x: x + 1))(np.zeros(3, np.float32))
  for broken in (
    b"",
    b"PK\x03\x04 of another kind",
    data[: len(data) // 2],
    data[:200],
    bytes(other.serialize()),
  ):
    with pytest.raises(InputError, match="no StableHLO of this") as caught:
      stablehlo.open_bytes(broken)
    assert "\n" not in str(caught.value)


def test_depthwise_kernels_stay_exact_enough():
  """They are few, and lose the most in 8 bits."""
  network = registry.describe("mobilenet_v1", num_classes=3, width=0.125)
  made = trained.initial(network, ("a", "b", "c"), seed=0)
  params = source.of(made).variables["params"]
  stored = stablehlo._stored(params, "int8_weights")
  depthwise = stored["backbone"]["block3"]["depthwise"]["conv"]["kernel"]
  pointwise = stored["backbone"]["block3"]["pointwise"]["conv"]["kernel"]
  assert depthwise.dtype == np.float16
  assert pointwise.values.dtype == np.int8
  assert stored["head"]["logits"]["kernel"].values.dtype == np.int8
  assert stored["backbone"]["stem"]["conv"]["kernel"].values.dtype == np.int8


@pytest.mark.extended
@pytest.mark.parametrize("name", registry.MODELS)
def test_every_network_computes_the_same(name):
  made = toy_sources.make(name)
  images = toy_sources.images(made, 2)
  session = stablehlo.open_bytes(
    stablehlo.export(made, Options(size=images.shape[1:3]), description="")
  )
  expected = toy_sources.logits(made, images)
  assert np.std(expected, axis=0).min() > 1e-4
  np.testing.assert_allclose(session.run(images).logits, expected, atol=1e-4)
