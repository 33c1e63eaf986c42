"""Runs opened from their workdirs."""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest

from mn_jax.data import decode
from mn_jax.errors import InputError
from mn_jax.metrics import classification
from mn_jax.observe import formatting
from mn_jax.run import recalibrate, reopen
from mn_jax.train import state
from tests import toy_transfer as toy

pytestmark = [
  pytest.mark.usefixtures("standard_promotion"),
  # As in the tests of the predictor: Orbax's other reads end later.
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(workdir, config) of a run of six steps that is compiled fast."""
  workdir = tmp_path_factory.mktemp("runs") / "run"
  config = toy.load(
    model__name="simple_cnn",
    model__shallow=False,
    train__ema_decay=0.9,
  )
  with jax.numpy_dtype_promotion("standard"):
    toy.run(config, workdir)
  return workdir, config


@pytest.fixture
def run(finished, tmp_path):
  """A copy of the run's folder."""
  return shutil.copytree(finished[0], tmp_path / "run")


def ignore(done, total):
  del done, total


def evaluate(opened, part):
  data = opened.data(ignore)
  found = opened.predict(data, data.part(part))
  return classification.summarize(found, positive=data.spec.positive), found


def of_summary(path, part):
  summary = toy.read(path, "summary.json")
  prefix = f"{part}/"
  return {
    name.removeprefix(prefix): value
    for name, value in summary.items()
    if name.startswith(prefix)
  }


def change(path, name, **values):
  (path / name).write_text(json.dumps({**toy.read(path, name), **values}))


def refused(path, **options):
  """The one line that opening it ends in."""
  with pytest.raises(InputError) as caught:
    reopen.open_run(path, **options)
  message = str(caught.value)
  assert "\n" not in message
  assert "; valid: " in message
  return message


@pytest.mark.parametrize("part", ["val", "test"])
def test_metrics_are_those_of_the_summary_to_the_last_digit(finished, part):
  workdir, config = finished
  opened = reopen.open_run(workdir)
  assert opened.config == config
  assert opened.step == toy.read(workdir, "summary.json")["best_step"]
  scalars, predictions = evaluate(opened, part)
  assert formatting.jsonable(scalars) == of_summary(workdir, part)
  assert np.ptp(predictions.logits) > 0.01


def test_metrics_of_cached_features_are_those_of_the_images(tmp_path):
  """Features in batches of their own round differently: 1e-5."""
  workdir, weights = tmp_path / "run", tmp_path / "weights.h5"
  toy.write_weights(weights, classes=5)
  config = toy.load(model__weights=str(weights), model__transfer="frozen")
  toy.run(config, workdir)
  assert toy.read(workdir, "summary.json")["cached_features"]
  weights.unlink()  # the checkpoint has them
  scalars, _ = evaluate(reopen.open_run(workdir), "test")
  assert formatting.jsonable(scalars) == pytest.approx(
    of_summary(workdir, "test"), abs=1e-5
  )


def test_a_checkpoint_can_be_chosen(finished):
  steps = sorted(int(p.name) for p in (finished[0] / "checkpoints").iterdir())
  assert len(steps) > 1
  digests = set()
  for step in steps:
    opened = reopen.open_run(finished[0], step=step)
    assert opened.step == step
    digests.add(state.sha256(opened.variables))
  assert len(digests) == len(steps)


def test_a_stopped_run_has_a_best_checkpoint_too(run):
  best = toy.read(run, "summary.json")["best_step"]
  (run / "summary.json").unlink()
  assert reopen.open_run(run).step == best
  position = run / "checkpoints" / "6" / "position" / "metadata"
  content = json.loads(position.read_text())
  assert content["best_step"] == best
  position.write_text(json.dumps({**content, "best_step": 4}))
  assert reopen.open_run(run).step == 4
  # Before the first validation: the newest.
  position.write_text(json.dumps({**content, "best_step": 0}))
  assert reopen.open_run(run).step == 6


def test_a_step_that_is_not_there_is_refused(run):
  message = refused(run, step=5)
  assert message.startswith("--step: got 5; valid: ")
  assert "4, 6" in message


def test_a_run_without_checkpoints_is_refused(run):
  shutil.rmtree(run / "checkpoints")
  assert "which has no checkpoint" in refused(run)


def test_a_damaged_checkpoint_is_one_line(run):
  newest = run / "checkpoints" / "6"
  (newest / "position" / "metadata").write_text("{")
  assert "cannot be read" in refused(run)
  shutil.rmtree(newest / "state")
  assert "cannot be read" in refused(run, step=6)


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_what_is_no_run_is_refused(kind, tmp_path):
  path = tmp_path / "run"
  if kind == "empty":
    path.mkdir()
  if kind == "file":
    path.write_text("")
  assert "which has no config.json that can be read" in refused(path)


def _without_a_field(config):
  del config["result_fields"]["data.split"]


def _with_an_unknown_field(config):
  config["config"]["data"]["colour"] = "red"


def _with_another_value(config):
  config["config"]["seed"] = 5


def _with_a_wrong_value(config):
  config["config"]["model"]["width"] = -1.0


def _with_an_unknown_model(config):
  config["config"]["model"] = 3


def _without_config(config):
  config["config"] = None


@pytest.mark.parametrize(
  "edit",
  [
    _without_a_field,
    _with_an_unknown_field,
    _with_another_value,
    _with_a_wrong_value,
    _with_an_unknown_model,
    _without_config,
  ],
)
def test_configs_of_other_versions_are_refused(edit, run):
  content = toy.read(run, "config.json")
  edit(content)
  (run / "config.json").write_text(json.dumps(content))
  message = refused(run)
  assert "cannot be understood" in message
  assert "of this version" in message


@pytest.mark.parametrize(
  ("name", "values"),
  [
    ("network.json", {"network": {}}),
    ("network.json", {"classes": ["one"]}),
    ("network.json", {"network": None}),
    ("split.json", None),
  ],
)
def test_descriptions_that_contradict_each_other_are_refused(name, values, run):
  if values is None:
    (run / name).write_text("{}")
  else:
    change(run, name, **values)
  assert "cannot be understood" in refused(run)


@pytest.mark.parametrize("key", ["sha256", "images_sha256"])
def test_other_data_is_refused(key, run):
  change(run, "split.json", **{key: "0" * 64})
  opened = reopen.open_run(run)
  with pytest.raises(
    InputError, match="was started with 0000000000000000; valid"
  ):
    opened.data(ignore)


def test_data_may_have_moved(run, tmp_path, monkeypatch):
  there, other = os.environ["MN_JAX_CACHE"], tmp_path / "other"
  monkeypatch.setenv("MN_JAX_CACHE", str(other))
  moved = reopen.open_run(run, cache_dir=there, batch_size=32)
  assert moved.config.eval.batch_size == 32
  assert moved.data(ignore).digests() == moved.digests
  assert not other.exists()
  named = reopen.open_run(run, data_path=str(tmp_path / "nowhere"))
  with pytest.raises(InputError, match=r"data\.path: got '.*nowhere'"):
    named.data(ignore)


@pytest.mark.devices(4)
def test_batches_that_do_not_divide_are_refused(finished):
  opened = reopen.open_run(finished[0], batch_size=3)
  data = opened.data(ignore)
  with pytest.raises(
    InputError, match="--batch-size: got 3; valid: a multiple of 4"
  ):
    opened.predict(data, data.part("val"))


def test_images_are_seen_as_in_training(finished):
  opened = reopen.open_run(finished[0])
  image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
  np.testing.assert_array_equal(opened.prepare(image), decode.resize(image, 32))
  section = dataclasses.replace(opened.config.data, other_sizes="crop")
  config = dataclasses.replace(opened.config, data=section)
  cropping = dataclasses.replace(opened, config=config)
  np.testing.assert_array_equal(cropping.prepare(image), decode.crop(image, 32))


@pytest.mark.parametrize(
  ("count", "shape"),
  [(10, (1, 10)), (32, (1, 32)), (70, (2, 32)), (10**9, (40, 32))],
)
def test_batch_statistics_are_of_images_of_the_whole_training_part(
  finished, monkeypatch, count, shape
):
  opened = reopen.open_run(finished[0])
  data = opened.data(ignore)
  seen = []

  def taken(module, conventions, variables, batches, *, resolution):
    assert (module, resolution) == (opened.module, 0)
    seen.extend(batches)
    return {**variables, "batch_stats": "new"}

  monkeypatch.setattr(recalibrate, "batch_statistics", taken)
  changed, used = opened.with_batch_statistics(data, count)
  assert (len(seen), len(seen[0])) == shape
  assert used == shape[0] * shape[1]
  assert changed.variables["batch_stats"] == "new"
  assert changed.variables["params"] is opened.variables["params"]
  train = data.cache.images[data.part("train")]
  np.testing.assert_array_equal(seen[0][0], train[0])
  np.testing.assert_array_equal(seen[-1][-1], train[-1])
