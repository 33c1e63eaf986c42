"""One run while it trains: folder, checkpoints, curves, clock and position."""

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from mn_jax.metrics import selection
from mn_jax.metrics.predictions import Predictions
from mn_jax.observe import console as console_lib
from mn_jax.observe import writers
from mn_jax.observe.clock import Clock
from mn_jax.observe.profiler import Profiler
from mn_jax.run import epoch_means, outputs, watched_test
from mn_jax.run import reference as reference_lib
from mn_jax.run.setup import Setup
from mn_jax.run.workdir import Workdir
from mn_jax.train import checkpoint as checkpoint_lib
from mn_jax.train import finite, window
from mn_jax.train import state as state_lib
from mn_jax.train.state import TrainState
from mn_jax.train.step import Batch, Sums

# Called with what the process is about to do, and the completed updates:
# 'read', 'extract', and the sections of the run's clock.
Reached = Callable[[str, int], None]

# Dispatches in flight: the host waits for the one before the last, so the
# device always has a step to do and a stop is never far behind.
_LAG = 2


class Run:
  """A run of one seed; what `train.loop.train` steps, logs and saves.

  Attributes:
    setup: what the run made before its first step.
    seed: the seed.
    folder: its workdir.
    train_step: takes the steps of one dispatch; the state is donated.
    checkpoints: those in the workdir.
    position: where the run is; `step` is the part of it that the loop counts.
  """

  def __init__(
    self,
    setup: Setup,
    folder: Workdir,
    console: console_lib.Console,
    progress: console_lib.Training,
    reached: Reached = lambda section, step: None,
    *,
    seeds: tuple[int, ...] = (),
  ):
    """Opens the checkpoints; `begin` or `resume` opens the rest.

    Args:
      setup: from `setup.build`.
      folder: its workdir, held by this process.
      console: for people.
      progress: the console's bar of the training loop.
      reached: told of progress, for whoever watches over the process.
      seeds: all that are trained in this program, of which the first prints
        what holds for all; empty for a run alone.
    """
    self.setup, self.seed, self.folder = setup, setup.config.seed, folder
    self.train_step = setup.train_step
    self.checkpoints = checkpoint_lib.Checkpoints(
      folder.path, setup.config.checkpoint
    )
    self.position = checkpoint_lib.Position(data=setup.digests())
    self._console, self._progress, self._reached = console, progress, reached
    self._seeds = seeds or (self.seed,)
    self._first_process = jax.process_index() == 0
    self._leads = self.seed == self._seeds[0]
    # Dispatches in flight by their last steps, and lengths of compiled ones.
    self._pending: collections.deque[tuple[int, Sums]] = collections.deque()
    self._compiled: set[int] = set()
    # Traces of several processes or seeds would get the same name.
    traces = self._first_process and self._leads
    self._profiler = Profiler(
      setup.plan.profile if traces else (), folder.path / "tensorboard"
    )
    self.clock = Clock()
    self._writer: writers.RunWriter | None = None
    self._results: dict[str, float] = {}

  @property
  def step(self) -> int:
    """Completed updates."""
    return self.position.batch

  @property
  def initial_state(self) -> TrainState:
    """The state before the first step, on the mesh."""
    return self.setup.initial_state

  @property
  def improved(self) -> bool:
    """Whether no validation was better than the one at this step."""
    return self.position.best_step == self.step

  @property
  def out_of_patience(self) -> bool:
    """Whether too many validations were no better than the best."""
    return 0 < self.setup.config.train.patience <= self.position.worse

  def start(self) -> TrainState:
    """The state to train from: the newest checkpoint, or the initial one.

    Raises:
      InputError: if no checkpoint can be read, or the newest was made with
        other images.
    """
    restored = checkpoint_lib.restore_newest(
      self.checkpoints, self.initial_state
    )
    return self.begin() if restored is None else self.resume(*restored)

  def begin(self) -> TrainState:
    """Writes what precedes the first step; returns the initial state."""
    self._open()
    if self._leads:
      outputs.print_network(self._console, self.setup, self._seeds)
    return self.initial_state

  def check(self, position: checkpoint_lib.Position) -> None:
    """Refuses a checkpoint of other images, another split or other weights.

    Raises:
      InputError: with both digests.
    """
    self.folder.check_origin(self.position.data, position.data)

  def resume(
    self, state: TrainState, position: checkpoint_lib.Position
  ) -> TrainState:
    """Takes up a checkpoint's position; returns its state.

    Raises:
      InputError: if the checkpoint is of another run; see `check`.
    """
    self.check(position)
    # A damaged best checkpoint is found now, not when all is trained.
    self.checkpoints.restore_best(position)
    position.data = self.position.data
    self.position = position
    self.clock = Clock(position.clock)
    self._open()
    self._progress.resume(self.step)
    if self._leads:
      outputs.print_resumed(self._console, self.setup, self.folder, self.step)
    return state

  def batches(self) -> Iterator[Batch]:
    """Batches on the devices, one for each dispatch that is left."""
    return self.setup.batches(self.step)

  @contextlib.contextmanager
  def timed(self, section: str) -> Iterator[None]:
    """Adds the time of a `with` block to a section of the clock."""
    self._reached(section, self.step)
    with self.clock.section(section):
      yield

  @contextlib.contextmanager
  def dispatch(self, step: int) -> Iterator[None]:
    """Times the dispatch that ends with `step`, and keeps few in flight.

    The first dispatch of so many steps waits for the compiler; its time and its
    images stay out of the throughput.
    """
    steps = step - self.step
    compiled = steps in self._compiled
    if not compiled:
      self._fetch_all()
    with self.timed("step" if compiled else "compile"):
      yield
      self._fetch(_LAG if compiled else 0)
    if compiled:
      self.clock.count(steps * self.setup.config.train.batch_size)
    self._compiled.add(steps)
    if self._profiler.stops_after(step):
      self._fetch_all()
    self._profiler.step(step)
    self._progress.step(step)

  def add(self, step: int, sums: Sums) -> None:
    """Moves to `step`; keeps the sums, which stay on the device for now.

    Args:
      step: completed updates.
      sums: f32[] of one step, f32[steps] of several.
    """
    self.position.batch, self.position.score = step, None
    self._pending.append((step, sums))

  def log(self) -> None:
    """Writes the training metrics since the last log, and the speed."""
    self._fetch_all()
    position, setup = self.position, self.setup
    metrics = window.metrics(
      position.window, multi_label=setup.data.multi_label
    )
    position.window = {}
    # Updates that are skipped do not move the schedule.
    updates = self.step - position.skipped
    position.train = metrics | {
      "learning_rate": float(setup.schedule(max(0, updates - 1))),
      "epoch": self.step / setup.plan.steps_per_epoch,
    }
    rate = self.clock.images_per_sec()
    speed = {
      "images_per_sec": rate,
      "data_wait_share": self.clock.data_wait_share(),
      "mfu": setup.mfu(rate),
    }
    self._writer.write_scalars(
      self.step,
      {f"train/{k}": v for k, v in position.train.items()}
      | {f"speed/{k}": v for k, v in speed.items() if v is not None},
    )
    if skipped := metrics.get("skipped_updates"):
      self._event(outputs.describe_skipped(skipped), seconds_left=0)
    if rate is not None:
      self._progress.rate(
        self.step, rate * len(self._seeds), self._seconds_left()
      )

  def validate(self, state: TrainState) -> None:
    """Evaluates, writes the metrics and compares with the best so far."""
    self._fetch_all()
    position, section = self.position, self.setup.config.eval
    with self.timed("evaluate"):
      metrics, _ = self.setup.evaluate(state, section.part)
      scalars = {f"{section.part}/{k}": v for k, v in metrics.items()}
      scalars |= watched_test.evaluate(self.setup, state)
    position.score = score = self._score(metrics)
    best = position.best_score
    if score is not None and (best is None or score > best):
      position.best_score, position.best_step = score, self.step
      position.worse = 0
      if position.lost_best and score > position.lost_best["score"]:
        position.lost_best = {}
    else:
      position.worse += 1
    self._writer.write_scalars(self.step, scalars)
    epoch = self.step / self.setup.plan.steps_per_epoch
    mark = "  best" if self.improved else "  early stop" * self.out_of_patience
    self._event(
      f"epoch {epoch:.1f}  "
      f"{console_lib.evaluation(section.part, metrics)}{mark}",
      self._seconds_left(),
    )

  def save(self, state: TrainState) -> None:
    """Starts to save state and position.

    Raises:
      RunError: if a loss, a gradient or the state is not finite, or the folder
        is gone. What was saved before is kept, and nothing is saved of this.
    """
    self._fetch_all()
    with self.timed("save"):
      self.folder.check_there()
      finite.check_state(self.step, state, self.checkpoints)
      self.position.clock = self.clock.snapshot()
      self._writer.flush()
      self.position.logged = self._writer.sha256
      self.checkpoints.save(state, self.position)

  def stop(self, state: TrainState) -> None:
    """Saves what is not saved yet, and waits until it is on disk."""
    if self.step and self.checkpoints.latest_step() != self.step:
      self.save(state)
    self.wait()
    self._event("stopped and saved; the same command resumes", seconds_left=0)

  def wait(self) -> None:
    """Returns when everything is on disk."""
    self.checkpoints.wait()

  def finish(self, state: TrainState) -> dict[str, Any]:
    """Tests the best checkpoint, once, and writes figures and summary.

    Args:
      state: the final one.

    Returns:
      The content of `summary.json`, which ends the run.

    Raises:
      RunError: if every update was skipped.
    """
    best, position = state, self.position
    finite.check_updates(self.step, position.skipped)
    variables = self.checkpoints.restore_best(position)
    if variables is not None:
      best = state_lib.with_eval_variables(state, variables)
    for part in ("val", "test"):
      with self.timed("evaluate"):
        metrics, predictions = self.setup.evaluate(best, part)
        last = metrics
        if best is not state:
          last, _ = self.setup.evaluate(state, part)
      self._results |= {f"{part}/{k}": v for k, v in metrics.items()}
      self._results |= {f"last/{part}/{k}": v for k, v in last.items()}
      self._write_predictions(part, predictions)
    step = position.best_step or self.step
    with self.timed("evaluate"):
      reference = reference_lib.compute(self.setup, best, step)
    if self.setup.config.eval.part != "test":  # its curve would end falsely
      self._writer.write_scalars(
        self.step,
        {k: v for k, v in self._results.items() if k.startswith("test/")},
      )
    self._writer.flush()
    position.logged = self._writer.sha256
    lines = writers.read_lines(self.folder.path / "metrics.jsonl")
    self._results |= epoch_means.results(self.setup, position, lines)
    self._results |= watched_test.results(self.setup, lines)
    summary = outputs.summarize(
      self.setup,
      state,
      position,
      self._results,
      self.clock,
      seeds=len(self._seeds),
    ) | {"reference_images": len(reference.names)}
    if self._first_process:
      self.folder.check_there()
      reference_lib.write(self.folder.path, reference)
      self.folder.write_json("summary.json", summary)
    return summary

  def close(self) -> None:
    """Ends background work; errors of asynchronous saves show here."""
    with contextlib.ExitStack() as stack:
      if self._writer is not None:
        stack.callback(self._writer.close)
      stack.callback(self.checkpoints.close)
      stack.callback(self._profiler.close)

  def _open(self) -> None:
    """Opens the curves, and writes what describes the run."""
    self._writer = writers.RunWriter(
      self.folder.path if self._first_process else None,
      resume_step=self.step,
      # Where the test part validates, nothing is written of it at the end.
      repeated="" if self.setup.config.eval.part == "test" else "test/",
      sha256=self.position.logged,
    )
    if self._writer.damage:
      self._console.line(f"Note: {self._writer.damage}")
    if self._first_process:
      outputs.write_beginning(self.setup, self.folder, self._writer, self.step)

  def _fetch(self, in_flight: int) -> None:
    """Adds the sums of finished dispatches to the window since the last log.

    Raises:
      RunError: if a loss or a gradient is not finite.
    """
    while len(self._pending) > in_flight:
      for step, sums in window.by_step(*self._pending.popleft()):
        finite.check_step(step, sums, self.checkpoints)
        window.add(self.position.window, sums)
        self.position.skipped += int(sums.get("skipped", 0))
        if means := epoch_means.add(self.setup, self.position, step, sums):
          self._writer.write_scalars(step, means)

  def _fetch_all(self) -> None:
    with self.timed("step"):
      self._fetch(0)

  def _score(self, metrics: Mapping[str, float]) -> float | None:
    """What checkpoints are chosen by, higher is better; None if undefined."""
    name = self.setup.config.eval.best_metric
    return selection.score(name, metrics[name])

  def _write_predictions(self, part: str, predictions: Predictions) -> None:
    if self._first_process:
      self.folder.write_predictions(
        part, self.setup.data.named_predictions(predictions)
      )
      outputs.write_figures(
        self.setup, self.folder, self._writer, self.step, part, predictions
      )

  def _event(self, text: str, seconds_left: float) -> None:
    """Prints a line of the run, of several seeds with the seed."""
    label = f"seed {self.seed}: " if len(self._seeds) > 1 else ""
    self._progress.event(self.step, f"{label}{text}", seconds_left)

  def _seconds_left(self) -> float:
    rate = self.clock.images_per_sec()
    left = self.setup.plan.total_steps - self.step
    return left * self.setup.config.train.batch_size / rate if rate else 0.0
