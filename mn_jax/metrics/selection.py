"""Which metrics can select a checkpoint, and in which direction."""

import numpy as np

from mn_jax.errors import InputError

# Of one class per image: for any data set, for one with a positive class, and
# for one without. Of several labels per image.
_ANY = ("balanced_accuracy", "accuracy", "mcc", "loss")
_WITH_POSITIVE = ("auroc", "average_precision", "f1")
_WITHOUT_POSITIVE = ("macro_auroc", "macro_average_precision", "macro_f1")
_MULTI_LABEL = (
  *_WITHOUT_POSITIVE,
  "micro_average_precision",
  "micro_f1",
  "label_accuracy",
  "exact_match",
  "loss",
)


def check_metric(metric: str, *, positive: bool, multi_label: bool) -> None:
  """Checks that a data set has the metric that selects checkpoints.

  Args:
    metric: `eval.best_metric`.
    positive: whether the data set has a positive class.
    multi_label: whether its images have several labels.

  Raises:
    InputError: naming the metrics that it has.
  """
  if multi_label:
    what, valid = "several labels per image", _MULTI_LABEL
  elif positive:
    what, valid = "a positive class", _ANY + _WITH_POSITIVE
  else:
    what, valid = "no positive class", _ANY + _WITHOUT_POSITIVE
  if metric not in valid:
    raise InputError(
      f"eval.best_metric: got {metric!r} for a data set with {what}; valid: "
      f"{', '.join(valid)}"
    )


def score(metric: str, value: float) -> float | None:
  """Returns a metric so that larger is better; None if it is undefined."""
  if np.isnan(value):
    return None
  return -value if metric == "loss" else value
