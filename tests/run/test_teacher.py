"""Tests of loading a teacher, and of which ones are refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import fake_quant, registry, variables
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.run import reopen, run_overlap, split_data, teacher
from mn_jax.weights import exported
from tests import toy_transfer as toy
from tests.weights import toy_h5

# As in the tests of the predictor: Orbax's other reads end later.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The workdir of a run with BatchNorm, whose statistics have moved."""
  workdir = tmp_path_factory.mktemp("teachers") / "run"
  toy.run(toy.load(seed=3, train__steps=3), workdir)
  return workdir


@pytest.fixture(scope="module")
def data():
  return split_data.load(toy.load().data, toy.ignore_progress)


def load(name, data, **fields):
  """The teacher as a run gets it."""
  fields = {f"train__{key}": value for key, value in fields.items()}
  config = toy.load(train__teacher=str(name), **fields)
  teacher.check(config.train)
  return teacher.load(config, data, mesh_lib.make_mesh())


def refused(name, data, **fields) -> str:
  """The one line that it is refused with."""
  with pytest.raises(InputError) as error:
    load(name, data, **fields)
  message = str(error.value)
  assert "\n" not in message
  assert message.startswith("train.teacher")
  assert "; valid: " in message
  return message


def logits(loaded, images):
  return np.asarray(loaded.network.logits(loaded.variables, images))


def other_split(data, **changes):
  """The same images, split in another way."""
  section = dataclasses.replace(toy.load().data, **changes)
  return split_data.divide(section, data.cache)


def push(folder, opened, classes, **changes):
  """Writes a run's network as `mn-jax push` does, with other classes."""
  folder.mkdir()
  described = exported.Description(
    network=opened.network,
    classes=classes,
    image_size=32,
    resolution=0,
    other_sizes="resize",
    bits=16,
    multi_label=False,
    dtype="float32",
  )
  described = dataclasses.replace(described, **changes)
  exported.write(folder, described, opened.variables)
  return folder


def test_a_run_predicts_as_it_did(finished, data):
  loaded = load(finished, data)
  rows = data.part("test")[:32]
  expected = reopen.open_run(finished).predict(data, rows).logits
  images = data.cache.images[rows]
  np.testing.assert_allclose(logits(loaded, images), expected, atol=1e-4)
  assert np.ptp(expected) > 0.01
  summary = toy.read(finished, "summary.json")
  described = loaded.described
  assert described["kind"] == "run"
  assert described["overlap"] == "the same"
  assert described["split_sha256"] == data.split.sha256
  assert described["seed"] == 3
  metrics = {k: v for k, v in summary.items() if k[:4] in ("val/", "test")}
  assert described["metrics"] == metrics
  assert described["sha256"] == loaded.sha256
  assert (described["weight"], described["temperature"]) == (0.9, 4.0)
  assert loaded.notes == ()
  assert loaded.macs > 1e5
  json.dumps(described, allow_nan=False)


def test_it_sees_images_at_its_own_size(finished, data):
  """Those of the run may have another."""
  loaded = load(finished, data)
  assert loaded.network.resolution == 32
  draw = np.random.default_rng(0)
  large = draw.integers(0, 256, (4, 48, 48, 3)).astype(np.float32)
  small = jax.image.resize(large, (4, 32, 32, 3), "bilinear")
  expected = logits(loaded, small)
  np.testing.assert_allclose(logits(loaded, large), expected, atol=1e-4)


def test_a_teacher_of_other_stains_is_refused(finished, data):
  config = toy.load(
    train__teacher=str(finished), data__stain_normalisation="macenko"
  )
  with pytest.raises(InputError, match=r"data\.stain_normalisation=none, for"):
    teacher.load(config, data, mesh_lib.make_mesh())


def test_classes_in_another_order_are_put_in_order(finished, data, tmp_path):
  opened = reopen.open_run(finished)
  images = data.cache.images[:8]
  expected = logits(load(finished, data), images)
  same = load(push(tmp_path / "same", opened, data.classes), data)
  np.testing.assert_allclose(logits(same, images), expected, atol=1e-5)
  assert "is not known" in same.notes[0]
  turned = load(push(tmp_path / "turned", opened, data.classes[::-1]), data)
  np.testing.assert_allclose(
    logits(turned, images), expected[:, ::-1], atol=1e-5
  )
  assert turned.sha256 != same.sha256


def test_other_classes_are_refused(finished, data, tmp_path):
  opened = reopen.open_run(finished)
  other = push(tmp_path / "other", opened, ("cat", "dog"))
  message = refused(other, data)
  assert "which has 2 classes: 'cat', 'dog'" in message
  assert "valid: the 2 classes 'no_idc', 'idc'" in message
  taken = load(other, data, teacher_unchecked=True)
  assert "are called 'cat', 'dog'" in taken.notes[0]
  images = data.cache.images[:4]
  np.testing.assert_allclose(
    logits(taken, images), logits(load(finished, data), images), atol=1e-5
  )
  labels = push(tmp_path / "m", opened, data.classes, multi_label=True)
  assert "of several labels each" in refused(labels, data)


