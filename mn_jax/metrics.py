"""Classification metrics of a whole split, on the host, in float64.

An undefined number (sensitivity without positives, AUROC of one class) is NaN.
"""

import dataclasses

import numpy as np
import sklearn.metrics


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
    positive: the class that is looked for; None gives macro averages.

  Returns:
    'loss', 'accuracy', 'balanced_accuracy', 'majority_rate' (the accuracy of
    always answering the commonest class), 'precision', 'sensitivity', 'f1',
    'auroc', 'count'; with a positive class also 'specificity'. All but the
    count and the majority rate are NaN if a logit is not finite.
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
    "auroc": _auroc(labels, predictions.probabilities(), positive),
  }
  if positive is None:
    metrics["precision"] = float(precision[present].mean())
    metrics["sensitivity"] = float(recall[present].mean())
    metrics["f1"] = float(f1[present].mean())
  else:
    others = true.sum() - true[positive]
    false_positives = found[positive] - hits[positive]
    metrics["precision"] = float(precision[positive])
    metrics["sensitivity"] = float(recall[positive])
    metrics["specificity"] = float(_ratio(others - false_positives, others))
    metrics["f1"] = float(f1[positive])
  if not np.isfinite(predictions.logits).all():
    kept = ("count", "majority_rate")
    metrics = {k: v if k in kept else np.nan for k, v in metrics.items()}
  return metrics


def score(metric: str, value: float) -> float | None:
  """A metric as something of which more is better; None if it is undefined."""
  if np.isnan(value):
    return None
  return -value if metric == "loss" else value


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.asarray(numerator, np.float64) / denominator


def _auroc(
  labels: np.ndarray, probabilities: np.ndarray, positive: int | None
) -> float:
  """Area under the ROC curve; one against the rest, averaged, if macro."""
  if not np.isfinite(probabilities).all():
    return np.nan
  classes = [positive] if positive is not None else np.unique(labels).tolist()
  areas = [
    sklearn.metrics.roc_auc_score(labels == c, probabilities[:, c])
    if 0 < (labels == c).sum() < len(labels)
    else np.nan
    for c in classes
  ]
  return float(np.mean(areas))
