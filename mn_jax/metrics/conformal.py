"""Conformal prediction sets: sets of classes that hold the right one.

Split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2023): the
validation part, which trained nothing, decides how probable a class must be to
be in the set of an image, so that the label is in it with a probability of at
least 1 - alpha, whatever the network.

A class is in the set if its probability reaches a threshold (the score "LAC" of
Sadinle, Lei and Wasserman 2019, MAPIE's default): of all sets with the same
coverage those are the smallest on average, and nothing about them is random or
has to be tuned, as with APS and RAPS. A set can be empty: no class is probable
enough.

Images of one patient are alike, so they do not count as independent images. As
in hierarchical conformal prediction (Lee, Barber and Willett 2023), each group
has the same weight, which its images share. The guarantee is then that of an
image of a new group. With one image per group it is the usual one.
"""

import dataclasses
import math

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap
from mn_jax.metrics.predictions import (
  NamedPredictions,
  Predictions,
  group_codes,
)

# Sums of group weights round; no level is missed by more than this.
_ROUNDING = 1e-9
# Resamples at once, which bounds the memory.
_BLOCK = 100


@dataclasses.dataclass(frozen=True)
class Thresholds:
  """How probable each class must be to be in a prediction set.

  Attributes:
    alpha: the share of sets that may miss the label, between 0 and 1.
    class_conditional: whether that holds for the images of every class, not
      only for all images together.
    least: f64[classes], the least probability of a class in a set.
    units: i64[classes], groups behind each threshold; images where no groups
      are known.
  """

  alpha: float
  class_conditional: bool
  least: np.ndarray
  units: np.ndarray

  def sets(self, probabilities: np.ndarray) -> np.ndarray:
    """Returns bool[..., classes], the classes in the sets of images.

    Args:
      probabilities: f64[..., classes], by the network and of the kind
        (temperature, ensemble) that `calibrate` got.
    """
    return probabilities >= self.least


@dataclasses.dataclass(frozen=True)
class SetMetrics:
  """Coverage and size of prediction sets, with 95 % intervals.

  Every number but `image_coverage` is a mean over groups of the mean over a
  group's images, as the guarantee is.

  Attributes:
    images, units: number of images, and of groups (or images) they are of.
    coverage: share of the sets that hold the label.
    image_coverage: the same with equal weights of all images.
    size: number of classes in a set.
    empty: share of the sets without a class.
    single: share of the sets with one class.
  """

  images: int
  units: int
  coverage: bootstrap.Interval
  image_coverage: bootstrap.Interval
  size: bootstrap.Interval
  empty: bootstrap.Interval
  single: bootstrap.Interval


def smallest_alpha(
  validation: NamedPredictions, *, class_conditional: bool = True
) -> np.ndarray:
  """Returns f64[classes], the smallest possible alpha of each class.

  It is 1 / (groups + 1); 1 for a class without images. Smaller ones would put
  the class into every set.

  Args:
    validation: predictions of the validation part.
    class_conditional: as in `calibrate`.

  Raises:
    InputError: as `calibrate`, except for alpha.
  """
  _check_single_label(validation.predictions)
  units = _count_units(validation, class_conditional=class_conditional)
  return 1 / (units + 1)


def calibrate(
  validation: NamedPredictions,
  *,
  alpha: float,
  class_conditional: bool = True,
) -> Thresholds:
  """Finds the thresholds for which sets miss the label at most as often.

  An image of a new group, one that is to those of validation as they are to
  each other, has its label in its set with a probability of at least 1 - alpha:
  over both the choice of the validation groups and of the new one. With a given
  validation part, coverage varies around that; the fewer groups, the more.

  Args:
    validation: predictions of the validation part.
    alpha: the share of sets that may miss the label, such as 0.1.
    class_conditional: whether that holds for the images of every class by
      itself (Vovk 2012, label-conditional or Mondrian), which needs enough
      groups of every class; if not, for all images together, where a small or
      hard class can be missed more often. The mean for a class is one over the
      groups that have it: all images together can be missed more often, if
      groups with few images are harder than others.

  Raises:
    InputError: for several labels per image, an alpha that is not between 0 and
      1, or one that is too small for so few groups.
  """
  predictions = validation.predictions
  _check_single_label(predictions)
  if not 0 < alpha < 1:
    raise InputError(f"conformal: got {alpha}; valid: between 0 and 1")
  if not np.isfinite(predictions.logits).all():
    raise InputError(
      "conformal: got logits of validation images that are not finite; valid: "
      "a checkpoint that has not diverged"
    )
  units = _count_units(validation, class_conditional=class_conditional)
  _check_units(validation, units, alpha, class_conditional=class_conditional)
  codes = group_codes(predictions, validation.groups)
  labels = predictions.labels
  own = predictions.probabilities()[np.arange(len(labels)), labels]
  if class_conditional:
    least = [
      _threshold(own[labels == i], codes[labels == i], alpha)
      for i in range(len(validation.classes))
    ]
  else:
    least = [_threshold(own, codes, alpha)] * len(validation.classes)
  return Thresholds(alpha, class_conditional, np.array(least), units)


