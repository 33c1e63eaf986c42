"""Trained networks that classify images: those of runs and of weights."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
import pytest

from mn_jax.data import resizing
from mn_jax.deploy import predictor, trained
from mn_jax.errors import InputError, RunError
from mn_jax.explain import embedding
from mn_jax.models import registry, variables
from mn_jax.run import reopen
from mn_jax.train import checkpoint, checkpoint_files
from mn_jax.weights import pretrained
from tests import toy_transfer as toy
from tests.data import hostile_images
from tests.weights import toy_h5

pytestmark = [
  pytest.mark.usefixtures("standard_promotion"),
  # Orbax leaves the other reads running when one has failed; asyncio says so
  # when they end, which can be during the next test.
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The workdir of a run that keeps an average of its parameters.

  A frozen backbone with random statistics compiles in a third of the time.
  """
  workdir = tmp_path_factory.mktemp("runs") / "averaged"
  weights = workdir.with_name("weights.h5")
  toy.write_weights(weights, classes=5)
  config = toy.load(
    model__weights=str(weights),
    model__transfer="frozen",
    model__head="gap_128_64",
    model__resolution=40,
    train__ema_decay=0.9,
  )
  with jax.numpy_dtype_promotion("standard"):
    toy.run(config, workdir)
  return workdir


@pytest.fixture
def run(finished, tmp_path):
  """A copy of the run's folder."""
  return shutil.copytree(finished, tmp_path / "run")


def expected(run, images=70, **options):
  """(rows, predictions) of the test part by the evaluation step of training."""
  opened = reopen.open_run(run, batch_size=64, **options)
  data = opened.data(lambda *_: None)
  rows = data.part("test")[:images]  # and a part of a second batch
  return opened, data, rows, opened.predict(data, rows)


def predict(chosen, images):
  files = (hostile_images.save(image, "PNG") for image in images)
  return np.stack([*chosen.probabilities(map(chosen.read_image, files))])


def test_a_run_predicts_what_it_evaluated(run):
  chosen = predictor.from_workdir(run)
  opened, data, rows, evaluated = expected(run)
  assert opened.step == toy.read(run, "summary.json")["best_step"]
  assert chosen.classes == data.spec.classes
  probabilities = evaluated.probabilities()
  assert np.std(probabilities[:, 0]) > 1e-3
  np.testing.assert_allclose(
    predict(chosen, data.cache.images[rows]), probabilities, atol=1e-4
  )


def test_predictions_of_rows_are_those_of_training(run):
  opened, data, rows, evaluated = expected(run)
  folded = predictor.predict_rows(opened, data, rows, precision="float32")
  for name in ("ids", "labels", "logits", "losses"):
    ours, theirs = getattr(folded, name), getattr(evaluated, name)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
  small = predictor.predict_rows(opened, data, rows, precision="int8")
  chosen = predictor.from_run(opened, precision="int8", batch_size=64)
  images = data.cache.images[rows]
  np.testing.assert_array_equal(small.logits, [*chosen.logits(images)])


def test_features_are_those_of_the_backbone(run):
  """In the same pass as the logits, of which they are what the head sees."""
  opened, data, rows, evaluated = expected(run, images=5)
  chosen = predictor.from_run(opened, batch_size=4)
  images = data.cache.images[rows]
  found = chosen.features(images)
  features = embedding.features(
    opened.module,
    opened.network.conventions,
    opened.variables,
    images,
    layer="pooled",
    resolution=opened.config.model.resolution,
    batch_size=4,
    progress=toy.ignore_progress,
  )
  assert found.dtype == np.float32
  assert np.std(found, axis=0).max() > 1e-3
  np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-5)
  outputs = [*chosen.outputs(images)]
  np.testing.assert_array_equal([x.features for x in outputs], found)
  np.testing.assert_allclose(
    [x.logits for x in outputs], evaluated.logits, atol=1e-4
  )


