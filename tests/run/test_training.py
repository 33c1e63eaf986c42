"""Whole runs in this process, on the embedded sample."""

import json
import pathlib

import numpy as np
import pytest

from mn_jax.config import checks, files
from mn_jax.data.datasets import registry as datasets
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.observe import clock
from mn_jax.observe.console import Console
from mn_jax.observe.writers import read_lines
from mn_jax.run import setup, training
from mn_jax.train import checkpoint, losses

pytestmark = pytest.mark.usefixtures("standard_promotion")

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = files.names("get_config")
# The sample's own images, small and few steps, and half of the layers.
TINY = {
  "data.image_size": 16,
  "model.width": 0.125,
  "model.shallow": True,
  "model.separable": False,
  "train.batch_size": 32,
  "train.epochs": 0.0,
  "train.steps": 6,
  "eval.batch_size": 64,
  "eval.every_epochs": 0.0,
  "eval.every_steps": 3,
  "checkpoint.every_epochs": 0.0,
  "checkpoint.every_steps": 2,
  "observe.log_every_steps": 2,
}


def load(name="idc_v1", arg="test", **overrides):
  made = files.read_config(f"{name}:{arg}")
  fields = {key.replace("__", "."): value for key, value in overrides.items()}
  made.update_from_flattened_dict({**TINY, **fields})
  return checks.from_config_dict(made)


def run(config, workdir, stop_at=None):
  """The summary of a run, or None if it was stopped."""
  summaries = training.train_and_evaluate(
    config,
    workdir,
    console=Console(quiet=True),
    stop_requested=lambda step: step == stop_at,
  )
  return None if summaries is None else summaries[0]


