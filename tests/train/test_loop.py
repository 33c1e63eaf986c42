"""The training loop's contract, checked with a run that only records calls."""

import contextlib
import functools
import itertools

from mn_jax.config.plan import Cadence, Plan
from mn_jax.train import loop


class Recorder:
  """A run whose state is the number of steps taken."""

  def __init__(self, step=0, improves_at=None, worse_after=1000):
    self.step, self.calls = step, []
    self.improves_at, self.worse_after = improves_at, worse_after

  @property
  def improved(self):
    return self.step == self.improves_at

  @property
  def out_of_patience(self):
    return self.step >= self.worse_after

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

  def wait(self):
    self.calls.append("wait")

  def _call(self, name, state):
    assert state == self.step
    self.calls.append(name)

  validate = functools.partialmethod(_call, "validate")
  save = functools.partialmethod(_call, "save")
  stop = functools.partialmethod(_call, "stop")


def train(run, stop_requested=lambda step, saved: False):
  """Four steps; logged every 2, validated every 3, saved every 4."""
  plan = Plan(
    total_steps=4,
    warmup_steps=0,
    decay_steps=0,
    steps_per_epoch=1.0,
    epoch=Cadence(1, 1, 4),
    log=Cadence(2, 1, 4),
    evaluate=Cadence(3, 1, 4),
    save=Cadence(4, 1, 4),
    profile=(),
    steps_per_dispatch=1,
  )
  return loop.train(run, plan, stop_requested)


def test_log_validate_and_save_follow_completed_updates_in_this_order():
  run = Recorder()
  assert train(run) == 4
  assert run.calls == [
    *("data", "step 1"),
    *("data", "step 2", "log"),
    *("data", "step 3", "validate"),
    *("data", "step 4", "log", "validate", "save"),
    "wait",
  ]
  resumed = Recorder(step=3)
  assert train(resumed) == 4
  assert resumed.calls == run.calls[-6:]


def test_an_improvement_is_saved_at_once():
  run = Recorder(improves_at=3)
  train(run)
  assert run.calls.index("save") == run.calls.index("step 4") - 2


def test_a_stop_may_be_requested_before_each_dispatch_and_at_the_end():
  for stop_at in (0, 2, 4):
    run, steps, saved = Recorder(), [], []

    def stop_requested(step, on_disk, steps=steps, saved=saved, at=stop_at):
      steps.append(step)
      saved.append(on_disk)
      return step == at

    assert train(run, stop_requested) is None
    assert steps == [*range(stop_at + 1)]
    assert saved == [step in (0, 4) for step in steps]
    assert run.step == stop_at
    assert run.calls[-1] == "stop"


def test_a_run_out_of_patience_is_saved_and_ends():
  run = Recorder(worse_after=2)
  assert train(run) == 2
  assert run.calls[-2:] == ["save", "wait"]
  # A checkpoint that was out of patience when saved takes no further step.
  resumed = Recorder(step=2, worse_after=2)
  assert train(resumed) == 2
  assert resumed.calls == ["wait"]
