"""Training metrics as means over whole epochs, as Keras reports them.

An epoch's mean is over its batches as they were trained on: augmented, in
training mode, each with the parameters before its own update. A batch that
spans two epochs counts for the first of them. The sums are those that the
training steps return anyway, and a checkpoint holds those of the epoch that it
lies in, so a resumed run has the same means.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from mn_jax.observe.writers import STEP
from mn_jax.run.setup import Setup
from mn_jax.train import window
from mn_jax.train.checkpoint import Position

# Of these metrics in `metrics.jsonl`.
PREFIX = "train_epoch/"


def add(
  setup: Setup, position: Position, step: int, sums: Mapping[str, float]
) -> dict[str, float]:
  """Adds the sums of a step to those of its epoch.

  Args:
    setup: of the run.
    position: has the sums, and gets the means when the epoch is complete.
    step: its number.
    sums: from `window.by_step`.

  Returns:
    What to log: the means of the epoch that the step completes, or nothing. Of
    an epoch whose first steps are not among the sums, because an earlier
    version took them, there are no means.
  """
  window.add(position.epoch_sums, sums)
  if not setup.plan.epoch.completes(step):
    return {}
  position.epoch_means = _means(setup, position, step)
  position.epoch_sums = {}
  return {f"{PREFIX}{k}": v for k, v in position.epoch_means.items()}


def results(
  setup: Setup, position: Position, lines: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
  """Returns the training metrics of a run's end, for `summary.json`.

  Args:
    setup: of the run.
    position: the final one.
    lines: of `metrics.jsonl`.

  Returns:
    'last/train/...' of the last epoch, as far as it was trained, with the
    learning rate of the last step; 'train/...' of the epoch in which the
    selected checkpoint lies. Those that are not known are left out.
  """
  end = position.batch
  last = position.epoch_means
  if position.epoch_sums:
    last = _means(setup, position, end)
  best_step = position.best_step or end
  completes = setup.plan.epoch.completes
  chosen_end = next(filter(completes, range(best_step, end)), end)
  chosen = last
  if chosen_end != end:
    chosen = {
      name.removeprefix(PREFIX): value
      for line in lines
      if line[STEP] == chosen_end
      for name, value in line.items()
      if name.startswith(PREFIX)
    }
  rate = position.train.get("learning_rate")
  at_end = {} if rate is None else {"last/train/learning_rate": rate}
  return {
    **{f"train/{name}": value for name, value in chosen.items()},
    **{f"last/train/{name}": value for name, value in last.items()},
    **at_end,
  }


def _means(setup: Setup, position: Position, step: int) -> dict[str, float]:
  """Means of the epoch of a step, with their number of images, or nothing."""
  sums = position.epoch_sums
  if sums["steps"] != setup.plan.epoch.updates(step):
    return {}
  means = window.metrics(sums, multi_label=setup.data.multi_label)
  return {**means, "count": sums["count"]}
