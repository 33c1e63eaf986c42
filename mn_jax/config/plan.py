"""`Plan`: the durations of a run in steps, and when each event is due."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from mn_jax.config import Config
from mn_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Cadence:
  """Tells after which steps something is due: logging, evaluation, saving.

  Attributes:
    period: examples between two events.
    batch_size: examples per step.
    total_steps: steps of the run, after the last of which everything is due.
  """

  period: int
  batch_size: int
  total_steps: int

  def due(self, step: int) -> bool:
    """Whether it is due after `step` completed updates."""
    return step >= self.total_steps or self.completes(step)

  def completes(self, step: int) -> bool:
    """Whether the last of `step` updates completes a period."""
    return step * self.batch_size // self.period > self._before(step)

  def updates(self, step: int) -> int:
    """Returns how many of `step` updates are of the period that it is in.

    An update is of the period of the first of its examples.
    """
    return step - -(-self._before(step) * self.period // self.batch_size)

  def _before(self, step: int) -> int:
    """Returns the number of periods that are complete one update before."""
    return (step - 1) * self.batch_size // self.period


@dataclasses.dataclass(frozen=True)
class Plan:
  """All durations of a run, in steps.

  Attributes:
    total_steps: updates in the run.
    warmup_steps: updates with a rising learning rate.
    decay_steps: updates between drops of the schedule 'exponential'; 0 without.
    steps_per_epoch: training examples divided by the batch size; an epoch may
      end within a batch.
    epoch: once per training example.
    log, evaluate, save: when each is due.
    profile: the steps after which a profiler trace starts and ends; empty
      without a trace.
    steps_per_dispatch: most steps in a dispatch.
  """

  total_steps: int
  warmup_steps: int
  decay_steps: int
  steps_per_epoch: float
  epoch: Cadence
  log: Cadence
  evaluate: Cadence
  save: Cadence
  profile: tuple[int, ...]
  steps_per_dispatch: int

  def dispatches(self, done: int) -> Iterator[int]:
    """Yields the completed updates after each dispatch, from `done` on.

    A dispatch takes `steps_per_dispatch` steps if nothing is due between them,
    otherwise one.
    """
    while done < self.total_steps:
      between = range(done + 1, done + self.steps_per_dispatch)
      done += 1 if any(map(self._due, between)) else self.steps_per_dispatch
      yield done

  def _due(self, step: int) -> bool:
    cadences = (self.log, self.evaluate, self.save)
    return step in self.profile or any(
      cadence.due(step) for cadence in cadences
    )


def resolve(config: Config, num_train_examples: int) -> Plan:
  """Turns the durations of a config into steps.

  Args:
    config: the experiment.
    num_train_examples: of the training part.

  Raises:
    InputError: if the batch is larger than the training split, the warm-up
      longer than the run, or the rate due to decay every zero examples.
  """
  batch_size = config.train.batch_size
  if batch_size > num_train_examples:
    raise InputError(
      f"train.batch_size: got {batch_size}; valid: at most the "
      f"{num_train_examples} training examples"
    )

  def examples(section: Any, prefix: str) -> int:
    steps, epochs, count = (
      getattr(section, f"{prefix}{unit}")
      for unit in ("steps", "epochs", "examples")
    )
    return steps * batch_size + round(epochs * num_train_examples) + count

  total_steps = max(1, -(-examples(config.train, "") // batch_size))
  warmup_steps = -(-examples(config.optim, "warmup_") // batch_size)
  decay_steps = -(-examples(config.optim, "decay_every_") // batch_size)
  if warmup_steps >= total_steps:
    raise InputError(
      f"optim.warmup: got {warmup_steps} steps; valid: fewer than the run's "
      f"{total_steps}"
    )
  if config.optim.schedule == "exponential" and not decay_steps:
    raise InputError(
      f"optim.decay_every_epochs: got {config.optim.decay_every_epochs:g}, not "
      f"one of the {num_train_examples} training examples; valid: at least "
      f"{1 / num_train_examples:.2g}"
    )

  start = config.observe.profile_at_step
  end = start + config.observe.profile_steps

  def cadence(period: int) -> Cadence:
    return Cadence(max(1, period), batch_size, total_steps)

  return Plan(
    total_steps=total_steps,
    warmup_steps=warmup_steps,
    decay_steps=decay_steps,
    steps_per_epoch=num_train_examples / batch_size,
    epoch=cadence(num_train_examples),
    log=cadence(config.observe.log_every_steps * batch_size),
    evaluate=cadence(examples(config.eval, "every_")),
    save=cadence(examples(config.checkpoint, "every_")),
    profile=(start, end) if start else (),
    steps_per_dispatch=config.train.steps_per_dispatch,
  )
