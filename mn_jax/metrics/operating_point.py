"""Operating points: sensitivity at a fixed specificity, and the reverse.

There are two such numbers, and they answer different questions.

- `from_validation`: the threshold is chosen on the validation part and applied
  to the test. That is what somebody gets who fixes a threshold and uses it on
  new patients. The specificity of the test is then not the wanted one, and is
  part of the result.
- `from_own_roc`: the threshold is read off the ROC curve of the test itself.
  That describes how well the scores separate the classes. Nobody can choose
  that threshold in advance, so it promises more than a fixed threshold keeps.

Thresholds are scores of images and nothing is interpolated between them. Images
with equal scores pass a threshold together.
"""

import dataclasses
import math

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap, curves, shares
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.predictions import Predictions, group_codes

SPECIFICITY, SENSITIVITY = "specificity", "sensitivity"
# Where a threshold comes from.
VALIDATION, OWN_ROC = "validation", "own ROC"
_UNDEFINED = Interval(math.nan, math.nan, math.nan, 0, 0)


@dataclasses.dataclass(frozen=True)
class Target:
  """What is fixed, and at which value.

  Attributes:
    fixed: `SPECIFICITY` or `SENSITIVITY`.
    value: the least share that is wanted, above 0 and below 1.

  Raises:
    InputError: for another name or value.
  """

  fixed: str
  value: float

  def __post_init__(self):
    if self.fixed not in (SPECIFICITY, SENSITIVITY):
      raise InputError(
        f"operating point: got {self.fixed!r}; valid: {SPECIFICITY} or "
        f"{SENSITIVITY}"
      )
    if not 0 < self.value < 1:
      raise InputError(
        f"{self.fixed}: got {self.value:g}; valid: above 0 and below 1"
      )

  @property
  def read(self) -> str:
    """Name of the metric that is read off."""
    return SENSITIVITY if self.fixed == SPECIFICITY else SPECIFICITY

  def title(self) -> str:
    """Returns 'sensitivity at specificity 0.9'."""
    return f"{self.read} at {self.fixed} {self.value:g}"

  def needed(self) -> int:
    """Returns how many images a threshold of this target is chosen among.

    With fewer, no image could be on the wrong side of the threshold, and every
    target between here and 1 would choose the same one. These are images
    without the positive class for a fixed specificity, and of it for a fixed
    sensitivity.
    """
    return math.ceil(1 / (1 - self.value) - 1e-9)


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
  """Sensitivity and specificity at a threshold.

  Attributes:
    target: what was wanted.
    source: `VALIDATION` or `OWN_ROC`, where the threshold comes from.
    threshold: least score of an image that is predicted positive; infinite if
      no threshold but one above all scores reaches the target; NaN if there are
      too few images to choose one.
    sensitivity, specificity: of the test, with intervals; NaN where undefined.
    note: why they are undefined, or ''.
  """

  target: Target
  source: str
  threshold: float
  sensitivity: Interval = _UNDEFINED
  specificity: Interval = _UNDEFINED
  note: str = ""


def choose_threshold(
  predictions: Predictions, target: Target, *, positive: int
) -> float:
  """Chooses the threshold that reaches a target, and has the most of the other.

  For a fixed specificity that is the lowest threshold whose specificity is at
  least the target; for a fixed sensitivity the highest.

  Args:
    predictions: of the part to choose on.
    target: what is fixed.
    positive: index of the positive class.

  Returns:
    From 0 to 1, or infinity for a specificity that no image's score reaches;
    NaN where `problem` has a reason.
  """
  if problem(predictions, target, positive=positive, part=""):
    return math.nan
  ranking = _rank(predictions, positive)
  place = _place(*ranking.curve(), target)
  return float(ranking.thresholds()[place]) if place >= 0 else math.inf


def problem(
  predictions: Predictions, target: Target, *, positive: int, part: str
) -> str:
  """Returns why no threshold can be chosen on a part, or ''.

  Args:
    predictions: of the part.
    target: what is fixed.
    positive: index of the positive class.
    part: what to call the part, as 'validation'.
  """
  hits = predictions.is_of(positive)
  if not np.isfinite(predictions.logits).all():
    return f"{part} has logits that are not finite"
  counts = {True: int(hits.sum()), False: int((~hits).sum())}
  names = {True: "of the positive class", False: "without the positive class"}
  fixed = target.fixed == SENSITIVITY
  if not counts[not fixed]:
    return f"{part} has no image {names[not fixed]}"
  if counts[fixed] < target.needed():
    return (
      f"{part} has {counts[fixed]} images {names[fixed]}: a {target.fixed} of "
      f"{target.value:g} takes at least {target.needed()}"
    )
  return ""


