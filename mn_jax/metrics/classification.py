"""Classification metrics of a part of a split, on the host, in float64.

Images of one class each are measured here, those of several labels by
`metrics.multilabel`.

An undefined metric is NaN: sensitivity and F1 without positives, and what
compares classes (balanced accuracy, precision, F1, MCC, AUROC) where there is
only one.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from mn_jax.metrics import calibration, curves, multilabel
from mn_jax.metrics.predictions import Predictions, group_codes

DEFINED = multilabel.DEFINED
# The accuracy of a group with fewer images is mostly chance.
LEAST_IMAGES = 10


def confusion_matrix(
  labels: np.ndarray,
  predicted: np.ndarray,
  classes: int,
  weights: np.ndarray | None = None,
) -> np.ndarray:
  """Returns i64[classes, classes]: rows are true classes, columns predicted.

  Args:
    labels: i[n], true classes.
    predicted: i[n], predicted classes.
    classes: number of classes.
    weights: i64[n], how often each image counts; None: once.
  """
  cells = labels.astype(np.int64) * classes + predicted
  counts = np.bincount(cells, weights, minlength=classes**2)
  return counts.astype(np.int64).reshape(classes, classes)


def summarize(
  predictions: Predictions,
  *,
  positive: int | None,
  predicted: np.ndarray | None = None,
) -> dict[str, float]:
  """Returns the metrics of a part of a split.

  Args:
    predictions: of all n images.
    positive: index of the positive class, or None.
    predicted: what is predicted, such as by a threshold: classes i[n] or labels
      u8[n, classes]; None: `predictions.predicted()`.

  Returns:
    Of images with several labels, the metrics of `multilabel.WeightedMetrics`.
    Of others 'loss', 'accuracy' (also known as top-1), 'balanced_accuracy' (the
    mean recall), 'majority_rate' (the accuracy of always predicting the
    majority class), 'count', 'mcc' (Matthews' correlation coefficient, of many
    classes after Gorodkin 2004), 'brier' (`calibration.squared_errors`), 'ece'
    (`calibration.Reliability`); with a positive class its 'precision',
    'sensitivity', 'specificity', 'f1', 'auroc' and 'average_precision'; without
    one 'macro_precision', 'macro_f1', 'macro_auroc' and
    'macro_average_precision' (one class against the rest), plain means over the
    classes that occur. All but the count and the majority rate are NaN if a
    logit is not finite.
  """
  metrics = weighted(
    predictions, positive=positive, predicted=predicted, repeated=False
  )
  return metrics(np.ones(len(predictions.labels), np.int64))


def weighted(
  predictions: Predictions,
  *,
  positive: int | None,
  predicted: np.ndarray | None = None,
  repeated: bool = True,
) -> Callable[[np.ndarray], dict[str, float]]:
  """Returns what computes the metrics of `summarize` from weights i64[n].

  Args:
    predictions: of all n images.
    positive: index of the positive class, or None.
    predicted: as in `summarize`.
    repeated: whether sorted scores are kept for further weights.
  """
  if predictions.multi_label:
    return multilabel.WeightedMetrics(
      predictions, predicted=predicted, repeated=repeated
    )
  return WeightedMetrics(
    predictions, positive=positive, predicted=predicted, repeated=repeated
  )


class WeightedMetrics:
  """Computes the metrics of `summarize` from weighted images of one class.

  A resample is a set of weights. What does not depend on them is computed once,
  which makes thousands of resamples affordable.
  """

  def __init__(
    self,
    predictions: Predictions,
    *,
    positive: int | None,
    predicted: np.ndarray | None = None,
    repeated: bool = True,
  ):
    """Bins confidences.

    Args:
      predictions: of all n images.
      positive: index of the positive class, or None.
      predicted: i[n], predicted classes; None: those of the highest logits.
      repeated: whether sorted scores are kept for further weights.
    """
    self._finite = np.isfinite(predictions.logits).all()
    if not self._finite:
      predictions = dataclasses.replace(
        predictions, logits=np.zeros_like(predictions.logits)
      )
    if predicted is None:
      predicted = predictions.predicted()
    self._labels, self._predicted = predictions.labels, predicted
    self._positive, self._classes = positive, predictions.logits.shape[1]
    self._losses = predictions.losses.astype(np.float64)
    probabilities = predictions.probabilities()
    self._errors = calibration.squared_errors(self._labels, probabilities)
    self._top = calibration.top_label(predictions, probabilities)

    def rank(label: int) -> curves.Ranking:
      return curves.Ranking(self._labels == label, probabilities[:, label])

    self._rank = functools.cache(rank) if repeated else rank

  def __call__(self, weights: np.ndarray) -> dict[str, float]:
    """Returns the metrics.

    Args:
      weights: i64[n], how often each image counts, at least one above 0.
    """
    matrix = confusion_matrix(
      self._labels, self._predicted, self._classes, weights
    )
    total = weights.sum()
    metrics = {
      "loss": float((self._losses * weights).sum() / total),
      **from_confusion_matrix(matrix, positive=self._positive),
      "brier": float((self._errors * weights).sum() / total),
      "ece": self._top.reliability(weights).ece(),
    }
    positive = self._positive
    present = np.flatnonzero(matrix.sum(axis=1))
    areas = [
      _areas(*self._rank(label).curve(weights))
      for label in (present if positive is None else [positive])
    ]
    prefix = "macro_" if positive is None else ""
    for name in areas[0]:
      metrics[prefix + name] = float(np.mean([area[name] for area in areas]))
    if not self._finite:
      metrics = {k: v if k in DEFINED else np.nan for k, v in metrics.items()}
    return metrics


def from_confusion_matrix(
  matrix: np.ndarray, *, positive: int | None
) -> dict[str, float]:
  """Returns those metrics of `summarize` that the confusion matrix determines.

  Args:
    matrix: i64[classes, classes], rows are true classes.
    positive: index of the positive class, or None.
  """
  true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
  hits, present = np.diag(matrix), true > 0
  of_class = _against_the_rest(matrix)
  metrics = {
    "accuracy": float(hits.sum() / true.sum()),
    "balanced_accuracy": (
      float(of_class["recall"][present].mean()) if present.sum() > 1 else np.nan
    ),
    "majority_rate": float(true.max() / true.sum()),
    "count": float(true.sum()),
    "mcc": _mcc(true, predicted, hits),
  }
  if positive is None:
    for name in ("precision", "f1"):
      metrics[f"macro_{name}"] = float(of_class[name][present].mean())
    return metrics
  of_class["sensitivity"] = of_class["recall"]
  for name in ("precision", "sensitivity", "specificity", "f1"):
    metrics[name] = float(of_class[name][positive])
  return metrics


def per_class(predictions: Predictions) -> dict[str, np.ndarray]:
  """Returns metrics of every class against all others, or of every label.

  Args:
    predictions: of all n images.

  Returns:
    'precision', 'recall', 'specificity', 'f1', 'support' (images of the class),
    'auroc' and 'average_precision', each f64[classes]. All but the support are
    NaN if a logit is not finite.
  """
  if predictions.multi_label:
    return multilabel.per_label(predictions)
  labels, logits = predictions.labels, predictions.logits
  matrix = confusion_matrix(labels, predictions.predicted(), logits.shape[1])
  metrics = _against_the_rest(matrix)
  finite = np.isfinite(logits).all()
  columns = predictions.probabilities().T if finite else np.zeros_like(logits.T)
  areas = [
    _areas(*curves.Ranking(labels == label, scores).curve())
    for label, scores in enumerate(columns)
  ]
  for name in areas[0]:
    metrics[name] = np.array([area[name] for area in areas])
  if not finite:
    metrics = {k: np.full_like(v, np.nan) for k, v in metrics.items()}
  return metrics | {"support": matrix.sum(axis=1).astype(np.float64)}


def accuracy_by_group(
  predictions: Predictions,
  groups: np.ndarray,
  *,
  predicted: np.ndarray | None = None,
) -> list[tuple[str, int, float]]:
  """Returns the accuracy of every group, the worst and largest first.

  Of images with several labels it is the share of labels that are right.

  Args:
    predictions: of all n images.
    groups: str[n], groups of the images.
    predicted: as in `summarize`.

  Returns:
    (name, number of images, share that is right) of each; the share is NaN if
    any logit is not finite.

  Raises:
    InputError: if there are no images, or not a group for each.
  """
  codes = group_codes(predictions, groups)
  if predicted is None:
    predicted = predictions.predicted()
  hits = (predicted == predictions.labels).astype(np.float64)
  if predictions.multi_label:
    hits = hits.mean(axis=1)
  if not np.isfinite(predictions.logits).all():
    hits[:] = np.nan
  counts = np.bincount(codes)
  shares = np.bincount(codes, hits) / counts
  names = np.unique(groups)
  return [
    (str(names[code]), int(counts[code]), float(shares[code]))
    for code in np.lexsort((-counts, shares))
  ]


def _areas(*counts: np.ndarray) -> dict[str, float]:
  return {
    "auroc": curves.auroc(*counts),
    "average_precision": curves.average_precision(*counts),
  }


def _against_the_rest(matrix: np.ndarray) -> dict[str, np.ndarray]:
  true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
  hits, rest = np.diag(matrix), matrix.sum() - true
  # Without another class every answer is right; without this one none can be.
  f1 = _ratio(2 * hits, true + predicted)
  f1[(true == 0) | (rest == 0)] = np.nan
  precision = _ratio(hits, predicted)
  precision[rest == 0] = np.nan
  return {
    "precision": precision,
    "recall": _ratio(hits, true),
    "specificity": _ratio(rest - (predicted - hits), rest),
    "f1": f1,
  }


def _mcc(true: np.ndarray, predicted: np.ndarray, hits: np.ndarray) -> float:
  """The correlation of classes; NaN if all images have or got the same one."""
  # As Python's integers: the product below is of the fourth power of the count.
  total = int(true.sum())
  together = int(hits.sum()) * total - int((true * predicted).sum())
  spread = total**2 - int((true**2).sum())
  spread *= total**2 - int((predicted**2).sum())
  return together / spread**0.5 if spread else np.nan


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.asarray(numerator, np.float64) / denominator
