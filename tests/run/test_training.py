"""Whole runs in this process, on the embedded sample."""

import functools
import shutil

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from mn_jax.config import files
from mn_jax.data.datasets import registry as datasets
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.observe import clock
from mn_jax.observe.console import Console
from mn_jax.report import run_analysis, run_report
from mn_jax.report.inspection import Inspections
from mn_jax.run import records, setup, training
from mn_jax.train import checkpoint, losses
from tests import toy_transfer as toy
from tests.toy_transfer import logged

load = functools.partial(toy.load, base=toy.QUICK)


def run(config, workdir, stop_at=None):
  """The summary of a run, or None if it was stopped."""
  return toy.run(config, workdir, stop_at=stop_at)[0]


def count_traces(monkeypatch):
  """A list that gets an element with each trace of the loss."""
  traces = []
  cross_entropy = losses.cross_entropy

  def traced(*args, **kwargs):
    traces.append(1)
    return cross_entropy(*args, **kwargs)

  monkeypatch.setattr(losses, "cross_entropy", traced)
  return traces


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(workdir, summary, traces of the loss) of an uninterrupted run."""
  workdir = tmp_path_factory.mktemp("runs") / "uninterrupted"
  with pytest.MonkeyPatch.context() as monkeypatch:
    traces = count_traces(monkeypatch)
    summary = run(load(), workdir)
  return workdir, summary, len(traces)


def test_summary_and_files(finished):
  workdir, summary, traces = finished
  # Six train steps, two validations and the test: one trace of each step.
  assert traces == 2
  assert summary == toy.read(workdir, "summary.json")
  assert summary["steps"] == 6
  assert summary["best_step"] in (3, 6)
  assert summary["params"] == 15_242
  assert summary["test/count"] == 400
  assert 0 <= summary["test/balanced_accuracy"] <= 1
  assert len(summary["state_sha256"]) == len(summary["split_sha256"]) == 64
  split = toy.read(workdir, "split.json")
  assert split["sha256"] == summary["split_sha256"]
  groups = [set(split["groups"][part]) for part in ("train", "val", "test")]
  assert len(set.union(*groups)) == sum(map(len, groups)) == 40
  for name in ("val_confusion_matrix", "test_pr_curve", "train_images"):
    assert (workdir / "figures" / f"{name}.png").stat().st_size > 1000
  assert not list(workdir.glob("**/*.partial"))
  steps = set(checkpoint.steps(workdir))
  assert {6, summary["best_step"]} <= steps <= {3, 4, 6}
  lines = logged(workdir)
  assert [line["step"] for line in lines] == [2, 3, 4, 6, 6, 6]
  assert all("train/loss" in line for line in (lines[0], lines[2], lines[3]))
  assert lines[1]["val/count"] == 300
  assert lines[5]["test/count"] == 400
  assert "val/majority_rate" in lines[1]


def test_a_complete_run_is_left_alone(finished):
  workdir, summary, _ = finished
  before = (workdir / "summary.json").stat().st_mtime_ns
  assert run(load(), workdir) == summary
  assert (workdir / "summary.json").stat().st_mtime_ns == before
  with pytest.raises(InputError, match=r"optim\.learning_rate: 0\.001 there"):
    run(load(optim__learning_rate=0.5), workdir)


def test_interrupted_and_resumed_equals_uninterrupted(
  finished, tmp_path, monkeypatch
):
  """Also after damage, with images on the host or on the device in turn."""
  train_step = setup.Setup.train_step

  def guarded(self, state, batch):
    # What a dispatch needs is on the device before it starts.
    with jax.transfer_guard("disallow"):
      return train_step(self, state, batch)

  monkeypatch.setattr(setup.Setup, "train_step", guarded)
  workdir = tmp_path / "run"
  checkpoints = workdir / "checkpoints"
  placements = {"host": load(), "device": load(data__placement="device")}
  assert run(placements["host"], workdir, stop_at=0) is None
  assert not list(checkpoints.iterdir())
  for stop_at, placement in ((1, "device"), (3, "host"), (5, "device")):
    assert run(placements[placement], workdir, stop_at=stop_at) is None
    assert checkpoint.steps(workdir)[-1] == stop_at
  assert not (workdir / "summary.json").exists()

  split = records.read_object(workdir / "split.json")
  other = {**split, "sha256": "0" * 64}
  records.write_object(workdir / "split.json", other)
  with pytest.raises(InputError, match="sha256"):
    run(load(), workdir)

  for path in (checkpoints / "5").glob("state/**/*"):
    if path.is_file():
      path.write_bytes(b"")
  (checkpoints / "999").mkdir()
  removed = ("split.json", "network.json", "parameters.txt")
  removed += ("figures/train_images.png",)
  for name in removed:
    (workdir / name).unlink()
  for path in (workdir / "tensorboard").glob("events*"):
    path.write_bytes(b"?")
  summary, expected = run(load(), workdir), finished[1]
  damaged = {p.name for p in (workdir / "checkpoints_damaged").iterdir()}
  assert damaged == {"5", "999"}
  for name in ("state_sha256", "test/loss", "best_step"):
    assert summary[name] == expected[name]
  assert logged(workdir) == logged(finished[0])
  for name in removed:
    assert (workdir / name).read_bytes() == (finished[0] / name).read_bytes()
  events = event_accumulator.EventAccumulator(str(workdir / "tensorboard"))
  events.Reload()
  for name in ("train/loss", "val/accuracy", "test/auroc"):
    points = [(event.step, event.value) for event in events.Scalars(name)]
    assert points == [
      (line["step"], pytest.approx(line[name], rel=1e-6))
      for line in logged(workdir)
      if name in line
    ]


def test_a_longer_run_equals_one_that_was_as_long_from_the_start(tmp_path):
  workdir = tmp_path / "run"
  fields = {"optim__schedule": "constant"}
  expected = run(load(**fields), tmp_path / "longer")
  shorter = load(**fields, train__steps=4, checkpoint__every_steps=3)
  assert run(shorter, workdir)["steps"] == 4
  # An earlier version did not have these fields yet.
  content = records.read_object(workdir / "config.json")
  del content["config"]["optim"]["accumulate"]
  del content["result_fields"]["optim.accumulate"]
  del content["config"]["observe"]["profile_steps"]
  records.write_object(workdir / "config.json", content)
  moved = workdir.rename(tmp_path / "moved")
  with pytest.raises(InputError, match=r"accumulate: 1 there, 2 now\)"):
    run(load(**fields, optim__accumulate=2), moved)
  summary, printed = toy.run(load(**fields), moved)
  assert summary["state_sha256"] == expected["state_sha256"]
  assert (
    "Note: from here on with train.steps 6 (before: 4), "
    "checkpoint.every_steps 2 (before: 3)"
  ) in printed
  config = records.read_object(moved / "config.json")
  assert config["config"]["train"]["steps"] == 6
  assert config["history"] == [
    {
      "step": 4,
      "fields": {"train.steps": [4, 6], "checkpoint.every_steps": [3, 2]},
    }
  ]
  tested = [line["step"] for line in logged(moved) if "test/loss" in line]
  assert tested == [6]
  text = run_report.build(run_analysis.analyze(moved), Inspections({}, {}))
  assert "From step 4 on it was trained with train.steps 6" in (
    text.sections[0].text
  )
  with pytest.raises(InputError, match="a run can only grow"):
    run(shorter, moved)


def test_a_finished_run_writes_damaged_files_again(finished, tmp_path):
  workdir = shutil.copytree(finished[0], tmp_path / "run")
  for name, damage in (
    ("summary.json", lambda path: path.write_text("{")),
    (
      "summary.json",
      lambda path: path.write_text(path.read_text().replace("0.", "1.", 1)),
    ),
    ("network.json", lambda path: path.unlink()),
    ("config.json", lambda path: path.write_bytes(b"\xff")),
  ):
    before = records.read_object(workdir / name)
    damage(workdir / name)
    summary, printed = toy.run(load(), workdir)
    assert printed.count(f"{name} cannot be read") == (name != "config.json")
    for key in ("state_sha256", "test/loss", "best_step"):
      assert summary[key] == finished[1][key]
    found = records.read_object(workdir / name)
    assert found.keys() == before.keys()
    assert name == "summary.json" or found == before
  reference = (workdir / "reference.npz").read_bytes()
  (workdir / "reference.npz").unlink()
  assert "reference.npz cannot be read" in toy.run(load(), workdir)[1]
  assert (workdir / "reference.npz").read_bytes() == reference
  # Without a checkpoint there is nothing to make it from.
  shutil.rmtree(workdir / "checkpoints")
  (workdir / "network.json").unlink()
  assert run(load(), workdir)["steps"] == 6
  (workdir / "summary.json").write_text("{")
  with pytest.raises(InputError, match=r"whose summary\.json cannot be read"):
    run(load(), workdir)


def test_two_steps_in_a_dispatch(finished, tmp_path, monkeypatch):
  """As the same two by themselves; XLA fuses, and so rounds, differently."""
  # A head's BatchNorm divides rounding by how little such features vary.
  plain = functools.partial(load, model__head="own")
  single = run(plain(), tmp_path / "single")
  workdir, config = tmp_path / "run", plain(train__steps_per_dispatch=2)
  steps, images, traces = [], [], count_traces(monkeypatch)
  monkeypatch.setattr(
    clock.Clock, "count", lambda _, count: images.append(count)
  )
  with jax.numpy_dtype_promotion("standard"):
    (summary,) = training.train_and_evaluate(
      config,
      workdir,
      console=Console(quiet=True),
      stop_requested=lambda step, saved: steps.append(step),
    )
  # The validation after step 3 leaves no room for two.
  assert steps == [0, 2, 3, 4, 6]
  # The first dispatch of each length compiles: a program more.
  assert images == [32, 64]
  assert len(traces) == finished[2] + 1
  expected_run = tmp_path / "single"
  assert checkpoint.steps(workdir) == checkpoint.steps(expected_run)
  for line, expected in zip(logged(workdir), logged(expected_run), strict=True):
    assert line.keys() == expected.keys()
    for name in {"step", "train/loss", "train/grad_norm", "val/loss"} & {*line}:
      assert line[name] == pytest.approx(expected[name], rel=1e-5)
  assert summary["test/loss"] == pytest.approx(single["test/loss"], rel=1e-5)
  # Dispatches end at the same steps: to the bit.
  assert run(config, tmp_path / "interrupted", stop_at=2) is None
  resumed = run(config, tmp_path / "interrupted")
  assert resumed["state_sha256"] == summary["state_sha256"]
  assert logged(tmp_path / "interrupted") == logged(workdir)


@pytest.mark.devices(4)
def test_a_refused_run_leaves_no_folder(tmp_path):
  for batch_size, message in (
    (4096, "at most the 1300"),
    (30, r"train\.batch_size: got 30.*4 devices"),
  ):
    with pytest.raises(InputError, match=message):
      run(load(train__batch_size=batch_size), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_patience_ends_the_run_early(tmp_path):
  # Without learning no validation beats the first: it ends after two more.
  patient = functools.partial(
    load,
    optim__learning_rate=0.0,
    train__steps=30,
    model__norm_momentum=0.0,
    eval__best_metric="accuracy",
    eval__every_steps=1,
  )
  config, workdir = patient(train__patience=2), tmp_path / "run"
  summary = run(config, workdir)
  assert summary["steps"] < 30
  scores = [x["val/accuracy"] for x in logged(workdir) if "val/loss" in x]
  assert len(scores) - 1 - int(np.argmax(scores)) == 2
  # With more patience it continues, as if it had had it from the start.
  config = patient(train__patience=3)
  summary, expected = run(config, workdir), run(config, tmp_path / "more")
  assert summary["state_sha256"] == expected["state_sha256"]
  assert logged(workdir) == logged(tmp_path / "more")


def test_a_watched_test_changes_nothing_and_is_summed_up(finished, tmp_path):
  workdir, unwatched, _ = finished
  config = load(eval__watch_test=True)
  assert run(config, tmp_path / "run", stop_at=4) is None
  summary = run(config, tmp_path / "run")
  for name in ("state_sha256", "best_step", "test/accuracy", "test/loss"):
    assert summary[name] == unwatched[name]
  watched = [x for x in logged(tmp_path / "run") if "watched_test/loss" in x]
  accuracy = [line["watched_test/accuracy"] for line in watched]
  assert [line["step"] for line in watched] == [3, 6]
  # The last evaluation is of the last checkpoint, which is tested too.
  assert accuracy[-1] == summary["last/test/accuracy"]
  assert summary["chosen_by_test/accuracy"] == max(accuracy)
  best = watched[int(np.argmax(accuracy))]["step"]
  epoch = summary["chosen_by_test/epoch"] * 1300 / 32
  np.testing.assert_allclose(epoch, best)
  assert summary["last_ten_tests/accuracy"] == pytest.approx(np.mean(accuracy))
  assert summary["chosen_by_test/gain"] == pytest.approx(
    max(accuracy) - np.mean(accuracy)
  )
  assert summary["last_ten_tests/std"] == pytest.approx(
    np.std(accuracy, ddof=1)
  )
  assert not any("chosen_by_test" in name for name in unwatched)
  page = run_report.build(
    run_analysis.analyze(tmp_path / "run"), Inspections({}, {})
  )
  assert any("biased upwards" in note for note in page.notes)
  page = run_report.build(run_analysis.analyze(workdir), Inspections({}, {}))
  assert not any("biased upwards" in note for note in page.notes)


def test_every_config_loads():
  for name in files.names("get_config"):
    config = files.load_config(name)
    assert config.experiment == name
    assert config.data.name in datasets.DATASETS
    assert config.model.name in registry.MODELS
    for arg in ("sample", "test"):
      assert load(f"{name}:{arg}").experiment == f"{name}_{arg}"
  with pytest.raises(
    InputError, match="got 'smaple'; valid: best, sample, source"
  ):
    load("idc_v1:smaple")


@pytest.mark.extended
@pytest.mark.parametrize("name", files.names("get_config"))
def test_every_config_trains_a_step(name, tmp_path):
  """Those of V2 with the quick network, but for one of them."""
  network = {"model__shallow": True, "model__separable": False}
  if name == "idc_v2":
    network = {"model__name": "mobilenet_v2"}
  else:
    # Which has no residual blocks.
    network |= {"model__name": "mobilenet_v1", "model__drop_path": 0.0}
  config = toy.load(
    f"{name}:test",
    base={**toy.STEPS, "data.image_size": 16},
    train__steps=1,
    eval__every_steps=1,
    checkpoint__every_steps=1,
    **network,
  )
  summary = run(config, tmp_path / name)
  assert summary["steps"] == 1
  assert np.isfinite(summary["test/loss"])
