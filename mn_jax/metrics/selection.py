"""Which metrics can select a checkpoint, and in which direction."""

import numpy as np

from mn_jax.errors import InputError

# For any data set, for one with a positive class, and for one without.
_ANY = ("balanced_accuracy", "accuracy", "mcc", "loss")
_WITH_POSITIVE = ("auroc", "average_precision", "f1")
_WITHOUT_POSITIVE = ("macro_auroc", "macro_average_precision", "macro_f1")


def check_metric(metric: str, *, positive: int | None) -> None:
  """Checks that a data set has the metric that selects checkpoints.

  Args:
    metric: `eval.best_metric`.
    positive: index of the data set's positive class, or None.

  Raises:
    InputError: naming the metrics that it has.
  """
  valid = _ANY + (_WITHOUT_POSITIVE if positive is None else _WITH_POSITIVE)
  if metric not in valid:
    number = "no" if positive is None else "a"
    raise InputError(
      f"eval.best_metric: got {metric!r} for a data set with {number} positive "
      f"class; valid: {', '.join(valid)}"
    )


def score(metric: str, value: float) -> float | None:
  """Returns a metric so that larger is better; None if it is undefined."""
  if np.isnan(value):
    return None
  return -value if metric == "loss" else value