def test_weights_need_a_network_and_names(data, tmp_path):
  network = registry.describe("mobilenet_v1", num_classes=2, width=0.25)
  path = tmp_path / "weights.h5"
  toy_h5.write(path, network, toy_h5.tensors(network))
  assert "do not say their network" in refused(path, data)
  options = {"teacher_model": "mobilenet_v1", "teacher_width": 0.25}
  assert "does not name its classes" in refused(path, data, **options)
  loaded = load(path, data, teacher_unchecked=True, **options)
  assert loaded.network.resolution == 224
  assert loaded.network.conventions.padding == "end"  # Keras's
  assert "have no names" in loaded.notes[0]
  values = variables.initial_values(registry.build(network), 224, seed=0)
  assert jax.tree.structure(values["params"]["head"]) == jax.tree.structure(
    loaded.variables["params"]["head"]
  )
  headless = toy_h5.tensors(dataclasses.replace(network, num_classes=5))
  toy_h5.write(path, dataclasses.replace(network, num_classes=5), headless)
  assert "which has 5 classes" in refused(path, data, **options)


def test_what_is_no_teacher_is_refused(finished, data, tmp_path):
  assert "which is not there" in refused(tmp_path / "nowhere", data)
  (tmp_path / "empty").mkdir()
  assert "empty" in refused(tmp_path / "empty", data)
  several = tmp_path / "several"
  shutil.copytree(finished, several / "seed0")
  assert "several seeds" in refused(several, data)
  (several / "seed0" / "summary.json").unlink()
  assert "has not ended" in refused(several / "seed0", data)
  damaged = shutil.copytree(finished, tmp_path / "damaged")
  (damaged / "config.json").write_text("{}")
  assert "a run that cannot be read (" in refused(damaged, data)
  options = {"teacher_model": "mobilenet_v2"}
  assert "a run, which says" in refused(finished, data, **options)


def test_a_teacher_that_knows_held_out_images_is_refused(finished, data):
  """Its split is another: some it was trained on are tested here."""
  other = other_split(data, split_seed=1)
  message = refused(finished, other)
  assert "which was trained on" in message
  assert "of this run's validation and test part" in message
  assert "train.teacher_unchecked=true" in message
  loaded = load(finished, other, teacher_unchecked=True)
  assert loaded.described["overlap"] == "another"
  assert "metrics promise too much" in loaded.notes[0]
  # Names of images are for the user alone.
  name = message.partition("such as ")[2].partition(",")[0]
  assert name in data.cache.names
  assert name not in loaded.notes[0]
  # With fewer training images nothing is held out that it knows.
  fewer = other_split(data, train_fraction=0.5)
  assert fewer.split.sha256 != data.split.sha256
  assert load(finished, fewer).described["overlap"] == "another"
  assert load(finished, fewer).notes == ()


def test_a_rounded_run_teaches_in_float32_and_says_so(
  finished, data, monkeypatch
):
  run = reopen.open_run(finished)
  config = dataclasses.replace(
    run.config, model=dataclasses.replace(run.config.model, fake_quant="int8")
  )
  ranges = {"head": {"input_range": np.float32([0, 1])}}
  rounded = dataclasses.replace(
    run,
    config=config,
    variables=fake_quant.with_ranges(run.variables, ranges),
  )
  images = data.cache.images[:4]
  expected = logits(load(finished, data), images)
  monkeypatch.setattr(reopen, "open_run", lambda path: rounded)
  loaded = load(finished, data)
  np.testing.assert_array_equal(logits(loaded, images), expected)
  (note,) = loaded.notes
  assert "model.fake_quant=int8" in note
  assert "teaches without" in note


def test_a_teacher_that_was_selected_on_the_test_is_refused(finished, data):
  run = reopen.open_run(finished)
  chosen = dataclasses.replace(
    run.config, eval=dataclasses.replace(run.config.eval, part="test")
  )
  overlap = run_overlap.of_run(dataclasses.replace(run, config=chosen), data)
  count = len(data.part("test"))
  assert f"was selected on {count} images of this run's test" in overlap.leak


def test_patients_count_where_the_split_keeps_them_apart(finished, data):
  """A teacher of other images of a test patient knows the patient."""
  run = reopen.open_run(finished)
  moved = data.part("test")[:1]
  group = data.cache.groups[moved[0]]
  parts = {**data.split.parts, "train": np.union1d(data.part("train"), moved)}
  rows = np.flatnonzero(data.cache.groups == group)
  held_out = np.setdiff1d(rows, moved)
  assert len(held_out)
  parts_here = {
    **data.split.parts,
    "test": np.setdiff1d(data.part("test"), moved),
  }
  here = dataclasses.replace(
    data, split=dataclasses.replace(data.split, parts=parts_here)
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(run_overlap, "_parts", lambda *_: parts)
    overlap = run_overlap.of_run(run, here)
  assert "images of 1 patient of this run's" in overlap.leak
  assert overlap.examples == (str(group),)


def test_other_images_are_compared_by_the_names_of_groups(finished, data):
  run = reopen.open_run(finished)
  # A digest that no split of these images has.
  run = dataclasses.replace(run, digests={"split": "0" * 64})
  overlap = run_overlap.of_run(run, data)
  assert overlap.relation == "of other images"
  assert overlap.leak == ""
  assert "compared by name alone" in overlap.note
  overlap = run_overlap.of_run(run, other_split(data, split_seed=1))
  assert "groups or images" in overlap.leak
