"""Checkpoints: the state and the run's position as one atomic item.

Orbax writes them asynchronously. Its errors show at the next save or at
`close`, and are raised there.
"""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from mn_jax.config.experiment import CheckpointConfig
from mn_jax.errors import InputError
from mn_jax.train.state import TrainState

# Orbax warns of every save that waits for the one before it: on a slow disk
# these are many lines about nothing that a user could fix.
logging.get_absl_logger().addFilter(
  lambda record: record.filename != "checkpoint_manager.py"
)


@dataclasses.dataclass
class Position:
  """Where a run is, besides its state; JSON in the checkpoint.

  Attributes:
    batch: the number of the next global batch; equals the completed updates.
    data: sha256 of the split and of the images.
    window: float sums of training metrics since the last log.
    best_score: of the best checkpoint, higher is better; None without one.
    best_step: its step, or 0.
    worse: evaluations since then.
    train: training metrics as last logged.
    clock: snapshot of the run's `observe.clock.Clock`.
    logged: sha256 of the lines of `metrics.jsonl` up to here.
  """

  batch: int = 0
  data: dict[str, str] = dataclasses.field(default_factory=dict)
  window: dict[str, float] = dataclasses.field(default_factory=dict)
  best_score: float | None = None
  best_step: int = 0
  worse: int = 0
  train: dict[str, float] = dataclasses.field(default_factory=dict)
  clock: dict[str, float] = dataclasses.field(default_factory=dict)
  logged: str = ""


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
    policy = checkpoint_managers.AnyPreservationPolicy(
      [
        checkpoint_managers.LatestN(config.keep_latest),
        checkpoint_managers.BestN(get_metric_fn=_rank, n=1),
      ]
    )
    options = ocp.CheckpointManagerOptions(
      preservation_policy=policy,
      # The policy decides; without this Orbax would not write the scores, and
      # a resumed run would delete the best checkpoint of the earlier one.
      best_fn=_rank,
      cleanup_tmp_directories=True,
    )
    self._manager = ocp.CheckpointManager(self.path.absolute(), options=options)

  def save(
    self, state: TrainState, position: Position, *, score: float | None
  ) -> None:
    """Starts to save after a step.

    Args:
      state: what to save.
      position: saved beside it.
      score: higher is better; None if this step was not validated or its
        metric is undefined.
    """
    step = position.batch
    saved = self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(state),
        position=ocp.args.JsonSave(dataclasses.asdict(position)),
      ),
      metrics={"score": score, "step": step},
    )
    if not saved:
      raise RuntimeError(f"checkpoint {step} was not saved: {self.path}")

  def restore_best(
    self, step: int, like: TrainState
  ) -> tuple[TrainState, Position]:
    """The checkpoint that validation chose.

    Raises:
      InputError: if it cannot be read.
    """
    try:
      return self.restore(step, like)
    except Exception as error:  # as above
      raise InputError(
        f"--workdir: the best checkpoint, {str(self.path / str(step))!r}, "
        f"cannot be read ({_reason(error)}); valid: that folder from a "
        "backup, or another workdir to start over"
      ) from None

  def restore(self, step: int, like: TrainState) -> tuple[TrainState, Position]:
    """The checkpoint of a step; raises what Orbax raises if it is damaged.

    An earlier version's state, which has fewer fields, is restored where the
    new ones are empty, and is an error where they are not.
    """
    target = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      like,
    )
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeRestore(
          target,
          restore_args=ocp.checkpoint_utils.construct_restore_args(target),
          partial_restore=True,
        ),
        position=ocp.args.JsonRestore(),
      ),
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(restored.state):
      if not isinstance(leaf, jax.Array):
        raise ValueError(f"it has no {jax.tree_util.keystr(path)}")
    return restored.state, Position(**restored.position)

  def steps(self) -> set[int]:
    """Steps of the checkpoints on disk, readable or not."""
    return set(self._manager.all_steps())

  def latest_step(self) -> int | None:
    """The newest step on disk, readable or not."""
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
    """Moves what cannot be read to `workdir/checkpoints_damaged`."""
    logging.warning(
      "Checkpoint %d cannot be read and is moved to %s: %s",
      step,
      self._damaged,
      why,
    )
    if jax.process_index() == 0:
      self._damaged.mkdir(exist_ok=True)
      target = self._damaged / str(step)
      number = 1
      while target.exists():
        number += 1
        target = self._damaged / f"{step}.{number}"
      (self.path / str(step)).rename(target)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices(f"set aside {step}")
    self._manager.reload()


