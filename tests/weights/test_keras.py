"""Every network of Keras Applications against Keras itself."""

import importlib.util
import os
import shutil
import subprocess
import sys

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.weights import pretrained
from tests.weights import keras_oracle

WIDTHS = {"mobilenet_v1": 0.5, "mobilenet_v2": 0.35}
# Keras's own preprocessing turns the channels for these.
BLUE_FIRST = ("resnet50", "resnet152", "vgg16")

pytestmark = pytest.mark.skipif(
  importlib.util.find_spec("keras") is None,
  reason="needs the extra 'parity'",
)


@pytest.fixture(scope="module")
def oracle(request, tmp_path_factory):
  """Folder of what `keras_oracle` wrote for the tests that will run."""
  folder = tmp_path_factory.mktemp("keras")
  cases = {
    item.callspec.params["case"]
    for item in request.session.items
    if item.path == request.path
  }
  done = subprocess.run(
    [sys.executable, keras_oracle.__file__, folder, *sorted(cases)],
    env=os.environ | {"KERAS_HOME": str(folder)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  yield folder
  shutil.rmtree(folder)


def load(oracle, case, suffix=".h5"):
  name = case.split("-")[0]
  minimalistic = name.endswith("_minimalistic")
  name = name.removesuffix("_minimalistic")
  network = registry.describe(
    name,
    num_classes=keras_oracle.CLASSES,
    width=WIDTHS.get(name, 1.0),
    options=registry.Options(minimalistic=minimalistic),
  )
  return pretrained.load(str(oracle / f"{case}{suffix}"), network)


def recorded(oracle, case):
  """(images in our order of channels, Keras's logits)."""
  with np.load(oracle / f"{case}.npz") as file:
    x, y = file["x"], file["y"]
  turned = case.startswith(BLUE_FIRST)
  return np.ascontiguousarray(x[..., ::-1]) if turned else x, y


def cases(names, fast):
  """Each case; those of large networks in the extended tier."""
  return [
    case if case in fast else pytest.param(case, marks=pytest.mark.extended)
    for case in names
  ]


@pytest.mark.parametrize(
  "case",
  [
    *cases(keras_oracle.CASES, ("mobilenet_v1-65",)),
    *(
      pytest.param(case, marks=pytest.mark.slow)
      for case in keras_oracle.MORE_CASES
    ),
  ],
)
def test_logits_are_those_of_keras(oracle, case):
  loaded = load(oracle, case)
  module = registry.build(loaded.network)
  x, expected = recorded(oracle, case)
  values = pretrained.insert(
    loaded, variables.initial_values(module, x.shape[1], 0)
  )
  logits, features = jax.jit(lambda v, x: module.apply(v, x, False))(values, x)
  # VGG16's own head would be for 224 px alone.
  got = features["pooled"] if case.startswith("vgg16") else logits
  assert np.ptp(expected, axis=0).mean() > 1e-2
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


def check_equal(tensors, expected):
  assert tensors.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(tensors[name], value, err_msg=name)


@pytest.mark.parametrize(
  "case",
  cases(keras_oracle.CASES, ("mobilenet_v1-65", "mobilenet_v3_small-50")),
)
def test_files_of_keras_3_have_the_same_tensors(oracle, case):
  legacy = load(oracle, case)
  for suffix in (".keras", ".weights.h5"):
    loaded = load(oracle, case, suffix)
    check_equal(loaded.tensors, legacy.tensors)
    assert loaded.network == legacy.network
    assert loaded.origin.num_classes == legacy.origin.num_classes
    assert loaded.origin.head_problem == legacy.origin.head_problem == ""


@pytest.mark.parametrize("case", [keras_oracle.NESTED])
def test_a_network_in_another_is_found(oracle, case):
  legacy = load(oracle, case)
  for suffix in ("_nested.keras", "_nested.weights.h5"):
    loaded = load(oracle, case, suffix)
    # Its head of three classes is that of MobileNetV1, too.
    assert loaded.origin.num_classes == 3
    of_head = {k for k in loaded.tensors if k.startswith("head/")}
    assert loaded.tensors["head/logits/bias"].shape == (3,)
    check_equal(
      {k: v for k, v in loaded.tensors.items() if k not in of_head},
      {k: v for k, v in legacy.tensors.items() if k not in of_head},
    )


@pytest.mark.parametrize("case", [keras_oracle.NESTED])
def test_another_preprocessing_is_refused(oracle, case):
  with pytest.raises(InputError, match=r"a Rescaling, maps x to 0\.0039"):
    load(oracle, case, "_rescaled.keras")


@pytest.mark.parametrize("case", [keras_oracle.NESTED])
def test_bfloat16_is_converted_and_said(oracle, case):
  legacy, loaded = load(oracle, case), load(oracle, case, "_bfloat16.keras")
  assert legacy.origin.note == ""
  assert "16 bits are converted to float32" in loaded.origin.note
  assert loaded.tensors.keys() == legacy.tensors.keys()
  for name, value in legacy.tensors.items():
    assert loaded.tensors[name].dtype == np.float32
    np.testing.assert_allclose(
      loaded.tensors[name], value, rtol=2**-8, err_msg=name
    )


@pytest.mark.parametrize(
  "case", cases(keras_oracle.TRAINED, ("mobilenet_v1-65",))
)
def test_training_moves_statistics_as_in_keras(oracle, case):
  before, after = load(oracle, case), load(oracle, case, "_after.h5")
  x, _ = recorded(oracle, case)
  momentum = 0.999 if case in keras_oracle.SLOW else 0.99
  module = registry.build(before.network, norm_momentum=momentum)
  values = pretrained.insert(
    before, variables.initial_values(module, x.shape[1], 0)
  )
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
