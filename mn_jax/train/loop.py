"""The training loop, and what it asks of a run.

One iteration is: the next batch, a dispatch, then what is due of logging,
validating and saving, in that order. A step number always means completed
updates; the run keeps it. State and position are saved at the same boundary, so
a run that resumes from a checkpoint repeats exactly what the uninterrupted run
does.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax

from mn_jax.config.plan import Plan

# The training state, a batch and sums of metrics: of one run a `TrainState` and
# two dicts of arrays; of several seeds a tuple of them, which is theirs alone.
State = Any
Batch = Any
Sums = Any

# Told the completed updates, and whether all of them are on disk; answers
# whether to save and return.
StopRequested = Callable[[int, bool], bool]


class Run(Protocol):
  """What the loop trains: one run, or several seeds that look like one.

  Attributes:
    step: completed updates.
    improved: whether no validation was better than the one at this step.
    out_of_patience: whether too many validations were no better than the best.
  """

  step: int
  improved: bool
  out_of_patience: bool

  def start(self) -> State:
    """The state to train from: the newest checkpoint, or the initial one."""

  def batches(self) -> Iterator[Batch]:
    """Batches on the devices, one for each dispatch that is left."""

  def train_step(self, state: State, batch: Batch) -> tuple[State, Sums]:
    """Takes the steps of one dispatch; the state is donated."""

  def timed(self, section: str) -> contextlib.AbstractContextManager:
    """Adds the time of a `with` block to a section of the clock."""

  def dispatch(self, step: int) -> contextlib.AbstractContextManager:
    """Times the dispatch that ends with `step`, and keeps few in flight."""

  def add(self, step: int, sums: Sums) -> None:
    """Moves to `step`; keeps the sums, which stay on the device for now."""

  def log(self) -> None:
    """Writes the training metrics since the last log."""

  def validate(self, state: State) -> None:
    """Evaluates and compares with the best so far."""

  def save(self, state: State) -> None:
    """Starts to save state and position."""

  def stop(self, state: State) -> None:
    """Saves what is not saved yet, and waits until it is on disk."""

  def wait(self) -> None:
    """Returns when everything is on disk."""


def train(run: Run, plan: Plan, stop_requested: StopRequested) -> State | None:
  """Trains a run to its end, from its last checkpoint if it has one.

  Args:
    run: what is trained.
    plan: when something is due.
    stop_requested: asked before every dispatch and after the last.

  Returns:
    The final state, or None if the run was stopped before the end.
  """
  state = run.start()
  batches, resumed_at = run.batches(), run.step
  for step in plan.dispatches(run.step):
    if run.out_of_patience:
      break
    if stop_requested(run.step, run.step == resumed_at):
      run.stop(state)
      return None
    with run.timed("data"):
      batch = next(batches)
    with (
      run.dispatch(step),
      jax.profiler.StepTraceAnnotation("train", step_num=step),
    ):
      state, sums = run.train_step(state, batch)
      run.add(step, sums)
    if plan.log.due(step):
      run.log()
    if plan.evaluate.due(step):
      run.validate(state)
    if plan.save.due(step) or run.improved or run.out_of_patience:
      run.save(state)
  run.wait()
  if stop_requested(run.step, True):
    run.stop(state)
    return None
  return state