def measure(
  sets: np.ndarray,
  predictions: Predictions,
  *,
  groups: np.ndarray | None,
  seed: int = 0,
  resamples: int = 2000,
) -> tuple[SetMetrics, tuple[SetMetrics, ...]]:
  """Measures prediction sets of images with known labels.

  Intervals are bootstrap percentiles over whole groups, as those of
  `bootstrap.intervals`; the thresholds are taken as they are. On the images
  that the thresholds were found on, coverage says nothing.

  Args:
    sets: bool[n, classes], from `Thresholds.sets`.
    predictions: of the same n images, for their labels.
    groups: [n] numbers or names of the images' groups; None: each image is one.
    seed: of the resamples, at least 0.
    resamples: number of resamples.

  Returns:
    The metrics of all images, and those of the images of each class. They are
    NaN for a class without images; so are intervals of fewer than two groups.

  Raises:
    InputError: if there are no images, several labels per image, or not a group
      for each.
  """
  _check_single_label(predictions)
  codes, labels = group_codes(predictions, groups), predictions.labels
  size = sets.sum(axis=1)
  values = np.stack(
    [sets[np.arange(len(labels)), labels], size, size == 0, size == 1], axis=1
  ).astype(np.float64)

  def of(chosen: np.ndarray) -> SetMetrics:
    return _measure(values[chosen], codes[chosen], seed, resamples)

  return (
    of(np.ones(len(labels), bool)),
    tuple(of(labels == i) for i in range(sets.shape[1])),
  )


def _check_single_label(predictions: Predictions) -> None:
  if predictions.multi_label:
    raise InputError(
      "conformal: got images with several labels each; valid: data with one "
      "label per image"
    )


def _count_units(
  validation: NamedPredictions, *, class_conditional: bool
) -> np.ndarray:
  """Returns i64[classes], the groups that each class's threshold is from."""
  codes = group_codes(validation.predictions, validation.groups)
  classes = len(validation.classes)
  if not class_conditional:
    return np.full(classes, codes.max() + 1)
  labels = validation.predictions.labels
  pairs = np.unique(np.stack([labels, codes], axis=1), axis=0)
  return np.bincount(pairs[:, 0], minlength=classes)


def _check_units(
  validation: NamedPredictions,
  units: np.ndarray,
  alpha: float,
  *,
  class_conditional: bool,
) -> None:
  """Refuses an alpha that would put a class into every set."""
  fewest = int(units.min())
  if alpha * (fewest + 1) >= 1 - _ROUNDING:
    return
  of_class = ""
  if class_conditional:
    name = validation.classes[int(units.argmin())]
    of_class = f" of class {name!r}"
  kind = "image" if validation.groups is None else "group"
  count = f"{fewest} {kind}{'' if fewest == 1 else 's'}{of_class}"
  # Rounded up, so that what is named is accepted.
  least = math.ceil(1e4 / (fewest + 1)) / 1e4
  ways = [f"{least:.4g} or more"] if fewest else []
  if class_conditional:
    ways.append("marginal sets, for all classes together")
  raise InputError(
    f"conformal: got {alpha:g} with {count} in validation; valid: "
    f"{', or '.join(ways)}"
  )


def _threshold(
  probabilities: np.ndarray, codes: np.ndarray, alpha: float
) -> float:
  """Returns the highest threshold below which few enough of the labels are.

  With K groups, an image of a group of N has the weight 1 / ((K + 1) N), and
  the new image 1 / (K + 1), as if it were missed (Lee, Barber and Willett 2023,
  for the score 1 - p). With groups of one image, the threshold is the
  floor(alpha (n + 1))-th smallest probability, which is the
  ceil((1 - alpha) (n + 1))-th smallest score.

  Args:
    probabilities: f64[n], of the label of each image.
    codes: i64[n], groups; K is the number of different ones.
    alpha: at least 1 / (K + 1).
  """
  _, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
  order = np.argsort(probabilities, kind="stable")
  missed = np.cumsum((1 / sizes)[codes[order]])
  allowed = alpha * (len(sizes) + 1) - 1
  first = np.searchsorted(missed, allowed + _ROUNDING, side="right")
  return float(probabilities[order[min(first, len(order) - 1)]])


def _measure(
  values: np.ndarray, codes: np.ndarray, seed: int, resamples: int
) -> SetMetrics:
  """The metrics of some images.

  Args:
    values: f64[n, 4]: is the label in the set, size, is it empty, is it single.
    codes: i64[n], groups of the images.
    seed: of the resamples.
    resamples: number of resamples.
  """
  found, codes, sizes = np.unique(
    codes, return_inverse=True, return_counts=True
  )
  units = len(found)
  # A group's sums: coverage by image, then its means, each with its weight.
  sums = np.stack(
    [np.bincount(codes, column, minlength=units) for column in values.T], axis=1
  )
  columns = np.concatenate([sums[:, :1], sums / sizes[:, None]], axis=1)
  columns = np.concatenate(
    [columns, sizes[:, None], np.ones((units, 1))], axis=1
  )

  def ratios(totals: np.ndarray) -> np.ndarray:
    """f64[..., 7] sums over groups -> f64[..., 5] metrics."""
    by_image = totals[..., :1] / totals[..., 5:6]
    return np.concatenate([by_image, totals[..., 1:5] / totals[..., 6:]], -1)

  if not units:
    nothing = bootstrap.Interval(np.nan, np.nan, np.nan, resamples, resamples)
    return SetMetrics(0, 0, *[nothing] * 5)
  value = ratios(columns.sum(axis=0))
  ends = np.full((2, 5), np.nan)
  if units > 1:
    rows = []
    for start in range(0, resamples, _BLOCK):
      numbers = range(start, min(start + _BLOCK, resamples))
      drawn = [bootstrap.draw(units, seed=seed, number=i) for i in numbers]
      rows.append(ratios(np.stack(drawn).astype(np.float64) @ columns))
    ends = np.quantile(np.concatenate(rows), [0.025, 0.975], axis=0)
  image_coverage, coverage, size, empty, single = (
    bootstrap.Interval(*triple, 0, resamples)
    for triple in zip(value.tolist(), *ends.tolist(), strict=True)
  )
  return SetMetrics(
    images=len(codes),
    units=units,
    coverage=coverage,
    image_coverage=image_coverage,
    size=size,
    empty=empty,
    single=single,
  )
