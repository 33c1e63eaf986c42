"""The training loop's contract, held to a run that only writes down calls."""

import contextlib
import itertools

import pytest

from mn_jax.config.plan import Cadence, Plan
from mn_jax.train import loop


class Recorded:
  """A run whose state is the number of steps taken."""

  improves_at = worse_after = None

  def __init__(self, step=0):
    self.step, self.calls = step, []

  @property
  def improved(self):
    return self.step == self.improves_at

  @property
  def out_of_patience(self):
    return self.worse_after is not None and self.step >= self.worse_after

  def start(self):
    return self.step

  def batches(self):
    return itertools.repeat("batch")

  def train_step(self, state, batch):
    assert batch == "batch"
    return state + 1, "sums"

  @contextlib.contextmanager
  def timed(self, section):
    self.calls.append(section)
    yield

  @contextlib.contextmanager
  def dispatch(self, step):
    self.calls.append(f"step {step}")
    yield

  def add(self, step, sums):
    assert sums == "sums"
    self.step = step

  def log(self):
    self.calls.append("log")

  def validate(self, state):
    assert state == self.step
    self.calls.append("validate")

  def save(self, state):
    assert state == self.step
    self.calls.append("save")

  def stop(self, state):
    assert state == self.step
    self.calls.append("stop")

  def wait(self):
    self.calls.append("wait")


def plan(total=4, log=2, evaluate=3, save=4):
  return Plan(
    total_steps=total,
    warmup_steps=0,
    steps_per_epoch=1.0,
    log=Cadence(log, 1, total),
    evaluate=Cadence(evaluate, 1, total),
    save=Cadence(save, 1, total),
    profile=(),
    steps_per_dispatch=1,
  )


def never(step):
  del step
  return False


def test_log_validate_save_in_this_order_after_completed_updates():
  run = Recorded()
  assert loop.train(run, plan(), never) == 4
  assert run.calls == [
    *("data", "step 1"),
    *("data", "step 2", "log"),
    *("data", "step 3", "validate"),
    *("data", "step 4", "log", "validate", "save"),
    "wait",
  ]


def test_a_resumed_run_takes_the_rest():
  run = Recorded(step=3)
  assert loop.train(run, plan(), never) == 4
  assert run.calls[:2] == ["data", "step 4"]


def test_an_improvement_is_saved_at_once():
  run = Recorded()
  run.improves_at = 3
  loop.train(run, plan(), never)
  assert run.calls.index("save") == run.calls.index("step 4") - 2


@pytest.mark.parametrize("stop_at", [0, 2])
def test_a_stop_is_asked_for_before_each_dispatch(stop_at):
  run, asked = Recorded(), []

  def stop_requested(step):
    asked.append(step)
    return step == stop_at

  assert loop.train(run, plan(), stop_requested) is None
  assert asked == [*range(stop_at + 1)]
  assert run.step == stop_at
  assert run.calls[-1] == "stop"


def test_a_run_out_of_patience_is_saved_and_ends():
  run = Recorded()
  run.worse_after = 2
  assert loop.train(run, plan(), never) == 2
  assert run.calls[-2:] == ["save", "wait"]
  # So does one that was so when it was saved.
  again = Recorded(step=2)
  again.worse_after = 2
  assert loop.train(again, plan(), never) == 2
  assert again.calls == ["wait"]
