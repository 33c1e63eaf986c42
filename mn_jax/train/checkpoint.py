"""Checkpoints: the state and the run's position as one atomic item.

Orbax writes them asynchronously. Its errors show at the next save or at
`close`, and are raised there. What is read is verified, and a damaged
checkpoint is replaced by another: the newest by the one before it, the best by
the next best. With several processes all agree on it.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils

from mn_jax.config.experiment import CheckpointConfig
from mn_jax.errors import InputError
from mn_jax.train import checkpoint_files as files
from mn_jax.train.checkpoint_files import DamagedCheckpointError, Position
from mn_jax.train.state import TrainState

# Orbax warns of every save that waits for the one before it: on a slow disk
# these are many lines about nothing that a user could fix.
logging.get_absl_logger().addFilter(
  lambda record: not str(record.msg).startswith("Waiting for previous save")
)


class Checkpoints:
  """The checkpoints of one workdir.

  Attributes:
    path: their folder.
  """

  def __init__(self, workdir: pathlib.Path, config: CheckpointConfig):
    """Opens or creates `workdir/checkpoints`.

    Args:
      workdir: of the run.
      config: how many of the newest to keep; the best is kept beside them.
    """
    self.path = workdir / "checkpoints"
    self._damaged = workdir / "checkpoints_damaged"
    self._kept = _Kept(config.keep_latest)
    self._manager = self._open()

  def save(self, state: TrainState, position: Position) -> None:
    """Starts to save after a step.

    Args:
      state: what to save.
      position: saved beside it; its best step is kept.
    """
    step = position.batch
    self._kept.best_step = position.best_step
    saved = self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        position=ocp.args.JsonSave(files.sealed(state, position)),
      ),
    )
    if not saved:
      raise RuntimeError(f"checkpoint {step} was not saved: {self.path}")

  def restore_best(self, position: Position) -> dict | None:
    """What the network of the best checkpoint is evaluated with.

    A damaged one is moved to `workdir/checkpoints_damaged`; the position gets
    the next best of those before it that can be read.

    Args:
      position: of a state that is not damaged; its best is that of this state
        if no other is left that was validated.

    Returns:
      'params' and 'batch_stats', NumPy arrays, or None if the state of the
      position is the best or there is no best.
    """
    for step, score in _from_best(self.path, position):
      variables = None
      if step != position.batch:
        variables, reason = _attempt(files.read_variables, self.path, step)
        if variables is None:
          self.set_aside(step, reason)
          continue
      if step != position.best_step and position.best_step:
        _replace_best(position, step, score)
      return variables
    raise AssertionError("the position's own step is among them")

  def steps(self) -> list[int]:
    """Steps of the checkpoints on disk, readable or not, in ascending order."""
    return files.steps(self.path)

  def latest_step(self) -> int | None:
    """The newest step, readable or not, on disk or being saved."""
    return self._manager.latest_step()

  def delete(self, step: int) -> None:
    """Deletes a step."""
    self._manager.delete(step)

  def wait(self) -> None:
    """Returns when everything is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits and releases what is open."""
    self._manager.close()

  def set_aside(self, step: int, why: str) -> None:
    """Moves what is damaged to `workdir/checkpoints_damaged`."""
    source = self.path / str(step)
    there = source.exists()
    logging.warning(
      "Checkpoint %d is damaged%s: %s",
      step,
      f" and is moved to {self._damaged}" if there else "",
      why,
    )
    self._manager.close()
    if jax.process_index() == 0 and there:
      with files.using(self._damaged):
        self._damaged.mkdir(exist_ok=True)
        target = self._damaged / str(step)
        number = 1
        while target.exists():
          number += 1
          target = self._damaged / f"{step}.{number}"
        source.rename(target)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices(f"set aside {step}")
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      preservation_policy=self._kept,
      cleanup_tmp_directories=True,
      # It need not read what the checkpoints hold: they may be damaged.
      lightweight_initialize=True,
    )
    with files.using(self.path):
      return ocp.CheckpointManager(self.path.absolute(), options=options)


class _Kept:
  """Which checkpoints Orbax keeps: the newest, and the best.

  Attributes:
    best_step: its step, or 0.
  """

  def __init__(self, newest: int):
    self.best_step = 0
    self._newest = newest

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Whether to keep each of the checkpoints, which are in order of steps."""
    del context
    older = len(checkpoints) - self._newest
    return [
      index >= older or checkpoint.step == self.best_step
      for index, checkpoint in enumerate(checkpoints)
    ]


