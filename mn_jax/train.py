"""Training and evaluation: the one loop, and the order of things around it.

An iteration is: the next batch, a step, then what is due of logging,
validating and saving, in that order and counted in completed updates. State
and position are saved at the same boundary, so a run that goes on from a
checkpoint repeats exactly what the uninterrupted run does.
"""

import collections
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging

from mn_jax import checkpoint as checkpoint_lib
from mn_jax import experiment as experiment_lib
from mn_jax import record, split_data
from mn_jax.config import Config
from mn_jax.metrics import choices
from mn_jax.observe import clock as clock_lib
from mn_jax.observe import console as console_lib
from mn_jax.observe import writers
from mn_jax.workdir import Workdir

# Steps in flight: the host waits for the step before the last, so the device
# always has one to do and a stop is never far behind.
_LAG = 2


def train_and_evaluate(
  config: Config,
  workdir: pathlib.Path,
  *,
  console: console_lib.Console,
  stop_requested: Callable[[int], bool],
) -> dict[str, Any] | None:
  """Runs an experiment to its end, from its last checkpoint if it has one.

  Args:
    config: the experiment.
    workdir: the run's folder; created, or continued if it has the same config.
    console: for people.
    stop_requested: asked before every step, with the number of completed
      updates, whether to save and return.

  Returns:
    The content of `summary.json`, or None if it was stopped before the end.

  Raises:
    InputError: for a config, data or a workdir that cannot be used.
  """
  experiment_lib.check(config)
  folder = Workdir(workdir, first_process=jax.process_index() == 0)
  try:
    folder.check_config(config)
    summary = folder.read_json("summary.json")
    if summary is not None:
      console.line(f"{workdir} is complete; nothing is left to do.")
      console_lib.print_summary(console, summary, workdir)
      return summary
    with console.counting("decoding", "images") as progress:
      data = split_data.load(config.data, progress)
    record.print_data(console, data)
    folder.check_data(data.digests())
    with console.counting("extracting features", "images") as progress:
      experiment = experiment_lib.build(config, data, progress)
    if experiment.pretrained is not None:
      folder.check_weights(experiment.pretrained.sha256)
    loop = _Loop(experiment, folder, console)
    try:
      done = loop.run(stop_requested)
      return loop.finish() if done else None
    finally:
      loop.close()
  finally:
    folder.close()


