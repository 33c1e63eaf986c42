"""Classification metrics of a whole split, on the host, in float64.

An undefined number (sensitivity without positives, AUROC of one class) is NaN.
"""

import dataclasses

import numpy as np
import sklearn.metrics

from mn_jax.errors import InputError

# What can choose a checkpoint: of any data set, of one with a class that is
# looked for, and of one without.
_CHOICES = ("balanced_accuracy", "accuracy", "loss")
_OF_POSITIVE = ("auroc", "f1")
_MACRO = ("macro_auroc", "macro_f1")


@dataclasses.dataclass(frozen=True)
class Predictions:
  """The network's answers for a split.

  Attributes:
    ids: i32[n], rows of the packed cache.
    labels: i32[n].
    logits: f32[n, classes].
    losses: f32[n], cross-entropy in nats.
  """

  ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  losses: np.ndarray

  def probabilities(self) -> np.ndarray:
    """f64[n, classes], the softmax of the logits."""
    shifted = self.logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    return exp / exp.sum(axis=1, keepdims=True)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int):
  """i64[classes, classes]: rows are true classes, columns predicted ones."""
  return np.bincount(
    labels.astype(np.int64) * classes + predicted, minlength=classes**2
  ).reshape(classes, classes)


def summarize(
  predictions: Predictions, *, positive: int | None
) -> dict[str, float]:
  """The metrics of a split.

  Args:
    predictions: of the whole split.
    positive: the class that is looked for, or None.

  Returns:
    'loss', 'accuracy' (also known as top-1), 'balanced_accuracy' (the mean
    recall), 'majority_rate' (the accuracy of always answering the commonest
    class), 'count'; with a positive class its 'precision', 'sensitivity',
    'specificity', 'f1' and 'auroc'; without one 'macro_precision', 'macro_f1'
    and 'macro_auroc' (one class against the rest), plain means over the
    classes that occur. All but the count and the majority rate are NaN if a
    logit is not finite.
  """
  labels, classes = predictions.labels, predictions.logits.shape[1]
  matrix = confusion_matrix(labels, predictions.logits.argmax(1), classes)
  true, found = matrix.sum(axis=1), matrix.sum(axis=0)
  hits = np.diag(matrix)
  present = true > 0
  recall = _ratio(hits, true)
  precision = _ratio(hits, found)
  f1 = _ratio(2 * hits, true + found)
  metrics = {
    "loss": float(predictions.losses.astype(np.float64).mean()),
    "accuracy": float(hits.sum() / true.sum()),
    "balanced_accuracy": float(recall[present].mean()),
    "majority_rate": float(true.max() / true.sum()),
    "count": float(true.sum()),
  }
  probabilities = predictions.probabilities()
  if positive is None:
    areas = [_auroc(labels, probabilities, i) for i in np.flatnonzero(present)]
    metrics["macro_precision"] = float(precision[present].mean())
    metrics["macro_f1"] = float(f1[present].mean())
    metrics["macro_auroc"] = float(np.mean(areas))
  else:
    others = true.sum() - true[positive]
    false_positives = found[positive] - hits[positive]
    metrics["precision"] = float(precision[positive])
    metrics["sensitivity"] = float(recall[positive])
    metrics["specificity"] = float(_ratio(others - false_positives, others))
    metrics["f1"] = float(f1[positive])
    metrics["auroc"] = _auroc(labels, probabilities, positive)
  if not np.isfinite(predictions.logits).all():
    kept = ("count", "majority_rate")
    metrics = {k: v if k in kept else np.nan for k, v in metrics.items()}
  return metrics


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


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.asarray(numerator, np.float64) / denominator


def _auroc(labels: np.ndarray, probabilities: np.ndarray, label: int) -> float:
  """Area under the ROC curve of a class against all others."""
  hits = labels == label
  if not np.isfinite(probabilities).all() or hits.all() or not hits.any():
    return np.nan
  return float(sklearn.metrics.roc_auc_score(hits, probabilities[:, label]))
