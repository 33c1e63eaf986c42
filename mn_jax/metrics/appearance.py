"""Whether images of two parts of a split look alike, by simple statistics.

A published test may come from elsewhere than its training part. If it does, a
validation part that is split from training promises more than the test keeps,
and statistics that say nothing of the subject, such as sharpness, may tell the
parts apart, or the classes: a network then learns them.

Everything is an AUROC: 0.5 if a statistic says nothing, 0 or 1 if it decides.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import sklearn.linear_model
import sklearn.metrics
import sklearn.model_selection
import sklearn.pipeline
import sklearn.preprocessing

# In the order of the columns of `measure`.
STATISTICS = ("brightness", "contrast", "sharpness", "black", "white", "centre")
_BLACK, _WHITE = 2.0, 253.0  # grey levels up to and from which a pixel counts
_BATCH = 32
_FOLDS = 5
_FEWEST = 10  # groups of each side, for an AUROC


@dataclasses.dataclass(frozen=True)
class Separation:
  """How well statistics tell one set of images from another.

  Attributes:
    single: statistic -> AUROC; above 0.5 if it is larger in the second set.
    together: AUROC of a logistic regression on all, of images whose groups it
      was not fitted on; NaN with too few groups.
    counts: images of the first and the second set.
  """

  single: Mapping[str, float]
  together: float
  counts: tuple[int, int]


def measure(
  images: np.ndarray,
  rows: np.ndarray,
  progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
  """Computes the statistics of images.

  Args:
    images: u8[m, h, w, 3], RGB in [0, 255].
    rows: i64[n], which of `images`.
    progress: called with the images done and all.

  Returns:
    f64[n, 6]: mean and standard deviation of the grey levels; their mean
    absolute difference between neighbours; the shares of black and of white
    pixels; the mean of the middle quarter minus that of all.
  """
  found = []
  for start in range(0, len(rows), _BATCH):
    grey = images[rows[start : start + _BATCH]].mean(-1, dtype=np.float32)
    height, width = grey.shape[1:]
    top, left = height // 4, width // 4
    middle = grey[:, top : height - top, left : width - left]
    steps = [np.abs(np.diff(grey, axis=axis)).mean((1, 2)) for axis in (1, 2)]
    mean = grey.mean((1, 2))
    columns = (
      mean,
      grey.std((1, 2)),
      sum(steps) / 2,
      (grey <= _BLACK).mean((1, 2)),
      (grey >= _WHITE).mean((1, 2)),
      middle.mean((1, 2)) - mean,
    )
    found.append(np.stack(columns, axis=1).astype(np.float64))
    if progress is not None:
      progress(min(start + _BATCH, len(rows)), len(rows))
  return np.concatenate(found)


def separate(
  one: np.ndarray,
  other: np.ndarray,
  groups: np.ndarray,
) -> Separation:
  """Measures how well the statistics tell two sets of images apart.

  Args:
    one, other: f64[n, 6] and f64[m, 6], from `measure`, an image or more each.
    groups: str[n + m], what belongs together, of the first set's images and
      then the second's.
  """
  values = np.concatenate([one, other])
  second = np.repeat([0, 1], [len(one), len(other)])
  single = {
    name: float(sklearn.metrics.roc_auc_score(second, values[:, i]))
    for i, name in enumerate(STATISTICS)
  }
  sides = [groups[: len(one)], groups[len(one) :]]
  together = np.nan
  if min(len(np.unique(side)) for side in sides) >= _FEWEST:
    folds = sklearn.model_selection.StratifiedGroupKFold(
      _FOLDS, shuffle=True, random_state=0
    )
    scores = sklearn.model_selection.cross_val_predict(
      _model(),
      values,
      second,
      groups=groups,
      cv=folds,
      method="decision_function",
    )
    together = float(sklearn.metrics.roc_auc_score(second, scores))
  return Separation(single, together, (len(one), len(other)))


def _model() -> sklearn.pipeline.Pipeline:
  return sklearn.pipeline.make_pipeline(
    sklearn.preprocessing.StandardScaler(),
    sklearn.linear_model.LogisticRegression(
      class_weight="balanced", max_iter=10_000
    ),
  )
