"""Several seeds trained together in this process, against each by itself."""

import json

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.run import setup, split_data, training
from mn_jax.train import checkpoint
from tests import toy_transfer
from tests.run.test_training import load, logged, run

pytestmark = pytest.mark.usefixtures("standard_promotion")

# Of the program, not of the run.
TIMES = (
  "replicas",
  "images_per_sec",
  "data_wait_share",
  "compile_seconds",
  "wall_seconds",
)


def run_together(workdir, stop_at=None, **overrides):
  """The summaries of two seeds, or None if they were stopped."""
  return training.train_and_evaluate(
    load(train__replicas=2, **overrides),
    workdir,
    console=Console(quiet=True),
    stop_requested=lambda step: step == stop_at,
  )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """The folder of the seeds' runs, each by itself."""
  folder = tmp_path_factory.mktemp("alone")
  with jax.numpy_dtype_promotion("standard"):
    for seed in range(2):
      run(load(seed=seed), folder / f"seed{seed}")
  return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
  """The folder of both, trained together."""
  folder = tmp_path_factory.mktemp("together") / "runs"
  with jax.numpy_dtype_promotion("standard"):
    assert len(run_together(folder)) == 2
  return folder


def read(path):
  return json.loads(path.read_text())


def assert_same(folder, expected):
  """What two seeds left in two folders is the same but for the times."""
  for seed in ("seed0", "seed1"):
    mine, its = folder / seed, expected / seed
    for name in ("config.json", "split.json", "network.json"):
      assert read(mine / name) == read(its / name)
    summaries = [read(path / "summary.json") for path in (mine, its)]
    for name in TIMES:
      del summaries[0][name], summaries[1][name]
    assert summaries[0] == summaries[1]
    assert logged(mine) == logged(its)
    for part in ("val", "test"):
      with (
        np.load(mine / f"predictions/{part}.npz") as found,
        np.load(its / f"predictions/{part}.npz") as wanted,
      ):
        for name in wanted.files:
          np.testing.assert_array_equal(found[name], wanted[name])


def test_each_leaves_what_it_leaves_alone(alone, together):
  assert_same(together, alone)
  shas = [read(p)["state_sha256"] for p in together.glob("*/summary.json")]
  assert len(set(shas)) == 2
  assert {p.name for p in together.iterdir()} == {"seed0", "seed1"}
  for seed in ("seed0", "seed1"):
    summary = read(together / seed / "summary.json")
    assert summary["replicas"] == 2
    names = {p.name for p in (alone / seed).iterdir()}
    assert {p.name for p in (together / seed).iterdir()} == names
    steps = checkpoint.steps(together / seed)
    assert {6, summary["best_step"]} <= set(steps)
    variables = checkpoint.read_variables(together / seed, 6)
    expected = checkpoint.read_variables(alone / seed, 6)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_each_has_the_order_of_its_seed():
  def ignore(done, total):
    del done, total

  def ids(made):
    return made.loader.ids(0, 6)

  configs = training.configs_of_seeds(load(seed=4, train__replicas=2))
  data = split_data.load(configs[0].data, ignore)
  first = setup.build(configs[0], data, ignore)
  second = setup.another_seed(first, configs[1])
  alone = setup.build(load(seed=5), data, ignore)
  np.testing.assert_array_equal(ids(second), ids(alone))
  assert not np.array_equal(ids(first), ids(second))
  assert second.step is first.step


@pytest.mark.parametrize("stop_at", [5])
def test_stopped_and_continued_equals_uninterrupted(alone, tmp_path, stop_at):
  assert run_together(tmp_path, stop_at=stop_at) is None
  assert checkpoint.steps(tmp_path / "seed0") == checkpoint.steps(
    tmp_path / "seed1"
  )
  assert len(run_together(tmp_path)) == 2
  assert_same(tmp_path, alone)


@pytest.mark.parametrize("killed_at", [4])
def test_killed_between_two_saves_goes_on(
  alone, tmp_path, monkeypatch, killed_at
):
  save = checkpoint.Checkpoints.save

  def killed(self, state, position, *, score):
    if position.batch == killed_at and "seed1" in str(self.path):
      raise KeyboardInterrupt
    save(self, state, position, score=score)

  monkeypatch.setattr(checkpoint.Checkpoints, "save", killed)
  with pytest.raises(KeyboardInterrupt):
    run_together(tmp_path)
  assert max(checkpoint.steps(tmp_path / "seed0")) == killed_at
  monkeypatch.setattr(checkpoint.Checkpoints, "save", save)
  run_together(tmp_path)
  assert_same(tmp_path, alone)


