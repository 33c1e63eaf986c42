"""Tests of reopening a run from its workdir."""

import contextlib
import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from mn_jax.data import decode, resizing
from mn_jax.errors import InputError
from mn_jax.metrics import classification
from mn_jax.observe import formatting
from mn_jax.run import recalibrate, records, reopen
from mn_jax.train import checkpoint, state
from tests import toy_transfer as toy
from tests.data import hostile_images

# As in the tests of the predictor: Orbax's other reads end later.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(workdir, config) of a run of six steps that is compiled fast."""
  workdir = tmp_path_factory.mktemp("runs") / "run"
  config = toy.load(model__name="simple_cnn", train__ema_decay=0.9)
  toy.run(config, workdir)
  return workdir, config


@pytest.fixture
def run(finished, tmp_path):
  """A copy of the run's folder."""
  return shutil.copytree(finished[0], tmp_path / "run")


def evaluate(opened, part):
  data = opened.data(toy.ignore_progress)
  predictions = opened.predict(data, data.part(part))
  positive = data.spec.positive
  return classification.summarize(predictions, positive=positive), predictions


def summarized(path, part):
  """The metrics of a part in the summary."""
  prefix = f"{part}/"
  return {
    name.removeprefix(prefix): value
    for name, value in toy.read(path, "summary.json").items()
    if name.startswith(prefix)
  }


@contextlib.contextmanager
def changed(path, **values):
  """Changes values of a JSON file for a `with` block, checksum included."""
  original = path.read_text()
  records.write_object(path, {**records.read_object(path), **values})
  yield
  path.write_text(original)


def refused(path, **options):
  """The one line that opening it ends in."""
  with pytest.raises(InputError) as error:
    reopen.open_run(path, **options)
  message = str(error.value)
  assert "\n" not in message
  assert "; valid: " in message
  return message


def test_metrics_are_those_of_the_summary_to_the_last_digit(finished):
  workdir, config = finished
  opened = reopen.open_run(workdir)
  assert opened.config == config
  assert opened.step == toy.read(workdir, "summary.json")["best_step"]
  for part in ("val", "test"):
    metrics, predictions = evaluate(opened, part)
    assert formatting.jsonable(metrics) == summarized(workdir, part)
    assert np.ptp(predictions.logits) > 0.01


def test_metrics_of_cached_features_are_those_of_the_images(tmp_path):
  """Features in batches of their own round differently: 1e-5."""
  workdir, weights = tmp_path / "run", tmp_path / "weights.h5"
  toy.write_weights(weights, classes=5)
  config = toy.load(model__weights=str(weights), model__transfer="frozen")
  toy.run(config, workdir)
  assert toy.read(workdir, "summary.json")["cached_features"]
  weights.unlink()  # the checkpoint has them
  metrics, _ = evaluate(reopen.open_run(workdir), "test")
  assert formatting.jsonable(metrics) == pytest.approx(
    summarized(workdir, "test"), abs=1e-5
  )


def test_a_checkpoint_can_be_chosen(finished):
  steps = checkpoint.steps(finished[0])
  assert len(steps) > 1
  digests = set()
  for step in steps:
    opened = reopen.open_run(finished[0], step=step)
    assert opened.step == step
    digests.add(state.sha256(opened.variables))
  assert len(digests) == len(steps)
  message = refused(finished[0], step=5)
  assert message.startswith("--step: got 5; valid: ")
  assert "4, 6" in message


def test_a_stopped_run_has_a_best_checkpoint_too(run, caplog):
  best = toy.read(run, "summary.json")["best_step"]
  (run / "summary.json").unlink()
  assert reopen.open_run(run).step == best
  assert not caplog.records
  position = run / "checkpoints" / "6" / "position" / "metadata"
  content = json.loads(position.read_text())["position"]
  assert content["best_step"] == best
  # Before the first validation: the newest. As versions without digests wrote.
  for best_step, expected in ((4, 4), (0, 6)):
    position.write_text(json.dumps({**content, "best_step": best_step}))
    assert reopen.open_run(run).step == expected
  assert caplog.text.count("without digests") == 1


def test_damaged_checkpoints_are_passed_over_or_refused(run, caplog):
  state = run / "checkpoints" / "6" / "state"
  opened = reopen.open_run(run, step=4)
  shutil.rmtree(state)
  message = refused(run, step=6)
  assert "/6' is damaged" in message
  # Nothing is moved, and the others are used.
  (run / "checkpoints" / "6" / "position" / "metadata").write_text("{")
  before = checkpoint.steps(run)
  others = reopen.open_run(run)
  assert others.step != 6
  assert "Checkpoint 6 is damaged" in caplog.text
  assert checkpoint.steps(run) == before
  for step in {*before} - {4}:
    (run / "checkpoints" / f"{step}" / "position" / "metadata").write_bytes(
      b"\xff"
    )
  assert reopen.open_run(run).step == 4
  np.testing.assert_equal(reopen.open_run(run).variables, opened.variables)
  (run / "checkpoints" / "4" / "position" / "metadata").write_text("[]")
  assert "are damaged" in refused(run)
  shutil.rmtree(run / "checkpoints")
  assert "which has no checkpoint" in refused(run)


def test_a_path_that_is_no_run_is_refused(tmp_path):
  path = tmp_path / "run"
  message = "whose config.json cannot be read"
  assert message in refused(path)
  path.mkdir()
  assert message in refused(path)
  path.rmdir()
  path.write_text("")
  assert message in refused(path)