def test_logits_that_are_not_finite_are_no_prediction(run):
  opened, data, rows, _ = expected(run)
  bias = opened.variables["params"]["head"]["logits"]["bias"]
  opened.variables["params"]["head"]["logits"]["bias"] = bias * np.nan
  opened = dataclasses.replace(opened)  # one that has not predicted yet
  for attempt in (
    lambda: opened.predict(data, rows),
    lambda: predict(predictor.from_run(opened), data.cache.images[rows]),
  ):
    with pytest.raises(RunError, match="the network's logits are not finite"):
      attempt()


@pytest.mark.parametrize("ended", [True, False])
def test_the_best_checkpoint_is_taken(ended, run, monkeypatch):
  if not ended:
    (run / "summary.json").unlink()
    # What a save that was stopped leaves behind.
    (run / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()
  oldest, *_, newest = checkpoint.steps(run)
  read = checkpoint_files.read_position
  monkeypatch.setattr(
    checkpoint_files,
    "read_position",
    lambda folder: dataclasses.replace(read(folder), best_step=oldest),
  )
  _, data, rows, best = expected(run, step=oldest)
  *_, other = expected(run, step=newest)
  found = predict(predictor.from_workdir(run), data.cache.images[rows])
  np.testing.assert_allclose(found, best.probabilities(), atol=1e-4)
  assert np.abs(other.logits - best.logits).max() > 1e-3


def test_damaged_checkpoints_and_other_folders_are_refused(run, tmp_path):
  for damage in (lambda path: path.write_bytes(b""), pathlib.Path.unlink):
    for path in (run / "checkpoints").glob("*/state/**/*"):
      if path.is_file():
        damage(path)
    with pytest.raises(InputError, match="' are damaged; valid"):
      predictor.from_workdir(run)
  with pytest.raises(InputError, match=r"whose config\.json cannot be"):
    predictor.from_workdir(tmp_path)


def weights_network(name="mobilenet_v1", *, classes=3, **conventions):
  options = registry.Options()
  if name == "mobilenet_v1":  # as few layers as there are
    options = registry.Options(shallow=True, separable=False)
  network = registry.describe(
    name,
    num_classes=classes,
    width=1 / 64 if name == "vgg16" else 0.125,
    options=options,
  )
  changed = dataclasses.replace(network.conventions, **conventions)
  return dataclasses.replace(network, conventions=changed)


def write(path, network, **options):
  return toy_h5.write(path, network, toy_h5.tensors(network), **options)


def from_weights(path, network, *, precision=None, classes=()):
  made = trained.from_weights(path, network, classes=classes)
  return predictor.fold(made, precision=precision)


def test_weights_predict_what_the_network_computes(tmp_path):
  asked = weights_network(resolution=48, crop=0.75, interpolation="bicubic")
  path = write(tmp_path / "a.h5", asked)
  any_classes = dataclasses.replace(asked, num_classes=1)
  chosen = from_weights(path, any_classes)
  assert chosen.classes == ("class 0", "class 1", "class 2")

  draw = np.random.default_rng(0)
  images = [draw.integers(0, 256, (60, 99, 3), np.uint8) for _ in range(5)]
  files = [hostile_images.save(image, "PNG") for image in images]
  prepared = np.stack([chosen.read_image(data) for data in files])
  for image, made in zip(images, prepared, strict=True):
    np.testing.assert_array_equal(
      made,
      resizing.resize_and_crop(image, 48, share=0.75, interpolation="bicubic"),
    )

  loaded = pretrained.load(path, asked)
  module = registry.build(loaded.network)
  values = pretrained.insert(loaded, variables.initial_values(module, 48, 0))
  x = prepared.astype(np.float32) / 127.5 - 1
  apply = jax.jit(
    lambda v, x: jax.nn.softmax(module.apply(v, x, False)[0]),
    compiler_options={"xla_backend_optimization_level": 0},
  )
  expected = np.asarray(apply(values, x))
  assert np.std(expected) > 0.01
  np.testing.assert_allclose(predict(chosen, images), expected, atol=1e-5)


def test_a_network_without_norms_can_be_used(tmp_path):
  network = weights_network("vgg16")
  chosen = from_weights(write(tmp_path / "a.h5", network), network)
  (found,) = chosen.probabilities(np.zeros((1, 224, 224, 3), np.uint8))
  assert found.shape == (3,)
  assert found.sum() == pytest.approx(1, abs=1e-5)


# Of the largest logit. bfloat16 keeps 8 bits, and a rounding of 0.4 % in each
# of the layers adds up; 8-bit kernels move by 0.4 % of their largest weight.
TOLERANCES = {"bfloat16": 0.05, "int8": 0.05, "int8_bfloat16": 0.1}


def test_other_precisions_are_close(tmp_path):
  network = weights_network(resolution=32)
  path = write(tmp_path / "a.h5", network)
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)

  def logits(precision):
    chosen = from_weights(path, network, precision=precision)
    return np.stack([*chosen.logits(images)])

  expected = logits("float32")
  for precision, tolerance in TOLERANCES.items():
    approximate = logits(precision)
    assert approximate.dtype == np.float32
    gap = np.abs(approximate - expected).max() / np.abs(expected).max()
    assert 1e-5 < gap < tolerance, precision


