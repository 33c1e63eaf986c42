"""Cross-validation: a study of folds, and the folds' predictions together.

Every image, and every group, is in the test of exactly one fold. So the
predictions of all folds for their tests are a test of the whole data set, whose
groups can be resampled: that is where intervals come from. The networks differ
between folds, and their scores are not on one scale. Each fold's logits are
divided by the temperature that its own validation part chooses, which helps but
does not put them on one; thresholds are chosen and applied fold by fold.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import (
  bootstrap,
  by_attribute,
  calibration,
  classification,
  estimates,
  folds,
  operating_point,
)
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.by_attribute import AttributeMetrics
from mn_jax.metrics.folds import FoldMean
from mn_jax.metrics.operating_point import OperatingPoint, Target
from mn_jax.metrics.predictions import (
  NamedPredictions,
  Predictions,
  group_codes,
)
from mn_jax.run import records
from mn_jax.studies.study import Member, Study, StudyRun

# Metrics of a data set with a positive class, of one without, and of one whose
# images have several labels.
_WITH_POSITIVE = ("balanced_accuracy", "sensitivity", "specificity", "auroc")
_WITHOUT = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")
_LABELS = ("macro_auroc", "macro_average_precision", "macro_f1", "exact_match")
_RESAMPLES = 2000  # of the bootstrap


@dataclasses.dataclass(frozen=True)
class Fold:
  """The run of one fold.

  Attributes:
    name: as 'fold0'.
    summaries: content of `summary.json` by seed.
    split: content of `split.json`.
    config: content of `config.json`.
    temperature: that its validation part chose; 1 where none fits.
    val, test: predictions of the first seed for these parts, logits divided by
      the temperature.
  """

  name: str
  summaries: Mapping[int, Mapping[str, Any]]
  split: Mapping[str, Any]
  config: Mapping[str, Any]
  temperature: float
  val: NamedPredictions
  test: NamedPredictions

  @property
  def summary(self) -> Mapping[str, Any]:
    """The summary of the first seed."""
    return next(iter(self.summaries.values()))

  def metric(self, name: str) -> float:
    """Returns a test metric, mean over seeds; NaN if it is undefined in one."""
    values = [s.get(f"test/{name}") for s in self.summaries.values()]
    return math.nan if None in values else float(np.mean(values))


@dataclasses.dataclass(frozen=True)
class CrossValidation:
  """All folds of a cross-validation, each of them complete.

  Attributes:
    title: one line.
    folds: in order.
    test: predictions of all folds for their tests, each image once, its logits
      divided by its fold's temperature.
    intervals: metric -> value and interval of these, resampled by group.
    over_folds: metric -> mean over folds, of the folds' own metrics.
    points: index of a class -> operating points of these predictions; each fold
      applies the threshold that its own validation part chose.
    thresholds: index of a class -> those thresholds, by target and fold.
    attributes: metrics by attribute.
    groups: (name, images, accuracy) of groups of ten images or more, the worst
      first; None if no groups are known.
  """

  title: str
  folds: tuple[Fold, ...]
  test: NamedPredictions
  intervals: Mapping[str, Interval]
  over_folds: Mapping[str, FoldMean]
  points: Mapping[int, Sequence[OperatingPoint]]
  thresholds: Mapping[int, Mapping[Target, Sequence[float]]]
  attributes: Sequence[AttributeMetrics]
  groups: Sequence[tuple[str, int, float]] | None

  @property
  def unit(self) -> str:
    """What intervals resample: 'group', or 'image' where none are known."""
    return "image" if self.test.groups is None else "group"

  @property
  def resamples(self) -> int:
    """Number of resamples of the intervals."""
    return next(iter(self.intervals.values())).resamples


def plan(
  config: str,
  experiment: str,
  fields: Mapping[str, Any],
  *,
  folds: int,
  count: int,
  positive: bool,
  multi_label: bool = False,
) -> Study:
  """Returns the study whose members are folds.

  Args:
    config: of all folds, NAME[:ARG] or FILE.py[:ARG].
    experiment: its name.
    fields: 'section.field' -> value, over the config.
    folds: as `data.folds`; 0: one per group.
    count: number of folds.
    positive: whether the data set has a positive class.
    multi_label: whether its images have several labels.
  """
  metrics = _WITH_POSITIVE if positive else _WITHOUT
  return Study(
    title=f"Cross-validation of {experiment}, {count} folds",
    source=config,
    members=tuple(
      Member(
        f"fold{fold}",
        config,
        {
          **fields,
          "data.split": "kfold",
          "data.folds": folds,
          "data.fold": fold,
        },
      )
      for fold in range(count)
    ),
    sample={},
    metrics=_LABELS if multi_label else metrics,
  )


def read(runs: Sequence[StudyRun]) -> tuple[Fold, ...]:
  """Reads the runs of all folds, and checks that they are one.

  Args:
    runs: all of a study from `plan`, complete.

  Raises:
    InputError: if a file of a run is damaged, a run was selected on its test,
      or the folds are not of one cross-validation: other images, an image that
      two folds test, or a group on both sides.
  """
  by_fold: dict[str, list[StudyRun]] = {}
  for run in runs:
    by_fold.setdefault(run.member.name, []).append(run)
  found = tuple(_read_fold(*of_fold) for of_fold in by_fold.values())
  _check(found)
  return found


def measure(
  title: str,
  found: Sequence[Fold],
  targets: Sequence[Target],
  *,
  resamples: int = _RESAMPLES,
  seed: int = 0,
) -> CrossValidation:
  """Computes the metrics of a cross-validation.

  Args:
    title: one line.
    found: all folds, from `read`.
    targets: of the operating points.
    resamples: of every interval; fewer for very many logits.
    seed: of the resamples.
  """
  test = pool([fold.test for fold in found])
  outputs, positive = test.predictions, test.positive
  sizes = {"resamples": bootstrap.affordable(outputs, resamples), "seed": seed}
  intervals = bootstrap.intervals(
    outputs, positive=positive, groups=test.groups, **sizes
  )
  images = [fold.split["images"] for fold in found]
  points: dict[int, list[OperatingPoint]] = {}
  thresholds: dict[int, dict[Target, list[float]]] = {}
  for k in test.shown_classes if targets else ():
    points[k], thresholds[k] = [], {}
    for target in targets:
      applied, chosen = _apply_thresholds(found, test, target, k, sizes)
      thresholds[k][target] = chosen
      own = operating_point.from_own_roc(
        outputs, target, positive=k, groups=test.groups, **sizes
      )
      points[k] += [applied, own]
  groups = None
  if test.groups is not None:
    groups = [
      x
      for x in classification.accuracy_by_group(outputs, test.groups)
      if x[1] >= classification.LEAST_IMAGES
    ]
  return CrossValidation(
    title=title,
    folds=tuple(found),
    test=test,
    intervals=intervals,
    over_folds={
      name: folds.mean_over_folds(
        [fold.metric(name) for fold in found],
        [x["test"] for x in images],
        [x["train"] for x in images],
        bounds=estimates.bounds_of(name),
      )
      for name in intervals
    },
    points=points,
    thresholds=thresholds,
    attributes=[
      by_attribute.measure(test, name, **sizes) for name in test.attributes
    ],
    groups=groups,
  )


def _read_fold(first: StudyRun, *others: StudyRun) -> Fold:
  summaries = {
    run.seed: records.read_summary(run.folder) for run in (first, *others)
  }
  if any(s["chosen_on"] == "test" for s in summaries.values()):
    raise InputError(
      f"{first.title()}: its checkpoint was selected on the test, which leaves "
      "no test; valid: eval.part=val"
    )
  val, test = (
    predictions_lib.read(first.folder / "predictions" / f"{part}.npz")
    for part in ("val", "test")
  )
  temperature = calibration.fit_temperature(val.predictions)
  if not calibration.is_inside(temperature):
    temperature = 1.0
  val, test = (
    dataclasses.replace(
      x, predictions=calibration.scale(x.predictions, temperature)
    )
    for x in (val, test)
  )
  return Fold(
    first.member.name,
    summaries,
    records.read_object(first.folder / "split.json", records.SPLIT),
    records.read_object(first.folder / "config.json", records.CONFIG),
    temperature,
    val,
    test,
  )


def _check(found: Sequence[Fold]) -> None:
  """Refuses folds that are not of one cross-validation."""
  first = found[0]
  tested: dict[str, str] = {}
  for fold in found:
    same = (
      fold.split["images_sha256"] == first.split["images_sha256"]
      and fold.test.classes == first.test.classes
      and fold.test.positive == first.test.positive
      and (fold.test.groups is None) == (first.test.groups is None)
    )
    if not same:
      raise InputError(
        f"{fold.name}: its images, classes or groups are not those of "
        f"{first.name}; valid: folds of one data set"
      )
    units = fold.test.names if fold.test.groups is None else fold.test.groups
    for name in np.unique(units).tolist():
      other = tested.setdefault(name, fold.name)
      if other != fold.name:
        raise InputError(
          f"{fold.name}: tests {name!r}, and so does {other}; valid: folds of "
          "one cross-validation, each with other groups"
        )
    if fold.test.groups is not None:
      groups = fold.split["groups"]
      both = set(groups["test"]) & {*groups["train"], *groups["val"]}
      if both:
        raise InputError(
          f"{fold.name}: {len(both)} groups are in its test and in training, "
          f"such as {min(both)!r}; valid: each on one side"
        )


def pool(tests: Sequence[NamedPredictions]) -> NamedPredictions:
  """Puts the predictions of folds together, in the order of the images.

  Args:
    tests: of each fold, for images of its own.
  """
  fields = [field.name for field in dataclasses.fields(Predictions)]
  ids = np.concatenate([x.predictions.ids for x in tests])
  order = np.argsort(ids, kind="stable")

  def join(columns: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(columns)[order]

  first = tests[0]
  return NamedPredictions(
    predictions=Predictions(
      **{
        name: join([getattr(x.predictions, name) for x in tests])
        for name in fields
      }
    ),
    names=join([x.names for x in tests]),
    groups=None if first.groups is None else join([x.groups for x in tests]),
    classes=first.classes,
    positive=first.positive,
    attributes={
      name: join([x.attributes[name] for x in tests])
      for name in first.attributes
    },
  )


def _apply_thresholds(
  found: Sequence[Fold],
  test: NamedPredictions,
  target: Target,
  k: int,
  sizes: Mapping[str, int],
) -> tuple[OperatingPoint, list[float]]:
  """Applies each fold's threshold to its own test; returns them by fold too."""
  point = OperatingPoint(target, operating_point.VALIDATION, math.nan)
  chosen, margins, notes = [], {}, []
  for fold in found:
    outputs = fold.val.predictions
    chosen.append(operating_point.choose_threshold(outputs, target, positive=k))
    if why := operating_point.problem(
      outputs, target, positive=k, part="validation"
    ):
      notes.append(f"{fold.name}: {why}")
    of_test = fold.test.predictions
    margin = of_test.probabilities()[:, k] - chosen[-1]
    margins |= dict(zip(of_test.ids.tolist(), margin.tolist(), strict=True))
  if notes:
    return dataclasses.replace(point, note="; ".join(notes)), chosen
  outputs = test.predictions
  measured = operating_point.at_threshold(
    dataclasses.replace(point, threshold=0.0),
    outputs.is_of(k),
    np.array([margins[i] for i in outputs.ids.tolist()]),
    group_codes(outputs, test.groups),
    **sizes,
  )
  return dataclasses.replace(measured, threshold=math.nan), chosen
