"""Metrics of predictions for new images, and of choices made on validation.

What `evaluation.evaluation` puts together.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.errors import InputError
from mn_jax.evaluation import members as members_lib
from mn_jax.evaluation.members import Member
from mn_jax.evaluation.overlap import Overlap
from mn_jax.metrics import (
  bootstrap,
  calibration,
  classification,
  conformal,
  thresholds,
)
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.run.split_data import SplitData

Intervals = Mapping[str, bootstrap.Interval]


@dataclasses.dataclass(frozen=True)
class PredictionSets:
  """Sets of classes that hold the label of most images.

  Attributes:
    thresholds: from validation.
    metrics: coverage and size for all new images.
    per_class: the same for the images of each class.
  """

  thresholds: conformal.Thresholds
  metrics: conformal.SetMetrics
  per_class: tuple[conformal.SetMetrics, ...]


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How intervals are resampled.

  Attributes:
    positive: index of the positive class, or None.
    seed: of the resamples.
    resamples: their number.
  """

  positive: int | None
  seed: int
  resamples: int

  @property
  def size(self) -> dict[str, int]:
    """Returns the arguments of functions that resample."""
    return {"seed": self.seed, "resamples": self.resamples}

  def intervals(
    self, images: NamedPredictions, predicted: np.ndarray | None = None
  ) -> Intervals:
    """Returns metrics of images with 95 % intervals, resampled by group."""
    return bootstrap.intervals(
      images.predictions,
      positive=self.positive,
      groups=images.groups,
      predicted=predicted,
      **self.size,
    )


def at_threshold(
  images: NamedPredictions, val: NamedPredictions | None, sampling: Sampling
) -> dict[str, Any]:
  """Returns the thresholds that validation chooses, and metrics at them.

  Of several labels each has its own; one that is undefined is 0.5.
  """
  outputs, none = images.predictions, {"thresholds": (), "at_threshold": {}}
  if val is None:
    return none
  if outputs.multi_label:
    found = thresholds.of_labels(val.predictions)
    predicted = thresholds.decide_labels(outputs, found)
  elif sampling.positive is not None:
    found = np.array(
      [
        thresholds.best_balanced_accuracy(
          val.predictions, positive=sampling.positive
        )
      ]
    )
    if np.isnan(found).any():
      return none
    predicted = thresholds.decide(outputs, found[0], positive=sampling.positive)
  else:
    return none
  return {
    "thresholds": tuple(found.tolist()),
    "at_threshold": sampling.intervals(images, predicted),
  }


def at_temperature(
  members: Sequence[Member],
  outputs: Predictions,
  val: NamedPredictions | None,
  positive: int | None,
) -> dict[str, Any]:
  """Returns the runs' temperatures, metrics with them, and the diagrams."""
  diagrams = (calibration.reliability(outputs),)
  if val is None:
    none = {"temperatures": (), "at_temperature": {}}
    return none | {"reliability": diagrams}
  count = len(members[0].new)
  scaled = members_lib.new_images(members, views=count, calibrated=True)
  return {
    "temperatures": tuple(x.temperature(count) for x in members),
    "at_temperature": classification.summarize(scaled, positive=positive),
    "reliability": (*diagrams, calibration.reliability(scaled)),
  }


def prediction_sets(
  images: NamedPredictions,
  val: NamedPredictions | None,
  *,
  alpha: float,
  marginal: bool,
  sampling: Sampling,
) -> PredictionSets:
  """Returns conformal prediction sets with the coverage found.

  Args:
    images: predictions for the new images.
    val: those for validation; None if they are gone.
    alpha: share of sets that may miss the label.
    marginal: whether that is meant of all classes together.
    sampling: of the intervals.

  Raises:
    InputError: without validation, or with too few groups of a class in it.
  """
  if val is None:
    raise InputError(
      f"conformal: got {alpha:g} for a run whose validation part is gone; "
      "valid: its images (data.path) or its predictions/val.npz"
    )
  found = conformal.calibrate(val, alpha=alpha, class_conditional=not marginal)
  outputs = images.predictions
  measured = conformal.measure(
    found.sets(outputs.probabilities()),
    outputs,
    groups=images.groups,
    **sampling.size,
  )
  return PredictionSets(found, *measured)


def worst_groups(images: NamedPredictions) -> list[tuple[str, int, float]]:
  """Returns (name, images, accuracy) of groups of ten images or more."""
  if images.groups is None:
    return []
  groups = classification.accuracy_by_group(images.predictions, images.groups)
  return [x for x in groups if x[1] >= classification.LEAST_IMAGES]


def alone(
  members: Sequence[Member], positive: int | None, how: Mapping[str, Any]
) -> list[dict[str, float]]:
  """Returns the metrics of each member of an ensemble, by itself."""
  if len(members) == 1:
    return []
  return [
    classification.summarize(x.predict(**how), positive=positive)
    for x in members
  ]


def notes(
  members: Sequence[Member],
  data: SplitData,
  overlaps: Sequence[Overlap],
  val: NamedPredictions | None,
) -> tuple[str, ...]:
  """Returns what a reader should know of the images and the choices."""
  texts = data.notes()
  counts = data.counts()["new"]
  missing = [x for x, n in zip(data.classes, counts, strict=True) if not n]
  if missing:
    texts.append(f"no image of {', '.join(missing)}")
  if not any(x.problem or x.known().any() for x in overlaps):
    groups = all(x.groups_known for x in overlaps)
    texts.append(
      "no image of training or validation is among them, by pixels"
      f"{' and groups' if groups else ''}"
    )
  if data.spec.group is None:
    texts.append(
      "nothing is known of which images belong together (data.group, "
      "data.group_pattern): intervals treat each image as independent"
    )
  if val is None:
    texts.append(
      "the validation part is gone: no threshold, no temperature, and no "
      "judgement of test-time augmentation"
    )
  elif not members_lib.share_split(members):
    texts.append(
      "the runs have different splits: threshold and gains are chosen on what "
      "each run alone predicts of its own validation part"
    )
  for why in dict.fromkeys(x.strangeness.problem for x in members):
    if why:
      texts.append(f"not known how unlike training the images are ({why})")
  return tuple(texts)
