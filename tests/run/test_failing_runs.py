"""Runs that end with a failure, in this process."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.errors import RunError
from mn_jax.observe.console import Console
from mn_jax.run import setup, training
from mn_jax.train import checkpoint
from tests import toy_transfer as toy
from tests.run.test_training import load, run
from tests.toy_transfer import logged


def poison(monkeypatch, *steps):
  """Makes the loss of some steps NaN."""
  batches = setup.Setup.batches

  def poisoned(self, done):
    for batch in batches(self, done):
      mask = batch["mask"]
      rows = range(done + 1, done + 1 + mask.size // 32)
      done = rows[-1]
      factors = [np.nan if step in steps else 1.0 for step in rows]
      shape = (-1, *(1,) * (mask.ndim - 1))
      yield {**batch, "mask": mask * np.float32(factors).reshape(shape)}

  monkeypatch.setattr(setup.Setup, "batches", poisoned)


NOT_FINITE = (
  r"the loss is nan at step 4; the newest checkpoint in '.*': 3\. .*"
  r"optim\.skip_nonfinite=true, or .* with optim\.clip_norm$"
)


def test_a_loss_that_is_not_finite_ends_the_run_or_is_skipped(
  tmp_path, monkeypatch
):
  poison(monkeypatch, 4, 5)
  for _ in range(2):  # the same command ends the same way
    with pytest.raises(RunError, match=NOT_FINITE):
      run(load(), tmp_path / "run")
    assert checkpoint.steps(tmp_path / "run") == [2, 3]
    assert not (tmp_path / "run/summary.json").exists()

  config = load(optim__skip_nonfinite=True)
  summary, printed = toy.run(config, tmp_path / "run")
  assert summary["skipped_updates"] == 2
  assert "optim.skip_nonfinite True (before: False)" in printed
  assert "4/6  skipped updates: 1 (loss or gradient not finite)" in printed
  lines = [x for x in logged(tmp_path / "run") if "train/loss" in x]
  assert [line.get("train/skipped_updates") for line in lines] == [None, 1, 1]
  # The schedule is that of the updates that are made.
  *_, rate = (line["train/learning_rate"] for line in lines)
  assert rate == float(toy.build(config).schedule(3))


@pytest.mark.extended
def test_several_steps_and_seeds_end_at_a_loss_that_is_not_finite(
  tmp_path, monkeypatch
):
  poison(monkeypatch, 4, 5)
  for name, fields in (
    ("", {"train__steps_per_dispatch": 2}),
    ("seed1", {"train__replicas": 2}),
  ):
    with pytest.raises(RunError, match=NOT_FINITE):
      run(load(**fields), tmp_path / f"runs{name}")
    assert checkpoint.steps(tmp_path / f"runs{name}" / name) == [2, 3]
  poison(monkeypatch, *range(1, 7))
  with pytest.raises(RunError, match="all 6 updates were skipped"):
    run(load(optim__skip_nonfinite=True), tmp_path / "none")


def test_a_folder_that_is_moved_ends_the_run(tmp_path):
  """What is written from then on would lack what was written before."""
  workdir, moved = tmp_path / "run", tmp_path / "moved"

  def move(step, saved):
    del saved
    if step == 3:
      # Of a save that fails half way Orbax leaves warnings to later tests.
      while not (workdir / "checkpoints/3").exists():
        time.sleep(0.01)
      workdir.rename(moved)
      workdir.mkdir()

  with (
    jax.numpy_dtype_promotion("standard"),
    pytest.raises(RunError, match="/run was removed, moved or unmounted while"),
  ):
    training.train_and_evaluate(
      load(), workdir, console=Console(quiet=True), stop_requested=move
    )
  assert 2 in checkpoint.steps(moved)
  assert not (workdir / "summary.json").exists()


def test_a_state_that_is_not_finite_is_not_saved(tmp_path, monkeypatch):
  """An update may overflow although loss and gradient are finite."""
  train_step = setup.Setup.train_step

  def overflowing(self, state, batch):
    state, sums = train_step(self, state, batch)
    broken = jax.tree.map(lambda x: x + jnp.inf, state.batch_stats)
    return state.replace(batch_stats=broken), sums

  monkeypatch.setattr(setup.Setup, "train_step", overflowing)
  with pytest.raises(RunError, match=r"batch_stats/.* is not finite at step 1"):
    run(load(checkpoint__every_steps=1), tmp_path / "run")
  assert not list((tmp_path / "run/checkpoints").iterdir())
