"""Which metrics can choose a checkpoint, and which way is better."""

import numpy as np

from mn_jax.errors import InputError

# Of any data set, of one with a class that is looked for, and of one without.
_CHOICES = ("balanced_accuracy", "accuracy", "mcc", "loss")
_OF_POSITIVE = ("auroc", "average_precision", "f1")
_MACRO = ("macro_auroc", "macro_average_precision", "macro_f1")


def check_choice(metric: str, *, positive: int | None) -> None:
  """Refuses a metric to choose checkpoints by that a data set does not have.

  Args:
    metric: `eval.best_metric`.
    positive: the data set's class that is looked for, or None.

  Raises:
    InputError: naming those it has.
  """
  valid = _CHOICES + (_MACRO if positive is None else _OF_POSITIVE)
  if metric not in valid:
    number = "no" if positive is None else "a"
    raise InputError(
      f"eval.best_metric: got {metric!r} for a data set with {number} positive "
      f"class; valid: {', '.join(valid)}"
    )


def score(metric: str, value: float) -> float | None:
  """A metric as something of which more is better; None if it is undefined."""
  if np.isnan(value):
    return None
  return -value if metric == "loss" else value