def restore_newest(
  checkpoints: Checkpoints, like: TrainState, *, at_most: int | None = None
) -> tuple[TrainState, Position] | None:
  """The newest checkpoint that is not damaged; None if there is none.

  Newer ones that are damaged are moved to `workdir/checkpoints_damaged`.

  Args:
    checkpoints: those of a workdir.
    like: arrays of the wanted shapes, types and shardings.
    at_most: the newest step to consider; None for all.

  Raises:
    InputError: if there are checkpoints and all are damaged: to start over is
      for the user to decide.
    RunError: if the machine does not let one be read; nothing is moved.
  """
  damaged: dict[int, str] = {}
  for step in reversed(checkpoints.steps()):
    if at_most is not None and step > at_most:
      continue
    restored, reason = _attempt(
      lambda folder: files.read_state(folder, like), checkpoints.path, step
    )
    if restored is not None:
      for damaged_step, why in damaged.items():
        checkpoints.set_aside(damaged_step, why)
      return restored
    damaged[step] = reason
  if damaged:
    step, why = next(iter(damaged.items()))
    raise InputError(
      f"--workdir: none of the checkpoints in {str(checkpoints.path)!r} can be "
      f"read; the newest, {step}: {why}; valid: intact checkpoints of this "
      "config and these versions, or another folder to start over"
    )
  return None


def steps(workdir: pathlib.Path) -> list[int]:
  """Lists the steps of a run's checkpoints, in ascending order.

  Raises:
    InputError: if there is none.
  """
  on_disk = files.steps(workdir / "checkpoints")
  if not on_disk:
    raise InputError(
      f"--workdir: got {str(workdir)!r}, which has no checkpoint; valid: the "
      "folder of a run"
    )
  return on_disk


def read_variables(workdir: pathlib.Path, step: int) -> dict:
  """Reads what a checkpoint's network is evaluated with; no optimizer.

  Args:
    workdir: of the run.
    step: of the checkpoint.

  Returns:
    'params' and 'batch_stats' (their averages, if the run kept them), f32 NumPy
    arrays.

  Raises:
    InputError: if there is none or it is damaged.
    RunError: if the machine does not let it be read.
  """
  folder = workdir / "checkpoints" / str(step)
  try:
    return files.read_variables(folder)
  except DamagedCheckpointError as error:
    raise InputError(
      f"--workdir: the checkpoint {str(folder)!r} is damaged ({error}); valid: "
      "an intact one of these versions"
    ) from None


def read_best(workdir: pathlib.Path) -> tuple[int, dict]:
  """Reads the best checkpoint so far; the newest where none was validated.

  A warning says if it is damaged and the next best is read.

  Args:
    workdir: of the run, in which nothing is changed.

  Returns:
    Its step, and what `read_variables` returns.

  Raises:
    InputError: if there is no checkpoint, or all are damaged.
    RunError: if the machine does not let one be read.
  """
  path = workdir / "checkpoints"
  for newest in reversed(steps(workdir)):
    position, reason = _attempt(files.read_position, path, newest)
    if position is None:
      logging.warning("Checkpoint %d is damaged: %s", newest, reason)
      continue
    for step, _ in _from_best(path, position):
      variables, reason = _attempt(files.read_variables, path, step)
      if variables is not None:
        return step, variables
      logging.warning(
        "Checkpoint %d is damaged, and the next best is used: %s", step, reason
      )
  raise InputError(
    f"--workdir: all checkpoints in {str(path)!r} are damaged; valid: intact "
    "ones of these versions"
  )


def _from_best(
  path: pathlib.Path, position: Position
) -> Iterator[tuple[int, float | None]]:
  """Steps up to that of a position with their scores, the best first.

  What was not validated comes last, the newest before the others; the position
  itself comes first if it has no best.
  """
  best_step = position.best_step or position.batch
  yield best_step, position.best_score
  # Only then: the others are rarely needed.
  positions = [position]
  for step in files.steps(path):
    if step < position.batch:
      other, _ = _attempt(files.read_position, path, step)
      positions += [] if other is None else [other]
  positions = [p for p in positions if p.batch != best_step]
  # Of equals the first is the best, as in the training loop.
  scored = [p for p in positions if p.score is not None]
  for p in sorted(scored, key=lambda p: (-p.score, p.batch)):
    yield p.batch, p.score
  for p in sorted(positions, key=lambda p: -p.batch):
    if p.score is None:
      yield p.batch, None


def _replace_best(position: Position, step: int, score: float | None) -> None:
  """Makes another checkpoint the best of a position."""
  lost = {"step": position.best_step, "score": position.best_score}
  # Of several that were lost the first is the best.
  position.lost_best = position.lost_best or lost
  position.best_score = score
  position.best_step = step if score is not None else 0
  logging.warning(
    "The best checkpoint was step %d (score %.6g); it is lost, and step %d "
    "(score %s) takes its place, as summary.json will say",
    lost["step"],
    lost["score"],
    step,
    "none" if score is None else f"{score:.6g}",
  )


def _attempt(
  read: Callable[[pathlib.Path], Any], path: pathlib.Path, step: int
) -> tuple[Any, str]:
  """What a function reads of a checkpoint, or None and why it is damaged.

  It is None on all processes if it is damaged on one.
  """
  content, reason = None, "damaged for another process"
  try:
    content = read(path / str(step))
  except DamagedCheckpointError as error:
    reason = str(error)
  return (content if _all_processes(content is not None) else None), reason


def _all_processes(ok: bool) -> bool:
  """Whether it is so on all processes."""
  if jax.process_count() == 1:
    return ok
  return bool(multihost_utils.process_allgather(np.array(ok)).all())
