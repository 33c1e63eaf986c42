"""Another run as `model.weights`: what is loaded, new, and refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.run import network as network_lib
from mn_jax.run import reopen, run_overlap, weights_of_run
from mn_jax.weights import pretrained
from tests import toy_transfer as toy


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("runs") / "base"
  toy.run(toy.load(model__head="gap_128_64", train__ema_decay=0.9), workdir)
  return workdir


def started(workdir, classes=("no_idc", "idc"), **fields):
  fields = {
    "model__head": "gap_128_64",
    "model__transfer": "fine_tune",
  } | fields
  config = toy.load(model__weights=str(workdir), **fields)
  network_lib.check(config)
  return network_lib.build(config, classes, lambda count: None)


def kernel(values, layer):
  return values["params"]["head"][layer]["kernel"]


def test_the_averages_of_the_best_checkpoint_are_loaded(workdir):
  run, initial = reopen.open_run(workdir), started(workdir)
  for path in ("dense0", "logits"):
    np.testing.assert_array_equal(
      kernel(initial.values, path), kernel(run.variables, path)
    )
  stem = initial.values["batch_stats"]["backbone"]["stem"]["norm"]
  expected = run.variables["batch_stats"]["backbone"]["stem"]["norm"]
  np.testing.assert_array_equal(stem["mean"], expected["mean"])
  assert stem["weight"] == 1
  origin = initial.origin
  assert (origin.source, origin.num_classes) == ("run", 2)
  assert origin.file == f"base, step {run.step}"
  assert origin.note == ""
  # The digest is that of the values, wherever they lie.
  assert origin.sha256 == started(workdir).origin.sha256


@pytest.mark.parametrize(
  ("fields", "note"),
  [
    ({"classes": ("idc", "no_idc")}, "in another order"),
    ({"classes": ("a", "b")}, "others"),
    ({"classes": ("a", "b", "c")}, "others"),
  ],
)
def test_other_classes_get_new_logits_and_a_note(workdir, fields, note):
  run, initial = reopen.open_run(workdir), started(workdir, **fields)
  old, new = (kernel(x, "logits") for x in (run.variables, initial.values))
  assert old.shape != new.shape or (old != new).any()
  np.testing.assert_array_equal(
    kernel(initial.values, "dense0"), kernel(run.variables, "dense0")
  )
  assert initial.origin.num_classes == 0
  assert (
    initial.origin.note == f"the classes of {initial.origin.file} are {note}"
  )


def test_another_head_is_new(workdir):
  run, initial = reopen.open_run(workdir), started(workdir, model__head="own")
  assert initial.values["params"]["head"].keys() == {"logits"}
  stem = initial.values["params"]["backbone"]["stem"]["conv"]["kernel"]
  np.testing.assert_array_equal(
    stem, run.variables["params"]["backbone"]["stem"]["conv"]["kernel"]
  )


def test_a_head_of_another_size_is_not_said_to_need_imagenets(workdir):
  """A run was trained at its own resolution, not at that of its family."""
  network = network_lib.describe(toy.load(model__head="gap_128_64"), 2)
  loaded = weights_of_run.load(str(workdir), network, multi_label=False)
  name = "head/dense0/kernel"
  tensors = {**loaded.tensors, name: loaded.tensors[name][:3]}
  loaded = dataclasses.replace(loaded, tensors=tensors)
  with pytest.raises(InputError, match="resolution as they were trained with"):
    pretrained.insert(loaded, started(workdir).values)


def test_logits_of_several_labels_are_not_those_of_one(workdir):
  network = network_lib.describe(toy.load(), 2)
  loaded = weights_of_run.load(str(workdir), network, multi_label=True)
  assert loaded.origin.num_classes == 0
  assert "several labels" in loaded.origin.note


def test_a_run_that_knows_held_out_images_is_refused(workdir, monkeypatch):
  """Its split is another: some it was trained on would be tested here."""
  fields = {"model__head": "gap_128_64", "model__transfer": "fine_tune"}
  config = toy.load(model__weights=str(workdir), data__split_seed=1, **fields)
  with pytest.raises(InputError) as error:
    toy.build(config)
  message = str(error.value)
  assert message.startswith(f"model.weights: got {str(workdir)!r}, a run that")
  assert "images of this run's validation and test part (such as" in message
  assert "valid: a run of the same data.split and data.split_seed" in message

  # Of other images names may be alike by chance.
  monkeypatch.setattr(run_overlap, "_parts", lambda *_: None)
  note = toy.build(config).pretrained.note
  assert "groups or images of this run's validation and test part" in note
  assert "by their names" in note
  same = toy.load(model__weights=str(workdir), **fields)
  assert toy.build(same).pretrained.note == ""


def test_what_is_no_such_run_is_refused_in_one_line(workdir, tmp_path):
  def refused(path, **fields):
    with pytest.raises(InputError) as error:
      started(path, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)

  assert "which is of mobilenet_v1 at width 0.125" in refused(
    workdir, model__width=0.25
  )
  several = tmp_path / "several"
  shutil.copytree(workdir, several / "seed0")
  assert "the runs of several seeds; valid: one of these" in refused(several)
  empty = tmp_path / "empty"
  empty.mkdir()
  shutil.copy(workdir / "network.json", empty)
  assert "no checkpoint" in refused(empty)
  damaged = tmp_path / "damaged"
  shutil.copytree(workdir, damaged)
  fields = json.loads((damaged / "network.json").read_text())
  (damaged / "network.json").write_text(json.dumps(fields | {"classes": []}))
  message = refused(damaged)
  assert message.startswith(f"model.weights: got {str(damaged)!r}, a run that")
  assert "--workdir" not in message


def test_others_weights_keep_a_head_of_as_many_classes(tmp_path):
  """Their classes have other names, or none."""
  path = tmp_path / "weights.h5"
  toy.write_weights(path, classes=2)
  loaded = pretrained.load(str(path), network_lib.describe(toy.load(), 2))
  assert pretrained.for_classes(loaded, ("x", "y")) is loaded