@pytest.mark.extended
def test_what_is_complete_is_left_as_it_is(alone, tmp_path):
  first = run_together(tmp_path)
  assert run_together(tmp_path) == first
  before = (tmp_path / "seed0/summary.json").stat().st_mtime_ns
  (tmp_path / "seed1/summary.json").unlink()
  again = run_together(tmp_path)
  assert (tmp_path / "seed0/summary.json").stat().st_mtime_ns == before
  assert [s["state_sha256"] for s in again] == [
    s["state_sha256"] for s in first
  ]
  assert_same(tmp_path, alone)


@pytest.mark.extended
def test_images_on_the_device_and_micro_batches(tmp_path):
  fields = {
    "data__placement": "device",
    "optim__accumulate": 2,
    "train__ema_decay": 0.9,
    "train__steps": 2,
  }
  found = run_together(tmp_path / "both", **fields)
  expected = run(load(seed=1, **fields), tmp_path / "one")
  assert found[1]["state_sha256"] == expected["state_sha256"]
  assert found[1]["test/loss"] == expected["test/loss"]
  several = run_together(
    tmp_path / "several", train__steps_per_dispatch=2, **fields
  )
  for mine, its in zip(several, found, strict=True):
    assert mine["test/loss"] == pytest.approx(its["test/loss"], rel=1e-5)


@pytest.mark.extended
def test_heads_on_features_that_all_share(tmp_path):
  weights = tmp_path / "weights.h5"
  toy_transfer.write_weights(weights, classes=5)
  fields = {
    "model__weights": str(weights),
    "model__transfer": "frozen",
    "train__steps": 2,
  }
  both, _ = toy_transfer.run_all(
    toy_transfer.load(train__replicas=2, **fields), tmp_path / "both"
  )
  assert [summary["cached_features"] for summary in both] == [True, True]
  alone, said = toy_transfer.run(
    toy_transfer.load(seed=1, **fields), tmp_path / "one"
  )
  assert "extracting" not in said  # they are kept
  assert both[1]["state_sha256"] == alone["state_sha256"]
  assert both[0]["state_sha256"] != alone["state_sha256"]
  several, _ = toy_transfer.run_all(
    toy_transfer.load(train__replicas=2, train__steps_per_dispatch=2, **fields),
    tmp_path / "several",
  )
  for mine, its in zip(several, both, strict=True):
    assert mine["test/loss"] == pytest.approx(its["test/loss"], rel=1e-5)


def test_one_and_several_do_not_share_a_folder(alone, together, tmp_path):
  with pytest.raises(InputError, match="whose folders are the runs of several"):
    run(load(), together)
  with pytest.raises(InputError, match=r"run of one seed, with train\.replic"):
    run_together(alone / "seed0")
  with pytest.raises(InputError, match=r"at most the 1300"):
    run_together(tmp_path / "new", train__batch_size=4096)
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("train__patience", 3, r"train\.patience: got 3 with train\.replicas 2"),
    ("checkpoint__keep_latest", 1, r"keep_latest: got 1 with train\.replicas"),
    ("seed", 2**31 - 1, r"train\.replicas: got 2 with seed 2147483647"),
    ("train__replicas", 0, r"train\.replicas: got 0; valid: at least 1"),
  ],
)
def test_what_only_one_seed_can_have_is_refused(field, value, message):
  with pytest.raises(InputError, match=message):
    load(**{"train__replicas": 2, field: value})


def test_the_terminal_has_a_line_and_a_row_for_each(tmp_path, capsys):
  training.train_and_evaluate(
    load(train__replicas=2, train__steps=2),
    tmp_path,
    console=Console(),
    stop_requested=lambda step: False,
  )
  printed = capsys.readouterr().out
  assert "Trained together: seeds 0, 1" in printed
  lines = [x for x in printed.splitlines() if "val loss" in x]
  assert ["seed 0: " in x for x in lines] == [True, False]
  assert ["seed 1: " in x for x in lines] == [False, True]
  assert "best checkpoints of 2 seeds" in printed
  assert "│ mean" in printed
