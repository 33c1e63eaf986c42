"""Several seeds trained together, against each by itself."""

import contextlib
import shutil
import types

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.run import setup, split_data, training
from mn_jax.train import checkpoint
from mn_jax.train import state as state_lib
from mn_jax.train.seeds import Seeds
from tests import toy_transfer as toy
from tests.run.test_training import load
from tests.toy_transfer import logged, read
from tests.train.test_checkpoint import (
  opened,
  save,
  state_at,
  steps_on_disk,
  truncate,
)

# As in the tests of checkpoints: Orbax's other reads end later.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)

SEEDS = ("seed0", "seed1")


def run_together(workdir, stop_at=None, **overrides):
  """The summaries of two seeds, or None if they were stopped."""
  config = load(train__replicas=2, **overrides)
  return toy.run_seeds(config, workdir, stop_at=stop_at)[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """The folder of the seeds' runs, each by itself."""
  folder = tmp_path_factory.mktemp("alone")
  for number, name in enumerate(SEEDS):
    toy.run(load(seed=number), folder / name)
  return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
  """The folder of both, trained together, and what was printed."""
  folder = tmp_path_factory.mktemp("together") / "runs"
  summaries, printed = toy.run_seeds(load(train__replicas=2), folder)
  assert len(summaries) == 2
  return folder, printed


def assert_same(folder, expected):
  """Two seeds left the same in two folders but for the times."""
  for seed in SEEDS:
    actual_run, expected_run = folder / seed, expected / seed
    names = {p.name for p in expected_run.iterdir()}
    assert {p.name for p in actual_run.iterdir()} == names
    for name in ("config.json", "split.json", "network.json"):
      assert read(actual_run, name) == read(expected_run, name)
    summaries = [
      read(path, "summary.json") for path in (actual_run, expected_run)
    ]
    for summary in summaries:
      # Of the program, not of the run.
      for name in (
        *("replicas", "images_per_sec", "data_wait_share"),
        *("compile_seconds", "wall_seconds", "metrics_sha256"),
      ):
        del summary[name]
    assert summaries[0] == summaries[1]
    assert logged(actual_run) == logged(expected_run)
    written = [
      (path / "reference.npz").read_bytes()
      for path in (actual_run, expected_run)
    ]
    assert written[0] == written[1]
    for part in ("val", "test"):
      arrays, expected_arrays = (
        dict(np.load(path / f"predictions/{part}.npz"))
        for path in (actual_run, expected_run)
      )
      jax.tree.map(np.testing.assert_array_equal, arrays, expected_arrays)


def test_each_seed_leaves_what_it_leaves_alone(alone, together):
  folder, printed = together
  assert_same(folder, alone)
  assert {p.name for p in folder.iterdir()} == set(SEEDS)
  summaries = [read(folder / seed, "summary.json") for seed in SEEDS]
  assert summaries[0]["state_sha256"] != summaries[1]["state_sha256"]
  for seed, summary in zip(SEEDS, summaries, strict=True):
    assert summary["replicas"] == 2
    steps = checkpoint.steps(folder / seed)
    assert {6, summary["best_step"]} <= set(steps)
    variables, expected = (
      checkpoint.read_variables(path / seed, 6) for path in (folder, alone)
    )
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
  # The terminal has a line and a row for each.
  assert "Trained together: seeds 0, 1" in printed
  lines = [x for x in printed.splitlines() if "val loss" in x]
  assert ["seed 0: " in x for x in lines] == [True, False] * 2
  assert ["seed 1: " in x for x in lines] == [False, True] * 2
  assert "best checkpoints of 2 seeds" in printed
  assert "│ mean" in printed


def test_each_seed_has_its_own_order_and_shares_the_step():
  configs = training.configs_of_seeds(load(seed=4, train__replicas=2))
  data = split_data.load(configs[0].data, toy.ignore_progress)
  first = setup.build(configs[0], data, toy.ignore_progress)
  second = setup.another_seed(first, configs[1])
  alone = setup.build(load(seed=5), data, toy.ignore_progress)
  ids = second.loader.ids(0, 6)
  np.testing.assert_array_equal(ids, alone.loader.ids(0, 6))
  assert not np.array_equal(first.loader.ids(0, 6), ids)
  assert second.step is first.step


def test_interrupted_and_resumed_equals_uninterrupted(
  alone, tmp_path, monkeypatch
):
  """Killed when one seed had saved a step and the other had not, too."""
  save_checkpoint = checkpoint.Checkpoints.save

  def killed(self, state, position):
    if position.batch == 4 and "seed1" in str(self.path):
      raise KeyboardInterrupt
    save_checkpoint(self, state, position)

  with monkeypatch.context() as patch:
    patch.setattr(checkpoint.Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
      run_together(tmp_path)
  steps = [checkpoint.steps(tmp_path / seed) for seed in SEEDS]
  assert max(steps[0]) == 4 > max(steps[1])
  assert run_together(tmp_path, stop_at=5) is None
  assert len({tuple(checkpoint.steps(tmp_path / seed)) for seed in SEEDS}) == 1
  assert len(run_together(tmp_path)) == 2
  assert_same(tmp_path, alone)


@pytest.mark.extended
def test_a_complete_seed_is_left_alone(alone, together, tmp_path):
  folder = shutil.copytree(together[0], tmp_path / "runs")
  before = (folder / "seed0/summary.json").stat().st_mtime_ns
  (folder / "seed1/summary.json").unlink()
  run_together(folder)
  assert (folder / "seed0/summary.json").stat().st_mtime_ns == before
  assert_same(folder, alone)


@pytest.mark.extended
@pytest.mark.parametrize("frozen", [False, True])
def test_other_set_ups_equal_a_seed_alone(tmp_path, frozen):
  """On the device with micro-batches; heads on features that all share."""
  if frozen:
    toy.write_weights(tmp_path / "weights.h5", classes=5)
    fields = {
      "base": toy.TINY,
      "model__weights": str(tmp_path / "weights.h5"),
      "model__transfer": "frozen",
    }
  else:
    fields = {
      "base": {**toy.STEPS, "data.image_size": 16},
      "data__placement": "device",
      "optim__accumulate": 2,
      "train__ema_decay": 0.9,
    }
  fields["train__steps"] = 2
  both = run_together(tmp_path / "both", **fields)
  alone, printed = toy.run(load(seed=1, **fields), tmp_path / "alone")
  assert "extracting" not in printed
  assert alone["cached_features"] == frozen
  assert both[1]["state_sha256"] == alone["state_sha256"]
  assert both[1]["test/loss"] == alone["test/loss"]
  assert both[0]["state_sha256"] != alone["state_sha256"]
  scanned = run_together(
    tmp_path / "scanned", train__steps_per_dispatch=2, **fields
  )
  for summary, expected in zip(scanned, both, strict=True):
    loss = pytest.approx(expected["test/loss"], rel=1e-5)
    assert summary["test/loss"] == loss


def test_one_seed_and_several_do_not_share_a_folder(alone, together, tmp_path):
  with pytest.raises(InputError, match="whose folders are the runs of several"):
    toy.run(load(), together[0])
  with pytest.raises(InputError, match=r"run of one seed, with train\.replic"):
    run_together(alone / "seed0")
  with pytest.raises(InputError, match=r"at most the 1300"):
    run_together(tmp_path / "new", train__batch_size=4096)
  assert not (tmp_path / "new").exists()


def test_options_of_one_seed_alone_are_refused():
  for field, value, message in (
    ("train__patience", 3, r"train\.patience: got 3 with train\.replicas 2"),
    ("checkpoint__keep_latest", 1, r"keep_latest: got 1 with train\.replicas"),
    ("seed", 2**31 - 1, r"train\.replicas: got 2 with seed 2147483647"),
    ("train__replicas", 0, r"train\.replicas: got 0; valid: at least 1"),
  ):
    with pytest.raises(InputError, match=message):
      load(**{"train__replicas": 2, field: value})


@pytest.fixture
def folders(tmp_path):
  """The workdirs of two seeds."""
  folders = tmp_path / "one", tmp_path / "other"
  for folder in folders:
    folder.mkdir()
  return folders


def _start(*workdirs):
  """The step that the seeds in some folders resume from; None to start anew."""

  def resume(state, position):
    assert state_lib.sha256(state) == state_lib.sha256(state_at(position.batch))
    return position.batch

  with contextlib.ExitStack() as stack:
    runs = [
      types.SimpleNamespace(
        checkpoints=stack.enter_context(opened(workdir)),
        initial_state=state_at(0),
        check=lambda position: None,
        begin=lambda: None,
        resume=resume,
      )
      for workdir in workdirs
    ]
    (step,) = set(Seeds(runs).start())
  return step


def test_seeds_resume_from_the_newest_step_that_all_have(folders):
  one, other = folders
  assert _start(one, other) is None
  save(one, 1)
  assert _start(one, other) is None
  # What only one has is gone, or it could not be saved again.
  assert steps_on_disk(one) == set()
  save(one, 1, 2)
  save(other, 1)
  assert _start(one, other) == 1
  assert (steps_on_disk(one), steps_on_disk(other)) == ({1}, {1})


def test_a_damaged_step_of_one_seed_takes_all_back(folders):
  one, other = folders
  for workdir in folders:
    save(workdir, 1, 2)
  truncate(other / "checkpoints" / "2")
  assert _start(one, other) == 1
  assert (steps_on_disk(one), steps_on_disk(other)) == ({1}, {1})
  assert not (one / "checkpoints_damaged").exists()
  assert (other / "checkpoints_damaged" / "2").is_dir()


def test_no_seed_loses_more_than_one_step(folders):
  ahead, behind = folders
  save(ahead, scores={2: 0.5, 3: None, 4: None, 5: None})
  before = steps_on_disk(ahead)
  for step in (None, 1, 2):
    if step is not None:
      save(behind, step)
    saved = [p.name for p in (behind / "checkpoints").glob("*")]
    for order in ((ahead, behind), (behind, ahead)):
      with pytest.raises(
        InputError, match=r"one/checkpoints' is at step 5, and"
      ):
        _start(*order)
      assert steps_on_disk(ahead) == before
      # The refusal comes before anything of another seed is deleted.
      assert {*saved} <= {p.name for p in (behind / "checkpoints").glob("*")}
