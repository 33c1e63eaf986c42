"""Several seeds trained in one program, which the loop takes for one run.

Each seed is a run of its own, with its own state, batches, random numbers and
folder, and leaves exactly what it would leave alone. They share the data set
and the compiled programs, take every step one after the other, are saved at the
same steps, and resume from the newest step that all of them have.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from mn_jax.errors import InputError
from mn_jax.train import checkpoint
from mn_jax.train.loop import Batch, Run, State, Sums
from mn_jax.train.state import TrainState


class SeedRun(Run, Protocol):
  """A run as this module needs it.

  Attributes:
    seed: the seed.
    checkpoints: those of its folder.
    initial_state: the state before the first step, on the mesh.
  """

  seed: int
  checkpoints: checkpoint.Checkpoints
  initial_state: TrainState

  def begin(self) -> TrainState:
    """Writes what precedes the first step; returns the initial state."""

  def check(self, position: checkpoint.Position) -> None:
    """Refuses a checkpoint of another run."""

  def resume(
    self, state: TrainState, position: checkpoint.Position
  ) -> TrainState:
    """Takes up a checkpoint's position; returns its state."""


class Seeds:
  """Several runs behind the methods of `loop.Run`.

  States, batches and sums are tuples with an element for each seed.
  """

  def __init__(self, runs: Sequence[SeedRun]):
    """Takes runs that share data, plan and compiled steps."""
    self._runs = tuple(runs)

  @property
  def step(self) -> int:
    """Completed updates, the same of all seeds."""
    return self._runs[0].step

  @property
  def improved(self) -> bool:
    """Whether this step's validation is the best so far of any seed."""
    return any(run.improved for run in self._runs)

  @property
  def out_of_patience(self) -> bool:
    """Whether any seed is out of patience; all of them end at the same step."""
    return any(run.out_of_patience for run in self._runs)

  def start(self) -> tuple[TrainState, ...]:
    """States from the newest step that all seeds can read, or initial ones.

    Raises:
      InputError: as `checkpoint.restore_newest`, or if a seed would lose more
        than one checkpoint.
    """
    restored = self._restore()
    # Of another run no checkpoint is deleted.
    for run, (_, position) in zip(self._runs, restored, strict=False):
      run.check(position)
    step = restored[0][1].batch if restored else 0
    self._drop_newer(step)
    if not restored:
      return tuple(run.begin() for run in self._runs)
    return tuple(
      run.resume(state, position)
      for run, (state, position) in zip(self._runs, restored, strict=True)
    )

  def batches(self) -> Iterator[tuple[Batch, ...]]:
    """Batches of each seed's own order, for each dispatch that is left."""
    return zip(*(run.batches() for run in self._runs), strict=True)

  def train_step(
    self, states: tuple[State, ...], batches: tuple[Batch, ...]
  ) -> tuple[tuple[State, ...], tuple[Sums, ...]]:
    """Takes the steps of one dispatch of every seed; states are donated."""
    results = [
      run.train_step(state, batch)
      for run, state, batch in zip(self._runs, states, batches, strict=True)
    ]
    return tuple(zip(*results, strict=True))

  @contextlib.contextmanager
  def timed(self, section: str) -> Iterator[None]:
    """Adds the time of a `with` block to a section of every seed's clock."""
    with contextlib.ExitStack() as stack:
      for run in self._runs:
        stack.enter_context(run.timed(section))
      yield

  @contextlib.contextmanager
  def dispatch(self, step: int) -> Iterator[None]:
    """Times the dispatch that ends with `step`, for every seed."""
    with contextlib.ExitStack() as stack:
      for run in self._runs:
        stack.enter_context(run.dispatch(step))
      yield

  def add(self, step: int, sums: tuple[Sums, ...]) -> None:
    """Moves every seed to `step` with its own sums."""
    for run, sums_of_seed in zip(self._runs, sums, strict=True):
      run.add(step, sums_of_seed)

  def log(self) -> None:
    """Writes each seed's training metrics since the last log."""
    for run in self._runs:
      run.log()

  def validate(self, states: tuple[State, ...]) -> None:
    """Evaluates each seed and compares it with its own best."""
    for run, state in zip(self._runs, states, strict=True):
      run.validate(state)

  def save(self, states: tuple[State, ...]) -> None:
    """Starts to save every seed."""
    # Before the first of them may replace an older checkpoint, what was saved
    # last is on disk of all: there is a step to resume from.
    self.wait()
    for run, state in zip(self._runs, states, strict=True):
      run.save(state)

  def stop(self, states: tuple[State, ...]) -> None:
    """Saves every seed, and waits until all are on disk."""
    self.wait()
    for run, state in zip(self._runs, states, strict=True):
      run.stop(state)

  def wait(self) -> None:
    """Returns when everything of every seed is on disk."""
    for run in self._runs:
      run.wait()

  def _restore(self) -> list[tuple[TrainState, checkpoint.Position]]:
    """Checkpoints of the newest common step; empty if there is none."""
    newest: int | None = None
    while True:
      restored = [
        checkpoint.restore_newest(
          run.checkpoints, run.initial_state, at_most=newest
        )
        for run in self._runs
      ]
      steps = [0 if pair is None else pair[1].batch for pair in restored]
      if len(set(steps)) == 1:
        return [pair for pair in restored if pair is not None]
      newest = min(steps)

  def _drop_newer(self, step: int) -> None:
    """Deletes what seeds have saved after the step that all resume from."""
    newer = [
      {number for number in run.checkpoints.steps() if number > step}
      for run in self._runs
    ]
    # All are checked before anything is deleted.
    for run, numbers in zip(self._runs, newer, strict=True):
      if len(numbers) > 1:
        raise InputError(
          f"--workdir: {str(run.checkpoints.path)!r} is at step "
          f"{max(numbers)}, and the newest checkpoint that all seeds have is "
          f"{step or 'none'}; valid: seeds that were trained together, or each "
          "to its end with train.replicas=1"
        )
    for run, numbers in zip(self._runs, newer, strict=True):
      for number in numbers:
        run.checkpoints.delete(number)