def test_a_config_of_an_older_version_is_opened(run):
  config = reopen.open_run(run).config
  content = records.read_object(run / "config.json")
  for name in ("data.prefetch", "model.dropout", "optim.clip_norm"):
    section, field = name.split(".")
    del content["config"][section][field]
    content["result_fields"].pop(name, None)
  del content["config"]["observe"]
  # Of the training, which is over, and of the network, which is not.
  content["config"]["optim"]["colour"] = "red"
  content["result_fields"]["optim.colour"] = "red"
  with changed(run / "config.json", **content):
    opened = reopen.open_run(run)
  observe = dataclasses.replace(opened.config.observe, log_every_steps=2)
  assert dataclasses.replace(opened.config, observe=observe) == config
  content["config"]["model"]["colour"] = "red"
  content["result_fields"]["model.colour"] = "red"
  with changed(run / "config.json", **content):
    assert "(model.colour: unknown field)" in refused(run)


def test_configs_that_are_none_are_refused(run):
  for section, values in (
    ("model", {"width": -1.0}),
    ("model", 3),
    ("train", {"steps": 0}),
  ):
    content = records.read_object(run / "config.json")
    content["config"][section] = values
    with changed(run / "config.json", **content):
      assert "cannot be understood" in refused(run)
  with changed(run / "config.json", config=None):
    assert "config.json cannot be read (its 'config' is 'None')" in refused(run)


def test_descriptions_that_contradict_each_other_are_refused(run):
  for values in ({"network": {}}, {"classes": ["one"]}, {"network": {"a": 1}}):
    with changed(run / "network.json", **values):
      assert "cannot be understood" in refused(run)
  for name in ("config", "network"):
    path = run / f"{name}.json"
    content = path.read_text()
    path.write_text(content.replace("1", "2", 1))
    assert f"{name}.json cannot be read (it is not as it was" in refused(run)
    path.write_text(content)


def test_other_data_is_refused(run):
  (run / "split.json").unlink()
  opened = reopen.open_run(run)
  opened.data(toy.ignore_progress)
  for key in ("split", "images", "labels"):
    digests = {**opened.digests, key: "0" * 64}
    opened = dataclasses.replace(opened, digests=digests)
    with pytest.raises(
      InputError, match=r"was started with .*, not 0{16}\); v"
    ):
      opened.data(toy.ignore_progress)


def test_data_may_have_moved(run, tmp_path, monkeypatch):
  cache, other = os.environ["MN_JAX_CACHE"], tmp_path / "other"
  monkeypatch.setenv("MN_JAX_CACHE", str(other))
  moved = reopen.open_run(run, cache_dir=cache, batch_size=32)
  assert moved.config.eval.batch_size == 32
  assert moved.data(toy.ignore_progress).digests() == moved.digests
  assert not other.exists()
  moved = reopen.open_run(run, data_root="elsewhere")
  assert moved.config.data.root == "elsewhere"
  missing = reopen.open_run(run, data_path=str(tmp_path / "nowhere"))
  with pytest.raises(InputError, match=r"data\.path: got '.*nowhere'"):
    missing.data(toy.ignore_progress)


@pytest.mark.devices(4)
def test_batches_that_do_not_divide_are_refused(finished):
  opened = reopen.open_run(finished[0], batch_size=3)
  data = opened.data(toy.ignore_progress)
  with pytest.raises(
    InputError, match="--batch-size: got 3; valid: a multiple of 4"
  ):
    opened.predict(data, data.part("val"))


def test_images_are_read_as_in_training(finished):
  opened = reopen.open_run(finished[0])
  image = np.random.default_rng(0).integers(0, 256, (160, 390, 3), np.uint8)
  deep = (image[..., 0].astype(np.uint16) << 2) + 3  # 10 bits
  jpeg, png, grey = (
    hostile_images.save(pixels, kind)
    for pixels, kind in ((image, "JPEG"), (image, "PNG"), (deep, "PNG"))
  )
  for fit, changes in (
    (lambda data: decode.decode(data, 32), {}),  # which reduces a JPEG
    (
      lambda data: resizing.resize_and_crop(decode.decode(data), 32),
      {"other_sizes": "crop"},
    ),
    (
      lambda data: resizing.resize(decode.decode(data, bits=10), 32),
      {"other_sizes": "drop", "bits": 10},
    ),
  ):
    section = dataclasses.replace(opened.config.data, **changes)
    config = dataclasses.replace(opened.config, data=section)
    changed = dataclasses.replace(opened, config=config)
    for data in (jpeg, png, grey):
      np.testing.assert_array_equal(changed.read_image(data), fit(data))


def test_batch_statistics_use_images_spread_over_the_training_part(
  finished, monkeypatch
):
  opened = reopen.open_run(finished[0])
  data = opened.data(toy.ignore_progress)
  train = data.cache.images[data.part("train")]

  def batch_statistics(module, conventions, variables, batches, *, resolution):
    assert (module, resolution) == (opened.module, 0)
    seen[:] = batches
    return {**variables, "batch_stats": "new"}

  seen = []
  monkeypatch.setattr(recalibrate, "batch_statistics", batch_statistics)
  for count, shape in (
    (10, (1, 10)),
    (32, (1, 32)),
    (70, (2, 32)),
    (10**9, (40, 32)),
  ):
    changed, images = opened.with_batch_statistics(data, count)
    assert (len(seen), len(seen[0])) == shape
    assert images == shape[0] * shape[1]
    assert changed.variables["batch_stats"] == "new"
    assert changed.variables["params"] is opened.variables["params"]
    np.testing.assert_array_equal(seen[0][0], train[0])
    np.testing.assert_array_equal(seen[-1][-1], train[-1])
