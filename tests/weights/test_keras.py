"""Every network of Keras Applications against Keras itself."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import flax.traverse_util
import jax
import keras_oracle
import numpy as np
import pytest

from mn_jax.models import registry, variables
from mn_jax.weights import pretrained

WIDTHS = {"mobilenet_v1": 0.5, "mobilenet_v2": 0.35}
# Keras's own preprocessing turns the channels for these.
BLUE_FIRST = ("resnet50", "resnet152", "vgg16")

pytestmark = pytest.mark.skipif(
  importlib.util.find_spec("keras") is None,
  reason="needs the extra 'parity'",
)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
  """Folder of what `keras_oracle` wrote."""
  folder = tmp_path_factory.mktemp("keras")
  done = subprocess.run(
    [sys.executable, pathlib.Path(keras_oracle.__file__), folder],
    env=os.environ | {"KERAS_HOME": str(folder)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  yield folder
  shutil.rmtree(folder)


def load(oracle, case, suffix=""):
  minimalistic = case.endswith("_minimalistic")
  name = case.removesuffix("_minimalistic")
  network = registry.describe(
    name,
    num_classes=keras_oracle.CLASSES,
    width=WIDTHS.get(name, 1.0),
    options=registry.Options(minimalistic=minimalistic),
  )
  return pretrained.load(str(oracle / f"{case}{suffix}.h5"), network)


def images(oracle, case):
  """{size: (images in our order of channels, Keras's logits)}."""
  recorded = np.load(oracle / f"{case}.npz")
  sizes = [int(key[1:]) for key in recorded.files if key.startswith("x")]
  order = slice(None, None, -1 if case in BLUE_FIRST else 1)
  return {
    size: (
      np.ascontiguousarray(recorded[f"x{size}"][..., order]),
      recorded[f"y{size}"],
    )
    for size in sizes
  }


@pytest.mark.parametrize("case", [row[0] for row in keras_oracle.CASES])
def test_logits_are_those_of_keras(oracle, case):
  loaded = load(oracle, case)
  module = registry.build(loaded.network)
  apply = jax.jit(lambda v, x: module.apply(v, x, False))
  for size, (x, expected) in images(oracle, case).items():
    initial = variables.initial_values(module, size, 0)
    logits, features = apply(pretrained.insert(loaded, initial), x)
    # VGG16's own head would be for 224 px alone.
    got = features["pooled"] if case == "vgg16" else logits
    assert np.ptp(expected, axis=0).mean() > 1e-2
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("case", keras_oracle.TRAINED)
def test_training_moves_statistics_as_in_keras(oracle, case):
  before, after = load(oracle, case), load(oracle, case, "_after")
  (size, (x, _)), *_ = images(oracle, case).items()
  momentum = 0.999 if case in keras_oracle.SLOW else 0.99
  module = registry.build(before.network, norm_momentum=momentum)
  values = pretrained.insert(before, variables.initial_values(module, size, 0))
  _, updated = jax.jit(
    lambda v, x: module.apply(v, x, True, mutable=["batch_stats"])
  )(values, x)
  flat = flax.traverse_util.flatten_dict(updated["batch_stats"], sep="/")
  moved = 0.0
  for name, old in before.tensors.items():
    if name in flat:
      step = after.tensors[name] - old
      scale = max(1e-3, np.abs(step).max())
      np.testing.assert_allclose(flat[name] - old, step, atol=1e-2 * scale)
      moved = max(moved, np.abs(step).max())
  assert moved > 1e-4
