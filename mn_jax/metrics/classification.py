"""Classification metrics of a whole split, on the host, in float64.

An undefined number (sensitivity without positives, AUROC of one class) is NaN.
"""

import dataclasses

import numpy as np

from mn_jax.metrics import calibration
from mn_jax.metrics import curves as ranking
from mn_jax.metrics.predictions import Predictions

# What a network that diverged still has.
DEFINED = ("count", "majority_rate")


def confusion_matrix(
  labels: np.ndarray,
  predicted: np.ndarray,
  classes: int,
  weights: np.ndarray | None = None,
) -> np.ndarray:
  """i64[classes, classes]: rows are true classes, columns predicted ones.

  Args:
    labels: i[n].
    predicted: i[n].
    classes: their number.
    weights: i64[n], how often each image counts; None: once.
  """
  cells = labels.astype(np.int64) * classes + predicted
  counts = np.bincount(cells, weights, minlength=classes**2)
  return counts.astype(np.int64).reshape(classes, classes)


def summarize(
  predictions: Predictions,
  *,
  positive: int | None,
  found: np.ndarray | None = None,
) -> dict[str, float]:
  """The metrics of a split.

  Args:
    predictions: of the whole split.
    positive: the class that is looked for, or None.
    found: i[n], the classes decided on, as by `thresholds.decide`; None: those
      of the highest logits.

  Returns:
    'loss', 'accuracy' (also known as top-1), 'balanced_accuracy' (the mean
    recall), 'majority_rate' (the accuracy of always answering the commonest
    class), 'count', 'mcc' (Matthews' correlation coefficient, of many classes
    after Gorodkin 2004), 'brier' (`calibration.squared_errors`), 'ece'
    (`calibration.Reliability`); with a positive class its 'precision',
    'sensitivity', 'specificity', 'f1', 'auroc' and 'average_precision'; without
    one 'macro_precision', 'macro_f1', 'macro_auroc' and
    'macro_average_precision' (one class against the rest), plain means over the
    classes that occur. All but the count and the majority rate are NaN if a
    logit is not finite.
  """
  labels, classes = predictions.labels, predictions.logits.shape[1]
  finite = np.isfinite(predictions.logits).all()
  if not finite:
    predictions = dataclasses.replace(
      predictions, logits=np.zeros_like(predictions.logits)
    )
  if found is None:
    found = predictions.logits.argmax(axis=1)
  matrix = confusion_matrix(labels, found, classes)
  probabilities = predictions.probabilities()
  top = calibration.TopLabel(predictions, probabilities)
  metrics = {
    "loss": float(predictions.losses.astype(np.float64).mean()),
    **of_counts(matrix, positive=positive),
    "brier": float(calibration.squared_errors(labels, probabilities).mean()),
    "ece": top.reliability(np.ones(len(labels), np.int64)).ece(),
  }
  present = np.flatnonzero(matrix.sum(axis=1))
  curves = [
    ranking.curve(labels == label, probabilities[:, label])
    for label in (present if positive is None else [positive])
  ]
  prefix = "macro_" if positive is None else ""
  for area in (ranking.auroc, ranking.average_precision):
    values = [area(curve) for curve in curves]
    metrics[prefix + area.__name__] = float(np.mean(values))
  if not finite:
    metrics = {k: v if k in DEFINED else np.nan for k, v in metrics.items()}
  return metrics


def of_counts(matrix: np.ndarray, *, positive: int | None) -> dict[str, float]:
  """Those metrics of `summarize` that decisions alone determine.

  Args:
    matrix: i64[classes, classes], from `confusion_matrix`.
    positive: the class that is looked for, or None.
  """
  true, found = matrix.sum(axis=1), matrix.sum(axis=0)
  hits = np.diag(matrix)
  present = true > 0
  recall = _ratio(hits, true)
  precision = _ratio(hits, found)
  f1 = _ratio(2 * hits, true + found)
  metrics = {
    "accuracy": float(hits.sum() / true.sum()),
    "balanced_accuracy": float(recall[present].mean()),
    "majority_rate": float(true.max() / true.sum()),
    "count": float(true.sum()),
    "mcc": _mcc(true, found, hits),
  }
  if positive is None:
    metrics["macro_precision"] = float(precision[present].mean())
    metrics["macro_f1"] = float(f1[present].mean())
  else:
    others = true.sum() - true[positive]
    false_positives = found[positive] - hits[positive]
    metrics["precision"] = float(precision[positive])
    metrics["sensitivity"] = float(recall[positive])
    metrics["specificity"] = float(_ratio(others - false_positives, others))
    metrics["f1"] = float(f1[positive])
  return metrics


def per_class(
  predictions: Predictions, *, found: np.ndarray | None = None
) -> dict[str, np.ndarray]:
  """Every class against all others.

  Args:
    predictions: of the whole split.
    found: as of `summarize`.

  Returns:
    'precision', 'recall', 'specificity', 'f1', 'support' (images of the class),
    'auroc' and 'average_precision', each f64[classes]. All but the support are
    NaN if a logit is not finite.
  """
  labels, classes = predictions.labels, predictions.logits.shape[1]
  support = np.bincount(labels, minlength=classes).astype(np.float64)
  names = ("precision", "recall", "specificity", "f1")
  areas = (ranking.auroc, ranking.average_precision)
  if not np.isfinite(predictions.logits).all():
    names += tuple(area.__name__ for area in areas)
    return {k: np.full(classes, np.nan) for k in names} | {"support": support}
  if found is None:
    found = predictions.logits.argmax(axis=1)
  matrix = confusion_matrix(labels, found, classes)
  true, taken, hits = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
  others = true.sum() - true
  curves = [
    ranking.curve(labels == label, scores)
    for label, scores in enumerate(predictions.probabilities().T)
  ]
  columns = (
    _ratio(hits, taken),
    _ratio(hits, true),
    _ratio(others - (taken - hits), others),
    _ratio(2 * hits, true + taken),
  )
  return dict(zip(names, columns, strict=True)) | {
    "support": support,
    **{area.__name__: np.array([area(x) for x in curves]) for area in areas},
  }


def _mcc(true: np.ndarray, found: np.ndarray, hits: np.ndarray) -> float:
  """The correlation of classes; NaN if all images have or got the same one."""
  # As Python's integers: the product below is of the fourth power of the count.
  total = int(true.sum())
  together = int(hits.sum()) * total - int((true * found).sum())
  spread = total**2 - int((true**2).sum())
  spread *= total**2 - int((found**2).sum())
  return together / spread**0.5 if spread else np.nan


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.asarray(numerator, np.float64) / denominator