def logged(workdir):
  """The lines of metrics.jsonl without the speed."""
  return [
    {k: v for k, v in line.items() if not k.startswith("speed/")}
    for line in read_lines(workdir / "metrics.jsonl")
  ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(workdir, summary, how often the loss was traced) of one whole run."""
  import jax

  workdir = tmp_path_factory.mktemp("runs") / "whole"
  traced = []
  original = losses.cross_entropy

  def counted(*args, **kwargs):
    traced.append(1)
    return original(*args, **kwargs)

  losses.cross_entropy = counted
  try:
    with jax.numpy_dtype_promotion("standard"):
      summary = run(load(), workdir)
  finally:
    losses.cross_entropy = original
  return workdir, summary, len(traced)


def test_steps_are_traced_once(finished):
  # Six train steps, two validations and the test: one trace of each step.
  assert finished[2] == 2


def test_steps_transfer_nothing_implicitly(finished, tmp_path, monkeypatch):
  """What a dispatch needs is on the device before it starts."""
  import jax

  original = setup.Setup.train_step
  guarded = []

  def train_step(self, state, batch):
    guarded.append(1)
    with jax.transfer_guard("disallow"):
      return original(self, state, batch)

  monkeypatch.setattr(setup.Setup, "train_step", train_step)
  summary = run(load(), tmp_path / "guarded")
  assert len(guarded) == 6
  assert summary["state_sha256"] == finished[1]["state_sha256"]


def test_summary_and_files(finished):
  workdir, summary, _ = finished
  assert summary == json.loads((workdir / "summary.json").read_text())
  assert summary["steps"] == 6
  assert summary["best_step"] in (3, 6)
  assert summary["params"] == 258_406
  assert summary["test/count"] == 400
  assert 0 <= summary["test/balanced_accuracy"] <= 1
  assert len(summary["state_sha256"]) == len(summary["split_sha256"]) == 64
  split = json.loads((workdir / "split.json").read_text())
  assert split["sha256"] == summary["split_sha256"]
  groups = [set(split["groups"][part]) for part in ("train", "val", "test")]
  assert len(set.union(*groups)) == sum(map(len, groups)) == 40
  for name in ("val_confusion_matrix", "test_pr_curve", "train_images"):
    assert (workdir / "figures" / f"{name}.png").stat().st_size > 1000
  assert not list(workdir.glob("**/*.partial"))
  steps = {int(p.name) for p in (workdir / "checkpoints").iterdir()}
  assert {6, summary["best_step"]} <= steps <= {3, 4, 6}


def test_logged_metrics(finished):
  lines = logged(finished[0])
  assert [line["step"] for line in lines] == [2, 3, 4, 6, 6, 6]
  assert all("train/loss" in line for line in (lines[0], lines[2], lines[3]))
  assert lines[1]["val/count"] == 300
  assert lines[5]["test/count"] == 400
  assert "val/majority_rate" in lines[1]


def test_complete_run_is_left_alone(finished):
  workdir, summary, _ = finished
  before = (workdir / "summary.json").stat().st_mtime_ns
  assert run(load(), workdir) == summary
  assert (workdir / "summary.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("stop_at", [1, 5])
def test_stopped_and_continued_equals_uninterrupted(
  finished, tmp_path, stop_at
):
  workdir, summary, _ = finished
  part = tmp_path / "part"
  assert run(load(), part, stop_at=stop_at) is None
  assert not (part / "summary.json").exists()
  continued = run(load(), part)
  assert continued["state_sha256"] == summary["state_sha256"]
  assert continued["test/loss"] == summary["test/loss"]
  assert continued["best_step"] == summary["best_step"]
  assert logged(part) == logged(workdir)


@pytest.fixture
def dispatched(tmp_path, monkeypatch):
  """(workdir, summary, steps asked for a stop, images counted, traces)."""
  asked, counted, traced = [], [], []
  original = losses.cross_entropy

  def counting(*args, **kwargs):
    traced.append(1)
    return original(*args, **kwargs)

  monkeypatch.setattr(losses, "cross_entropy", counting)
  monkeypatch.setattr(
    clock.Clock, "count", lambda _, images: counted.append(images)
  )
  workdir = tmp_path / "two_at_once"
  (summary,) = training.train_and_evaluate(
    load(train__steps_per_dispatch=2),
    workdir,
    console=Console(quiet=True),
    stop_requested=lambda step: asked.append(step),
  )
  return workdir, summary, asked, counted, len(traced)


def test_two_steps_in_a_dispatch(finished, dispatched, tmp_path):
  """As the same two by themselves; XLA fuses, and so rounds, differently."""
  workdir, summary, asked, counted, traced = dispatched
  # The validation after step 3 leaves no room for two.
  assert asked == [0, 2, 3, 4]
  # The first dispatch of each length compiles: a program more.
  assert counted == [32, 64]
  assert traced == finished[2] + 1
  assert checkpoint.steps(workdir) == checkpoint.steps(finished[0])
  for mine, its in zip(logged(workdir), logged(finished[0]), strict=True):
    assert mine.keys() == its.keys()
    for name in {"step", "train/loss", "train/grad_norm", "val/loss"} & {*its}:
      assert mine[name] == pytest.approx(its[name], rel=1e-5)
  assert summary["test/loss"] == pytest.approx(
    finished[1]["test/loss"], rel=1e-5
  )
  # Dispatches end at the same steps: to the bit.
  config = load(train__steps_per_dispatch=2)
  assert run(config, tmp_path / "part", stop_at=2) is None
  continued = run(config, tmp_path / "part")
  assert continued["state_sha256"] == summary["state_sha256"]
  assert logged(tmp_path / "part") == logged(workdir)


def test_stop_before_the_first_step_saves_nothing(tmp_path):
  assert run(load(), tmp_path / "none", stop_at=0) is None
  assert not list((tmp_path / "none" / "checkpoints").iterdir())


def test_damaged_checkpoint_is_set_aside(finished, tmp_path):
  part = tmp_path / "part"
  run(load(), part, stop_at=5)
  for path in (part / "checkpoints" / "5").glob("state/**/*"):
    if path.is_file():
      path.write_bytes(b"")
  (part / "checkpoints" / "999").mkdir()
  continued = run(load(), part)
  assert continued["state_sha256"] == finished[1]["state_sha256"]
  assert logged(part) == logged(finished[0])
  aside = {p.name for p in (part / "checkpoints_damaged").iterdir()}
  assert aside == {"5", "999"}


def test_another_config_is_refused(finished):
  with pytest.raises(InputError, match=r"optim\.learning_rate: 0\.001 there"):
    run(load(optim__learning_rate=0.5), finished[0])


def test_other_images_are_refused(finished, tmp_path):
  part = tmp_path / "part"
  run(load(), part, stop_at=1)
  split = json.loads((part / "split.json").read_text())
  (part / "split.json").write_text(json.dumps({**split, "sha256": "0" * 64}))
  with pytest.raises(InputError, match="sha256"):
    run(load(), part)


def test_refused_run_leaves_no_folder(tmp_path):
  with pytest.raises(InputError, match="at most the 1300"):
    run(load(train__batch_size=4096), tmp_path / "new")
  assert not (tmp_path / "new").exists()


@pytest.mark.devices(4)
def test_batch_must_divide_among_devices(tmp_path):
  with pytest.raises(InputError, match=r"train\.batch_size: got 30.*4 devices"):
    run(load(train__batch_size=30), tmp_path / "new")


def test_patience_ends_the_run_early(tmp_path):
  # Without learning no validation beats the first: it ends after two more.
  config = load(
    optim__learning_rate=0.0,
    train__patience=2,
    train__steps=30,
    model__norm_momentum=0.0,
    eval__best_metric="accuracy",
    eval__every_steps=1,
  )
  summary = run(config, tmp_path / "patient")
  assert summary["steps"] < 30
  lines = [line for line in logged(tmp_path / "patient") if "val/loss" in line]
  scores = [line["val/accuracy"] for line in lines]
  assert len(scores) - 1 - int(np.argmax(scores)) == 2
  # The last state was saved: the same command has nothing left to train.
  (tmp_path / "patient" / "summary.json").unlink()
  again = run(config, tmp_path / "patient")
  assert again["state_sha256"] == summary["state_sha256"]


def test_device_placement_trains_the_same(finished, tmp_path):
  config = load(data__placement="device")
  summary = run(config, tmp_path / "device")
  assert summary["state_sha256"] == finished[1]["state_sha256"]


def test_a_run_may_move_between_placements(finished, tmp_path):
  run(load(), tmp_path / "moved", stop_at=3)
  summary = run(load(data__placement="device"), tmp_path / "moved")
  assert summary["state_sha256"] == finished[1]["state_sha256"]


@pytest.mark.parametrize(
  "name",
  [
    name if name == "idc_v1" else pytest.param(name, marks=pytest.mark.extended)
    for name in CONFIGS
  ],
)
def test_every_config_trains_a_step(name, tmp_path):
  """Those of V2 with the quick network, but for one of them."""
  full = files.load_config(name)
  assert full.experiment == name
  assert full.data.name in datasets.DATASETS
  assert full.model.name in registry.MODELS
  for arg in ("sample", "test"):
    assert load(name, arg).experiment == f"{name}_{arg}"
  network = {"model__name": "mobilenet_v1"}
  if name == "idc_v2":
    network = {"model__shallow": False, "model__separable": True}
  config = load(
    name,
    train__steps=1,
    eval__every_steps=1,
    checkpoint__every_steps=1,
    **network,
  )
  summary = run(config, tmp_path / name)
  assert summary["steps"] == 1
  assert np.isfinite(summary["test/loss"])


def test_unknown_config_argument_lists_the_valid_ones():
  with pytest.raises(InputError, match="got 'smaple'; valid: sample, source"):
    load(arg="smaple")
