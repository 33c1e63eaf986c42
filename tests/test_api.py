"""Tests of what Python's users call."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import mn_jax
from mn_jax.models import registry
from mn_jax.run import reopen
from mn_jax.train import checkpoint
from tests import toy_transfer as toy
from tests.deploy import test_predictor as predictors
from tests.weights import toy_h5

finished = predictors.finished
pytestmark = predictors.pytestmark
ROOT = pathlib.Path(__file__).parents[1]


def test_importing_loads_nothing_else():
  code = (
    "import sys; before = {*sys.modules}; import mn_jax; dir(mn_jax); "
    "mn_jax.__all__; print(sorted({*sys.modules} - before))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
  )
  assert (done.stdout, done.stderr) == ("['mn_jax']\n", "")


def test_the_names_are_there_and_no_others():
  for name in mn_jax.__all__:
    assert getattr(mn_jax, name).__doc__, name
    assert name in dir(mn_jax)
  with pytest.raises(AttributeError, match="has no attribute 'laod'"):
    _ = mn_jax.laod
  assert mn_jax.list_models() == list(registry.MODELS)


def test_only_its_own_programs_take_signals_over(tmp_path):
  """Another package that is run by `python -m` keeps its handlers."""
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "__init__.py").write_text(
    "import signal; before = signal.getsignal(2); import mn_jax"
  )
  (tmp_path / "other" / "program.py").write_text(
    "import signal, other; print(signal.getsignal(2) is other.before)"
  )
  done = subprocess.run(
    [sys.executable, "-m", "other.program"],
    cwd=tmp_path,
    env={"PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_run_is_loaded(kind, finished):
  model = mn_jax.load(kind(finished))
  opened = reopen.open_run(finished)
  assert model.name == "mobilenet_v1"
  assert model.classes == opened.classes
  assert model.resolution == 40
  assert model.workdir == finished
  assert model.summary == toy.read(finished, "summary.json")
  assert repr(model) == (
    "<mn_jax.Model mobilenet_v1: 2 classes ('no_idc', 'idc'), "
    f"input 40x40, {model.summary['params']:,} parameters, step "
    f"{opened.step} of {str(finished)!r}>"
  )
  oldest, *_ = checkpoint.steps(finished)
  assert f"step {oldest} of" in repr(mn_jax.load(finished, step=oldest))


def test_a_run_without_results_is_loaded(finished, tmp_path):
  run = shutil.copytree(finished, tmp_path / "run")
  (run / "summary.json").unlink()
  assert mn_jax.load(run).summary is None


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """A file of weights of a small network for three classes."""
  path = tmp_path_factory.mktemp("weights") / "a.h5"
  network = registry.describe("vgg16", num_classes=3, width=1 / 64)
  toy_h5.write(path, network, toy_h5.tensors(network))
  return path


OF_FILE = {"model": "vgg16", "width": 1 / 64}
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 50, 40, 3), np.uint8)


@pytest.mark.filterwarnings("error")
def test_weights_are_loaded_with_their_model(weights):
  model = mn_jax.load(weights, **OF_FILE)
  assert model.classes == ("class 0", "class 1", "class 2")
  assert model.summary is model.workdir is None
  named = mn_jax.load(str(weights), classes=["a", "b", "c"], **OF_FILE)
  assert named.classes == ("a", "b", "c")
  expected = model.predict(PIXELS)
  assert np.std(expected) > 1e-3
  created = mn_jax.create_model("vgg16", weights, width=1 / 64)
  np.testing.assert_array_equal(created.predict(PIXELS), expected)
  half = mn_jax.load(weights, precision="bfloat16", **OF_FILE)
  assert "bfloat16" in repr(half)
  assert 0 < np.abs(half.predict(PIXELS) - expected).max() < 0.1


def test_what_is_random_says_so(weights):
  create = mn_jax.create_model
  model = create("vgg16", weights, ["a", "b"], width=1 / 64)
  assert "head randomly initialised" in repr(model)
  expected = mn_jax.load(weights, **OF_FILE)
  np.testing.assert_allclose(
    model.features(PIXELS), expected.features(PIXELS), atol=1e-5
  )
  for call in (model.predict, model.explain):
    model._warned = False
    with pytest.warns(UserWarning, match="these results mean nothing") as told:
      call(PIXELS)
    assert told[0].filename == __file__
    call(PIXELS)  # says it once
  assert len(create("simple_cnn", width=0.125).classes) == 1000
  kernels = []
  for seed in (0, 0, 1):
    blank = create("simple_cnn", classes=5, seed=seed, width=0.125)
    kernels.append(blank.variables["params"]["head"]["logits"]["kernel"])
  assert blank.classes == tuple(f"class {i}" for i in range(5))
  assert "network randomly initialised" in repr(blank)
  np.testing.assert_array_equal(kernels[0], kernels[1])
  assert (kernels[0] != kernels[2]).any()


def test_mistakes_are_one_line(finished, weights, tmp_path):
  load, create = mn_jax.load, mn_jax.create_model
  for call, message in (
    (lambda: load(tmp_path), "whose config.json cannot be read"),
    (lambda: load(tmp_path / "x"), "path: got .*, which does not exist; valid"),
    (lambda: load(3), "path: got int; valid: a path"),
    (lambda: load("gs://a/b"), "path: got 'gs://a/b'; valid: a local path"),
    (lambda: load(finished, step=1), r"--step: got 1; valid: 4, 6, the"),
    (lambda: load(finished, model="vgg16"), "model: got it with .* run, which"),
    (lambda: load(finished, width=0.5), "width: got it with"),
    (lambda: load(finished, precision="f8"), "precision: got 'f8'; valid: fl"),
    (
      lambda: load(weights),
      "model: got None with the weights .*; valid: mod",
    ),
    (
      lambda: load(weights, step=3, **OF_FILE),
      "step: got 3 with .*; valid: a run, or",
    ),
    (lambda: load(weights, model="vgg16"), "which does not fit vgg16 at "),
    (lambda: load(weights, classes="ab", **OF_FILE), "got 2 names; valid: 3"),
    (lambda: create("vgg17"), "model.name: got 'vgg17'; valid: mobilenet_v1"),
    (lambda: create("vgg16", width=0), "width: got 0; valid: above 0"),
    (lambda: create("vgg16", minimalistic=True), "model.minimalistic: got Tr"),
    (lambda: create("vgg16", tmp_path / "x"), "model.weights: got .*/x'"),
    (lambda: create("vgg16", classes=1), "classes: got 1; valid: their number"),
    (lambda: create("vgg16", classes="ab"), "classes: got 'ab'; valid"),
    (lambda: create("vgg16", classes=["a", "a"]), "valid: .* different names"),
  ):
    with pytest.raises(mn_jax.InputError, match=message) as caught:
      call()
    assert "\n" not in str(caught.value)
