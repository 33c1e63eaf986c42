"""Losses, gradients and states that are not finite, which end a run.

What is not finite is never saved, so a checkpoint can always be trained on.
"""

import math
from collections.abc import Mapping

import jax
import numpy as np

from mn_jax.errors import RunError
from mn_jax.train.checkpoint import Checkpoints
from mn_jax.train.state import TrainState


def check_step(
  step: int, sums: Mapping[str, float], checkpoints: Checkpoints
) -> None:
  """Ends the run if the loss or the gradient of a step is not finite.

  Args:
    step: its number.
    sums: of `make_train_step`.
    checkpoints: those of the run.

  Raises:
    RunError: with the step and the cause.
  """
  for name, title in (("loss", "loss"), ("grad_norm", "gradient norm")):
    if not math.isfinite(sums[name]):
      raise _failure(f"the {title} is {sums[name]}", step, checkpoints)


def check_state(step: int, state: TrainState, checkpoints: Checkpoints) -> None:
  """Ends the run if a value of its state is not finite.

  It can be so after a finite step: an update may overflow, and the variance of
  finite activations.

  Args:
    step: completed updates.
    state: the state then.
    checkpoints: those of the run.

  Raises:
    RunError: with the step and the array.
  """
  # Of the whole state at once: all copies from the devices start together.
  for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(state)):
    if not np.isfinite(leaf).all():
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise _failure(f"{name} is not finite", step, checkpoints)


def check_updates(step: int, skipped: int) -> None:
  """Ends a run in which every update was skipped.

  Args:
    step: completed updates, those that were skipped among them.
    skipped: their number.

  Raises:
    RunError: if nothing was trained.
  """
  if skipped == step:
    raise RunError(
      f"all {step} updates were skipped, as no loss and gradient were finite; "
      "valid: another --workdir, with initial weights that work"
    )


def _failure(cause: str, step: int, checkpoints: Checkpoints) -> RunError:
  checkpoints.wait()
  saved = checkpoints.latest_step()
  return RunError(
    f"{cause} at step {step}; the newest checkpoint in "
    f"{str(checkpoints.path)!r}: {saved or 'none'}. The same command ends here "
    "again; valid: optim.skip_nonfinite=true, or another --workdir with a "
    "lower optim.learning_rate or with optim.clip_norm"
  )