def from_validation(
  val: Predictions,
  test: Predictions,
  target: Target,
  *,
  positive: int,
  groups: np.ndarray | None = None,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
) -> OperatingPoint:
  """Applies the threshold that validation chooses to the test.

  The interval is that of the test, for this threshold: groups of the test are
  resampled, those of validation are not.

  Args:
    val: predictions for the validation part.
    test: predictions for n images of the test.
    target: what is fixed on validation.
    positive: index of the positive class.
    groups: [n] groups of the test's images; None: each image is one.
    seed: of the resamples, at least 0.
    resamples: number of resamples.
    level: confidence, between 0 and 1.
  """
  threshold = choose_threshold(val, target, positive=positive)
  point = OperatingPoint(target, VALIDATION, threshold)
  why = problem(val, target, positive=positive, part="validation")
  if not why and not np.isfinite(test.logits).all():
    why = "the test has logits that are not finite"
  if why:
    return dataclasses.replace(point, note=why)
  return at_threshold(
    point,
    test.is_of(positive),
    test.probabilities()[:, positive],
    group_codes(test, groups),
    seed=seed,
    resamples=resamples,
    level=level,
  )


def at_threshold(
  point: OperatingPoint,
  hits: np.ndarray,
  scores: np.ndarray,
  codes: np.ndarray,
  *,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
) -> OperatingPoint:
  """Measures a threshold that was chosen elsewhere.

  Args:
    point: with its threshold, one for all images.
    hits: bool[n], whether images are of the positive class.
    scores: f64[n], its probabilities; or their differences from the threshold
      of each image's own network, for a threshold of 0.
    codes: i64[n], index of each image's group.
    seed, resamples, level: as in `from_validation`.
  """
  above = scores >= point.threshold
  sizes = {"seed": seed, "resamples": resamples, "level": level}
  note = ""
  if hits.all() or not hits.any():
    kind = "without" if hits.all() else "of"
    note = f"the test has no image {kind} the positive class"
  return dataclasses.replace(
    point,
    sensitivity=shares.interval(above, hits, codes, **sizes),
    specificity=shares.interval(~above, ~hits, codes, **sizes),
    note=note,
  )


def from_own_roc(
  test: Predictions,
  target: Target,
  *,
  positive: int,
  groups: np.ndarray | None = None,
  seed: int = 0,
  resamples: int = 2000,
  level: float = 0.95,
) -> OperatingPoint:
  """Reads a point off the test's own ROC curve.

  Every resample has a curve of its own, off which the point is read again.

  Args:
    test: predictions for n images.
    target: what is fixed.
    positive: index of the positive class.
    groups: [n] groups of the images; None: each image is one.
    seed: of the resamples, at least 0.
    resamples: number of resamples.
    level: confidence, between 0 and 1.
  """
  threshold = choose_threshold(test, target, positive=positive)
  point = OperatingPoint(target, OWN_ROC, threshold)
  why = problem(test, target, positive=positive, part="the test")
  if why:
    return dataclasses.replace(point, note=why)
  ranking, codes = _rank(test, positive), group_codes(test, groups)

  def read(weights: np.ndarray) -> dict[str, float]:
    tps, fps = ranking.curve(weights)
    if not (tps[-1] and fps[-1]):
      return {SENSITIVITY: np.nan, SPECIFICITY: np.nan}
    place = _place(tps, fps, target)
    found = (tps[place], fps[place]) if place >= 0 else (0, 0)
    return {
      SENSITIVITY: float(found[0] / tps[-1]),
      SPECIFICITY: float((fps[-1] - found[1]) / fps[-1]),
    }

  values = read(np.ones(len(codes), np.int64))
  samples = bootstrap.resample(read, codes, resamples=resamples, seed=seed)
  hits = test.is_of(positive)
  found = {}
  for name, of in ((SENSITIVITY, hits), (SPECIFICITY, ~hits)):
    size = {"groups": len(np.unique(codes[of])), "level": level}
    ends = bootstrap.interval(values[name], samples[name], **size)
    found[name] = bootstrap.widen(ends, **size)
  return dataclasses.replace(point, **found)


def _rank(predictions: Predictions, positive: int) -> curves.Ranking:
  return curves.Ranking(
    predictions.is_of(positive),
    predictions.probabilities()[:, positive],
  )


def _place(tps: np.ndarray, fps: np.ndarray, target: Target) -> int:
  """Returns the index of the threshold of a target; -1 for one above all."""
  if target.fixed == SPECIFICITY:
    # Divided as the target's decimals round, so that 0.95 of 20 is 19.
    reached = (fps[-1] - fps) / fps[-1] >= target.value
    return int(np.count_nonzero(reached)) - 1
  return int(np.argmax(tps / tps[-1] >= target.value))
