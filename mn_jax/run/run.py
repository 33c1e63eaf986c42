"""One run on disk while it trains: folder, checkpoints, curves and position.

A run is one seed of an experiment. Several of them may be trained together;
each writes what it would write alone.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mn_jax.metrics import choices
from mn_jax.metrics.predictions import Predictions
from mn_jax.observe import writers
from mn_jax.observe.clock import Clock
from mn_jax.run import outputs
from mn_jax.run.setup import Experiment, Replica
from mn_jax.run.workdir import Workdir
from mn_jax.train import checkpoint as checkpoint_lib
from mn_jax.train.state import TrainState


class Run:
  """What one seed has on disk.

  Attributes:
    seed: which.
    folder: its workdir.
    checkpoints: in it.
    position: where it is.
  """

  def __init__(self, experiment: Experiment, replica: Replica, folder: Workdir):
    """Opens the checkpoints; `begin` or `go_on` opens the rest."""
    self.seed, self.folder = replica.config.seed, folder
    self.checkpoints = checkpoint_lib.Checkpoints(
      folder.path, experiment.config.checkpoint
    )
    self.position = checkpoint_lib.Position(data=experiment.data.digests())
    self._experiment, self._replica = experiment, replica
    self._config = replica.config
    self._first_process = jax.process_index() == 0
    self._results: dict[str, float] = {}

  def begin(self) -> TrainState:
    """Writes what comes before the first step; returns the state then."""
    self._open_writer()
    if self._first_process:
      outputs.write_beginning(
        self._experiment, self._replica, self.folder, self._writer
      )
    return self._replica.initial_state

  def go_on(self, position: checkpoint_lib.Position) -> None:
    """Goes on from a checkpoint.

    Raises:
      InputError: if that was made with other images.
    """
    self.folder.check_data(self.position.data, position.data)
    self.position = position
    self._open_writer()

  def add(self, sums: Mapping[str, np.ndarray]) -> None:
    """Adds sums, f32[] or f32[steps], to the window since the last log."""
    window = self.position.window
    steps = np.ones_like(sums["count"])
    for name, values in {**sums, "steps": steps}.items():
      for value in np.ravel(values).tolist():
        window[name] = window.get(name, 0.0) + value

  def log(self, speed: Mapping[str, float | None]) -> bool:
    """Writes the means since the last log; whether the loss is finite.

    Args:
      speed: written beside them where it is known.
    """
    position, experiment = self.position, self._experiment
    window, position.window = position.window, {}
    position.train = {
      "loss": window["loss"] / window["count"],
      "accuracy": window["correct"] / window["count"],
      "grad_norm": window["grad_norm"] / window["steps"],
      "learning_rate": float(experiment.schedule(position.batch - 1)),
      "epoch": position.batch / experiment.plan.steps_per_epoch,
    }
    self._writer.write_scalars(
      position.batch,
      {f"train/{k}": v for k, v in position.train.items()}
      | {f"speed/{k}": v for k, v in speed.items() if v is not None},
    )
    return bool(np.isfinite(position.train["loss"]))

  def validated(self, scalars: Mapping[str, float]) -> float | None:
    """Writes a validation; returns its score, higher is better."""
    position, section = self.position, self._config.eval
    score = choices.score(section.best_metric, scalars[section.best_metric])
    best = position.best_score
    if score is not None and (best is None or score > best):
      position.best_score, position.best_step = score, position.batch
      position.worse = 0
    else:
      position.worse += 1
    self._writer.write_scalars(
      position.batch, {f"{section.part}/{k}": v for k, v in scalars.items()}
    )
    return score

  def is_best(self) -> bool:
    """Whether no validation was better than one of this step."""
    return self.position.best_step == self.position.batch

  def is_out_of_patience(self) -> bool:
    """Whether too many validations were no better."""
    return 0 < self._config.train.patience <= self.position.worse

  def save(
    self, state: TrainState, score: float | None, clock: Mapping[str, float]
  ) -> None:
    """Starts to save state and position.

    Args:
      state: of this run.
      score: of this step, if it was validated.
      clock: snapshot of the program's.
    """
    self.position.clock = dict(clock)
    self._writer.flush()
    self.checkpoints.save(state, self.position, score=score)

  def best_state(self, state: TrainState) -> TrainState:
    """The one that validation chose, `state` if that is the last."""
    position = self.position
    if position.best_step in (0, position.batch):
      return state
    return self.checkpoints.restore_best(position.best_step, state)[0]

  def tested(
    self,
    part: str,
    scalars: Mapping[str, float],
    predictions: Predictions,
    of_last: Mapping[str, float],
  ) -> None:
    """Writes what the best checkpoint answers for a part.

    Args:
      part: 'val' or 'test'.
      scalars, predictions: of the best checkpoint.
      of_last: metrics of the last state.
    """
    self._results |= {f"{part}/{k}": v for k, v in scalars.items()}
    self._results |= {f"last/{part}/{k}": v for k, v in of_last.items()}
    if self._first_process:
      answers = self._experiment.data.answers(predictions)
      self.folder.write_predictions(part, answers)
      outputs.write_figures(
        self._experiment,
        self.folder,
        self._writer,
        self.position.batch,
        part,
        predictions,
      )

  def finish(self, state: TrainState, clock: Clock) -> dict[str, Any]:
    """Writes `summary.json`, which ends the run; returns its content.

    Args:
      state: the final one.
      clock: the program's.
    """
    if self._config.eval.part != "test":  # whose curve would get a false end
      self._writer.write_scalars(
        self.position.batch,
        {k: v for k, v in self._results.items() if k.startswith("test/")},
      )
    self._writer.flush()
    summary = outputs.summarize(
      self._experiment,
      self._replica,
      state,
      self.position,
      self._results,
      clock,
    )
    if self._first_process:
      self.folder.write_json("summary.json", summary)
    return summary

  def close(self) -> None:
    """Ends background work; errors of asynchronous saves show here."""
    try:
      self.checkpoints.close()
    finally:
      self._writer.close()

  def _open_writer(self) -> None:
    self._writer = writers.make_writer(
      self.folder.path,
      resume_step=self.position.batch,
      first_process=self._first_process,
    )
