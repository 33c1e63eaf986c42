"""Tests of durations and cadences."""

import math

import numpy as np
import pytest

from mn_jax import config as config_lib
from mn_jax.config import checks
from mn_jax.config import plan as plan_lib
from mn_jax.data import loader
from mn_jax.errors import InputError


def _config(**changes) -> config_lib.Config:
  """Defaults with 'section__field' changed."""
  values = config_lib.default()
  for path, value in changes.items():
    section, field = path.split("__")
    values[section][field] = value
  return checks.from_config_dict(values)


def _due_steps(cadence: plan_lib.Cadence) -> list[int]:
  return [s for s in range(1, cadence.total_steps + 1) if cadence.due(s)]


def test_an_epoch_is_every_example_once():
  for examples, batch, steps in (
    (100, 10, 50),
    (101, 10, 51),
    (99, 10, 50),
    (32, 32, 5),
    (33, 32, 6),
  ):
    config = _config(train__epochs=5.0, train__batch_size=batch)
    plan = plan_lib.resolve(config, examples)
    assert plan.total_steps == steps
    assert plan.steps_per_epoch == examples / batch
    batches = loader.TrainBatches(
      None,
      np.zeros(examples, np.int32),
      np.arange(examples),
      batch_size=batch,
      num_batches=plan.total_steps,
      seed=0,
    )
    seen = np.concatenate([batches.ids(k) for k in range(plan.total_steps)])
    counts = np.bincount(seen, minlength=examples)
    assert counts.min() == 5
    assert counts.sum() - 5 * examples < batch


def test_each_unit_resolves_to_steps():
  for unit, amount, steps, warmup_steps in (
    ("steps", 7, 7, 7),
    ("epochs", 1.0, 11, 11),
    ("epochs", 0.6, 7, 7),
    ("epochs", 1e-9, 1, 0),
    ("examples", 10, 1, 1),
    ("examples", 11, 2, 2),
  ):
    config = _config(train__batch_size=10, **{f"train__{unit}": amount})
    assert plan_lib.resolve(config, 101).total_steps == steps
    config = _config(
      train__batch_size=10, train__steps=20, **{f"optim__warmup_{unit}": amount}
    )
    assert plan_lib.resolve(config, 101).warmup_steps == warmup_steps


def test_due_once_per_epoch_at_the_step_that_completes_it():
  for examples, batch in ((100, 10), (101, 10), (57, 8)):
    epochs = 6
    config = _config(train__epochs=float(epochs), train__batch_size=batch)
    plan = plan_lib.resolve(config, examples)
    expected = [math.ceil(k * examples / batch) for k in range(1, epochs + 1)]
    assert _due_steps(plan.evaluate) == expected
    assert _due_steps(plan.save) == expected


def test_when_events_are_due():
  plan = plan_lib.resolve(
    _config(train__steps=25, observe__log_every_steps=10, train__batch_size=7),
    1000,
  )
  assert _due_steps(plan.log) == [10, 20, 25]
  assert _due_steps(plan.evaluate) == [25]
  plan = plan_lib.resolve(
    _config(train__epochs=2.0, train__batch_size=10, eval__every_epochs=0.5),
    100,
  )
  assert _due_steps(plan.evaluate) == [5, 10, 15, 20]
  # Periods of evaluation and saving are independent of each other.
  for evaluate, save, evaluated, saved in (
    ({"steps": 2}, {"steps": 3}, [2, 4, 6], [3, 6]),
    # A period below the batch: at every step.
    ({"examples": 1}, {"epochs": 1e-9}, [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
    ({"steps": 1}, {"steps": 6}, [1, 2, 3, 4, 5, 6], [6]),
  ):
    periods = {
      **{f"eval__every_{unit}": value for unit, value in evaluate.items()},
      **{f"checkpoint__every_{unit}": value for unit, value in save.items()},
    }
    config = _config(
      **{
        "train__steps": 6,
        "train__batch_size": 10,
        "eval__every_epochs": 0.0,
        "checkpoint__every_epochs": 0.0,
        **periods,
      }
    )
    plan = plan_lib.resolve(config, 100)
    assert _due_steps(plan.evaluate) == evaluated
    assert _due_steps(plan.save) == saved


def test_nothing_is_due_between_the_steps_of_a_dispatch():
  for most, start, expected in (
    (1, 0, [*range(25)]),
    (2, 0, [0, 2, 4, 5, 7, 9, 10, 11, 13, 15, 17, 18, 20, 22, 24]),
    (5, 0, [0, 1, 2, 3, 4, 5, 10, 11, *range(16, 25)]),
    (5, 7, [7, 8, 9, 10, 11, *range(16, 25)]),
  ):
    config = _config(
      train__steps=25,
      train__batch_size=4,
      train__steps_per_dispatch=most,
      observe__log_every_steps=10,
      observe__profile_at_step=4,
      observe__profile_steps=1,
      eval__every_epochs=0.0,
      eval__every_steps=11,
      checkpoint__every_epochs=0.0,
      checkpoint__every_steps=18,
    )
    plan = plan_lib.resolve(config, 100)
    ends = list(plan.dispatches(start))
    assert ends[-1] == 25
    assert [start, *ends[:-1]] == expected


def test_batches_and_warmups_that_do_not_fit_are_refused():
  config = _config(train__steps=3, train__batch_size=32)
  assert plan_lib.resolve(config, 32).total_steps == 3
  with pytest.raises(
    InputError, match=r"train\.batch_size: got 32; valid: at most the 31 train"
  ):
    plan_lib.resolve(config, 31)
  with pytest.raises(
    InputError, match=r"optim\.warmup: got 3 steps; valid: fewer than the r.* 3"
  ):
    plan_lib.resolve(_config(train__steps=3, optim__warmup_steps=3), 100)


def test_a_decay_of_less_than_an_example_is_refused():
  """It would round to none, and the rate would stay what it is."""
  changes = {"optim__schedule": "exponential", "train__epochs": 2.0}
  plan = plan_lib.resolve(
    _config(optim__decay_every_epochs=0.01, **changes), 100
  )
  assert plan.decay_steps == 1
  with pytest.raises(
    InputError, match=r"decay_every_epochs: got 0\.004, not one of the 100"
  ):
    plan_lib.resolve(_config(optim__decay_every_epochs=0.004, **changes), 100)