class _Loop:
  """The training loop: what changes from step to step."""

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    folder: Workdir,
    console: console_lib.Console,
  ):
    self._experiment, self._folder = experiment, folder
    self._console = console
    self._config, self._plan = experiment.config, experiment.plan
    self._checkpoints = checkpoint_lib.Checkpoints(
      folder.path, self._config.checkpoint
    )
    self._state = experiment.initial_state
    self._position = checkpoint_lib.Position(data=experiment.data.digests())
    restored = self._checkpoints.restore_latest(self._state)
    if restored is not None:
      folder.check_data(self._position.data, restored[1].data)
      self._state, self._position = restored
      console.line(
        f"Continuing {folder.path} from step {self._position.batch} of "
        f"{self._plan.total_steps}"
      )
    self._clock = clock_lib.Clock(self._position.clock)
    self._first_process = jax.process_index() == 0
    self._writer = writers.make_writer(
      folder.path,
      resume_step=self._position.batch,
      first_process=self._first_process,
    )
    if restored is None and self._first_process:
      record.write_beginning(experiment, folder, self._writer, console)
    self._pending: collections.deque = collections.deque()
    self._compiled = False
    self._profiling = False

  def run(self, stop_requested: Callable[[int], bool]) -> bool:
    """Trains; returns whether the end was reached."""
    position, plan = self._position, self._plan
    batches = self._experiment.batches.iterate(
      start=position.batch, prefetch=self._config.data.prefetch
    )
    with self._console.training(
      done=position.batch, total=plan.total_steps
    ) as self._progress:
      while position.batch < plan.total_steps and not self._out_of_patience():
        if stop_requested(position.batch):
          self._stop()
          return False
        with self._clock.section("data"):
          batch = next(batches)
        self._step(batch)
        if plan.log.due(position.batch):
          self._log()
        score = None
        if plan.evaluate.due(position.batch):
          score = self._validate()
        best = score is not None and position.best_step == position.batch
        if plan.save.due(position.batch) or best or self._out_of_patience():
          self._save(score)
    self._checkpoints.wait()
    return True

  def finish(self) -> dict[str, Any]:
    """The test, once, with the best checkpoint; figures and the summary."""
    position, experiment = self._position, self._experiment
    best_state = self._state
    if position.best_step not in (0, position.batch):
      best_state, _ = self._checkpoints.restore_best(
        position.best_step, self._state
      )
    results, last = {}, {}
    for part in ("val", "test"):
      with self._clock.section("evaluate"):
        scalars, predictions = experiment.evaluate(part, best_state)
        of_last = scalars
        if best_state is not self._state:
          of_last, _ = experiment.evaluate(part, self._state)
      results |= {f"{part}/{name}": value for name, value in scalars.items()}
      last |= {f"last/{part}/{k}": v for k, v in of_last.items()}
      if self._first_process:
        self._folder.write_predictions(
          part, experiment.data.answers(predictions)
        )
        record.write_figures(
          experiment,
          self._folder,
          self._writer,
          position.batch,
          part,
          predictions,
        )
    if self._config.eval.part != "test":  # whose curve would get a false end
      self._writer.write_scalars(
        position.batch,
        {k: v for k, v in results.items() if k.startswith("test/")},
      )
    self._writer.flush()
    summary = record.summarize(
      experiment, self._state, position, results | last, self._clock
    )
    if self._first_process:
      self._folder.write_json("summary.json", summary)
      console_lib.print_summary(self._console, summary, self._folder.path)
    return summary

  def close(self) -> None:
    """Ends background work; errors of asynchronous saves show here."""
    try:
      self._stop_profile()
      self._checkpoints.close()
    finally:
      self._writer.close()
      logging.flush()

  def _step(self, batch: dict[str, np.ndarray]) -> None:
    # The first step of a process waits for the compiler; its time and its
    # images stay out of the throughput.
    position, experiment = self._position, self._experiment
    with self._clock.section("step" if self._compiled else "compile"):
      self._state, sums = experiment.train_step(
        self._state, experiment.put(batch)
      )
      position.batch += 1
      self._pending.append(sums)
      self._settle(_LAG if self._compiled else 0)
    if self._compiled:
      self._clock.count(self._config.train.batch_size)
    self._compiled = True
    self._profile()
    self._progress.step(position.batch)

  def _settle(self, in_flight: int) -> None:
    """Adds the sums of finished steps to the window since the last log."""
    window = self._position.window
    while len(self._pending) > in_flight:
      sums = jax.device_get(self._pending.popleft())
      for name, value in {**sums, "steps": 1}.items():
        window[name] = window.get(name, 0.0) + float(value)

  def _settle_all(self) -> None:
    with self._clock.section("step"):
      self._settle(0)

  def _log(self) -> None:
    self._settle_all()
    position, rate = self._position, self._clock.images_per_sec()
    window, position.window = position.window, {}
    position.train = {
      "loss": window["loss"] / window["count"],
      "accuracy": window["correct"] / window["count"],
      "grad_norm": window["grad_norm"] / window["steps"],
      "learning_rate": float(self._experiment.schedule(position.batch - 1)),
      "epoch": position.batch / self._plan.steps_per_epoch,
    }
    if not np.isfinite(position.train["loss"]):
      self._progress.event(position.batch, "the training loss is not finite", 0)
    speed = {
      "images_per_sec": rate,
      "data_wait_share": self._clock.data_wait_share(),
      "mfu": self._experiment.mfu(rate),
    }
    self._writer.write_scalars(
      position.batch,
      {f"train/{k}": v for k, v in position.train.items()}
      | {f"speed/{k}": v for k, v in speed.items() if v is not None},
    )
    if rate is not None:
      self._progress.rate(position.batch, rate, self._seconds_left())

  def _validate(self) -> float | None:
    """Validates; returns the score of this state, higher is better."""
    self._settle_all()
    position, name = self._position, self._config.eval.best_metric
    with self._clock.section("evaluate"):
      scalars, _ = self._experiment.evaluate(
        self._config.eval.part, self._state
      )
    score = choices.score(name, scalars[name])
    best = position.best_score
    if score is not None and (best is None or score > best):
      position.best_score, position.best_step = score, position.batch
      position.worse = 0
    else:
      position.worse += 1
    part = self._config.eval.part
    self._writer.write_scalars(
      position.batch, {f"{part}/{k}": v for k, v in scalars.items()}
    )
    shown = "  ".join(
      f"{title} {console_lib.number(scalars[k])}"
      for title, k in (
        (f"{part} loss", "loss"),
        ("acc", "accuracy"),
        ("balanced", "balanced_accuracy"),
        ("auroc", "auroc"),
        ("macro f1", "macro_f1"),
      )
      if k in scalars
    )
    epoch = position.batch / self._plan.steps_per_epoch
    mark = "  best" if position.best_step == position.batch else ""
    self._progress.event(
      position.batch,
      f"epoch {epoch:.1f}  {shown}{mark}",
      self._seconds_left(),
    )
    return score

  def _out_of_patience(self) -> bool:
    patience = self._config.train.patience
    return 0 < patience <= self._position.worse

  def _save(self, score: float | None) -> None:
    self._settle_all()
    with self._clock.section("save"):
      self._position.clock = self._clock.snapshot()
      self._writer.flush()
      self._checkpoints.save(self._state, self._position, score=score)

  def _stop(self) -> None:
    number = self._position.batch
    if number and self._checkpoints.latest_step() != number:
      self._save(None)
    self._checkpoints.wait()
    self._progress.event(
      number, "stopped and saved; the same command continues", 0
    )

  def _profile(self) -> None:
    observe, number = self._config.observe, self._position.batch
    if not observe.profile_at_step:
      return
    if number == observe.profile_at_step:
      jax.profiler.start_trace(str(self._folder.path / "tensorboard"))
      self._profiling = True
    if number == observe.profile_at_step + observe.profile_steps:
      self._settle_all()
      self._stop_profile()

  def _stop_profile(self) -> None:
    if self._profiling:
      jax.profiler.stop_trace()
      self._profiling = False

  def _seconds_left(self) -> float:
    rate = self._clock.images_per_sec()
    left = self._plan.total_steps - self._position.batch
    return left * self._config.train.batch_size / rate if rate else 0.0
