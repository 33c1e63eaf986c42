"""Tests of training metrics over whole epochs."""

import functools
import types

import numpy as np
import pytest

from mn_jax.config.plan import Cadence
from mn_jax.run import epoch_means
from mn_jax.train.checkpoint import Position
from tests import toy_transfer as toy
from tests.toy_transfer import logged

# 1,300 images in batches of 512: epochs end after updates 3 and 6.
load = functools.partial(
  toy.load,
  base=toy.QUICK,
  train__batch_size=512,
  train__steps=7,
  observe__log_every_steps=1,
)


def take(position, steps, *, start=0, examples=10, batch=4):
  """What is logged of steps whose every loss is their number."""
  setup = types.SimpleNamespace(
    plan=types.SimpleNamespace(epoch=Cadence(examples, batch, 1000)),
    data=types.SimpleNamespace(multi_label=False),
  )
  found = {}
  for step in range(start + 1, steps + 1):
    sums = {"loss": 4.0 * step, "correct": 1.0, "count": 4.0, "steps": 1.0}
    sums["grad_norm"] = 2.0
    position.batch = step
    if means := epoch_means.add(setup, position, step, sums):
      found[step] = means
  return setup, found


def test_a_batch_counts_for_the_epoch_of_its_first_image():
  position = Position()
  setup, found = take(position, 6)
  assert {k: v["train_epoch/loss"] for k, v in found.items()} == {
    3: 2.0,
    5: 4.5,
  }
  assert found[3]["train_epoch/count"] == 12
  assert found[3]["train_epoch/accuracy"] == 0.25
  # The last epoch has one update only, and the chosen checkpoint is of the
  # first, though not at its end.
  position.best_step = 2
  lines = [{"step": step, **means} for step, means in found.items()]
  results = epoch_means.results(setup, position, lines)
  assert results["last/train/loss"] == 6.0
  assert results["last/train/count"] == 4
  assert results["train/loss"] == 2.0
  position.best_step = 6
  results = epoch_means.results(setup, position, lines)
  assert results["train/loss"] == 6.0


def test_an_epoch_that_is_not_known_from_its_start_has_no_mean():
  position = Position(batch=4)  # as an earlier version saved it
  setup, found = take(position, 5, start=4)
  assert found == {}
  assert position.epoch_sums == {}
  assert epoch_means.results(setup, position, []) == {}
  _, found = take(position, 8, start=5)
  assert found[8]["train_epoch/loss"] == 7.0


@pytest.mark.parametrize(("examples", "batch"), [(10, 4), (8, 4), (13, 13)])
def test_updates_of_an_epoch(examples, batch):
  cadence = Cadence(examples, batch, 1000)
  for step in range(1, 40):
    epochs = [(i * batch) // examples for i in range(step)]
    assert cadence.updates(step) == epochs.count(epochs[-1])
    ends = (step * batch) // examples != epochs[-1]
    assert cadence.completes(step) == ends


def test_a_run_stopped_within_epochs_has_the_same_means(tmp_path):
  (expected, _), workdir = toy.run(load(), tmp_path / "whole"), tmp_path / "run"
  for stop_at in (2, 5):
    assert toy.run(load(), workdir, stop_at=stop_at)[0] is None
  summary, _ = toy.run(load(), workdir)
  lines = logged(workdir)
  assert lines == logged(tmp_path / "whole")
  assert summary["state_sha256"] == expected["state_sha256"]
  losses = {x["step"]: x["train/loss"] for x in lines if "train/loss" in x}
  means = {
    x["step"]: x["train_epoch/loss"] for x in lines if "train_epoch/loss" in x
  }
  assert means.keys() == {3, 6}
  for end, mean in means.items():
    steps = range(end - 2, end + 1)
    # In training mode, before each update: what the steps themselves report.
    assert mean == pytest.approx(np.mean([losses[k] for k in steps]), rel=1e-12)
  assert summary["last/train/loss"] == pytest.approx(losses[7], rel=1e-12)
  assert summary["train/loss"] == means.get(
    summary["best_step"], summary["last/train/loss"]
  )
  for name, value in summary.items():
    if "train/" in name:
      assert value == expected[name], name