def test_a_runs_own_precision_is_the_default(run):
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  opened = reopen.open_run(run)

  def logits(run, **options):
    return np.stack([*predictor.from_run(run, **options).logits(images)])

  full = logits(opened, precision="float32")
  half = logits(opened, precision="bfloat16")
  np.testing.assert_array_equal(logits(opened), full)
  model = dataclasses.replace(opened.config.model, dtype="bfloat16")
  config = dataclasses.replace(opened.config, model=model)
  opened = dataclasses.replace(opened, config=config)
  np.testing.assert_array_equal(logits(opened), half)
  assert (full != half).any()


def test_one_logit_is_a_sigmoid(tmp_path):
  """As the softmax of two is the sigmoid of their difference."""
  two = weights_network(classes=2, resolution=32)
  one = weights_network(classes=1, resolution=32)
  values = toy_h5.tensors(two)
  expected = from_weights(toy_h5.write(tmp_path / "two.h5", two, values), two)
  assert expected.note == ""
  for name in ("head/logits/kernel", "head/logits/bias"):
    values[name] = np.diff(values[name], axis=-1)
  path = toy_h5.write(tmp_path / "one.h5", one, values)
  chosen = from_weights(path, one, classes=("cat", "dog"))
  assert chosen.classes == ("cat", "dog")
  assert chosen.note == (
    "one.h5 has one logit; its sigmoid is the probability of 'dog'"
  )
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  probabilities = predict(expected, images)
  assert np.std(probabilities) > 1e-3
  np.testing.assert_allclose(predict(chosen, images), probabilities, atol=1e-6)
  assert from_weights(path, one).classes == ("class 0", "class 1")
  with pytest.raises(InputError, match="--classes: got 3 names; valid: 2"):
    from_weights(path, one, classes="abc")


def test_a_head_of_another_kind_cannot_predict(tmp_path):
  network = weights_network()
  values = toy_h5.tensors(network)
  layers = toy_h5.keras_layers(network, values, skip_head=True)
  channels = values["head/logits/kernel"].shape[0]
  for name, inputs, outputs in (("one", channels, 9), ("two", 9, 3)):
    kernel = np.ones((inputs, outputs))
    layers.append((name, {"kernel": kernel, "bias": kernel[0]}))
  path = toy_h5.write_layers(tmp_path / "a.h5", layers)
  with pytest.raises(InputError, match="whose head is not that of mobilenet"):
    from_weights(path, network)


def test_a_thousand_classes_have_names_and_no_classifier_is_refused(tmp_path):
  network = weights_network(classes=1000)
  chosen = from_weights(write(tmp_path / "a.h5", network), network)
  assert chosen.classes[0] == "tench"
  assert len(chosen.classes) == 1000
  path = write(tmp_path / "b.h5", network, skip_head=True)
  with pytest.raises(
    InputError, match=r"b\.h5', which has no classifier; valid"
  ):
    from_weights(path, network)