def restore_newest(
  checkpoints: Checkpoints, like: TrainState, *, at_most: int | None = None
) -> tuple[TrainState, Position] | None:
  """The newest checkpoint that can be read; None if there is none.

  Newer ones that cannot be read are moved to `workdir/checkpoints_damaged`.

  Args:
    checkpoints: those of a workdir.
    like: arrays of the wanted shapes, types and shardings.
    at_most: the newest step to consider; None for all.

  Raises:
    InputError: if there are checkpoints and none can be read: to start over is
      for the user to decide.
  """
  unreadable: dict[int, str] = {}
  for step in sorted(checkpoints.steps(), reverse=True):
    if at_most is not None and step > at_most:
      continue
    restored, reason = None, ""
    try:
      restored = checkpoints.restore(step, like)
    except Exception as error:  # whatever tensorstore, JSON and Orbax raise
      reason = _reason(error)
    if _all_processes(restored is not None):
      for damaged, why in unreadable.items():
        checkpoints.set_aside(damaged, why)
      return restored
    unreadable[step] = reason
  if unreadable:
    step, why = next(iter(unreadable.items()))
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
  path = workdir / "checkpoints"
  on_disk = sorted(int(p.name) for p in path.glob("*") if p.name.isdigit())
  if not on_disk:
    raise InputError(
      f"--workdir: got {str(workdir)!r}, which has no checkpoint; valid: the "
      "folder of a run"
    )
  return on_disk


def best_step(workdir: pathlib.Path) -> int:
  """Finds the step of the best checkpoint so far; the newest without one.

  Raises:
    InputError: if there is no checkpoint, or the newest, which tells of the
      best, cannot be read.
  """
  newest = steps(workdir)[-1]
  path = (workdir / "checkpoints").absolute() / str(newest) / "position"
  try:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
      position = Position(**reader.restore(path))
  except Exception as error:  # whatever JSON and Orbax raise
    raise _damaged(path.parent, error) from None
  return position.best_step or newest


def read_variables(workdir: pathlib.Path, step: int) -> dict:
  """Reads what a checkpoint's network is evaluated with; no optimizer.

  Args:
    workdir: of the run.
    step: of the checkpoint.

  Returns:
    'params' and 'batch_stats' (their averages, if the run kept them), f32 NumPy
    arrays.

  Raises:
    InputError: if there is none or it cannot be read.
  """
  chosen = (workdir / "checkpoints").absolute() / str(step) / "state"
  try:
    handler = ocp.PyTreeCheckpointHandler()
    with ocp.Checkpointer(handler) as reader:
      tree = handler.metadata(epath.Path(chosen)).tree
      wanted = {
        key: jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree[key])
        for key in ("params", "batch_stats", "ema_params", "ema_batch_stats")
        if tree.get(key)
      }
      state = reader.restore(
        chosen,
        ocp.args.PyTreeRestore(
          wanted,
          restore_args=jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted
          ),
          partial_restore=True,
        ),
      )
  except Exception as error:  # whatever tensorstore and Orbax raise
    raise _damaged(chosen.parent, error) from None
  return {
    name: state.get(f"ema_{name}", state.get(name, {}))
    for name in ("params", "batch_stats")
  }


def _damaged(path: pathlib.Path, error: Exception) -> InputError:
  return InputError(
    f"--workdir: the checkpoint {str(path)!r} cannot be read "
    f"({_reason(error)}); valid: an intact one of these versions"
  )


def _reason(error: Exception) -> str:
  """One short line: messages of tensorstore have thousands of characters."""
  return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _all_processes(ok: bool) -> bool:
  """Whether it is so on all processes."""
  if jax.process_count() == 1:
    return ok
  return bool(multihost_utils.process_allgather(np.array(ok)).all())


def _rank(metrics: dict[str, Any]) -> tuple[float, int]:
  # Of equals the first is the best, as in the training loop.
  score = metrics["score"]
  return -math.inf if score is None else score, -metrics["step"]
