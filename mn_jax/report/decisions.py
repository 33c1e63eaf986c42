"""Decisions of a network in a report: operating points, subsets.

The parts of a page that a run, an evaluation and a cross-validation share.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import bands as bands_lib
from mn_jax.metrics import by_attribute, operating_point
from mn_jax.metrics.bands import Bands
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.by_attribute import AttributeMetrics
from mn_jax.metrics.operating_point import OperatingPoint, Target
from mn_jax.metrics.predictions import NamedPredictions, group_codes
from mn_jax.observe.formatting import interval, metric_name, number
from mn_jax.report.tables import Table

# What a report shows of a data set with a positive class.
TARGETS = (
  Target(operating_point.SPECIFICITY, 0.9),
  Target(operating_point.SPECIFICITY, 0.95),
  Target(operating_point.SENSITIVITY, 0.95),
)
# Of every class against the rest; with more classes neither points nor bands.
_TARGETS_OF_CLASSES = TARGETS[:1]
_MOST_CLASSES, _MOST_BANDS = 20, 3
POINTS = "Operating points"
# What a page calls them.
SOURCES = {
  operating_point.VALIDATION: "threshold of validation",
  operating_point.OWN_ROC: "read off this ROC",
}


@dataclasses.dataclass(frozen=True)
class Decisions:
  """What thresholds on the probabilities of a test lead to.

  Attributes:
    points: index of a class -> its operating points; of the positive class
      alone, or of every class or label against the rest.
    bands: index of a class -> bands of its curves.
    attributes: metrics by attribute, for each that is known of the images.
  """

  points: Mapping[int, Sequence[OperatingPoint]] = dataclasses.field(
    default_factory=dict
  )
  bands: Mapping[int, Bands] = dataclasses.field(default_factory=dict)
  attributes: Sequence[AttributeMetrics] = ()

  def numbers(self, classes: Sequence[str]) -> dict[str, Any]:
    """Returns points and subsets as values; NaN where undefined.

    Args:
      classes: names of the classes.
    """
    return {
      "operating_points": {
        classes[k]: [point_numbers(point) for point in points]
        for k, points in self.points.items()
      },
      "by_attribute": {x.name: attribute_numbers(x) for x in self.attributes},
    }


def measure(
  val: NamedPredictions | None,
  test: NamedPredictions,
  *,
  resamples: int,
  targets: Sequence[Target] | None = None,
  attributes: Sequence[str] | None = None,
  predicted: np.ndarray | None = None,
  seed: int = 0,
) -> Decisions:
  """Measures operating points, bands and subsets of a test.

  Args:
    val: predictions for the validation part, which chooses thresholds; None
      without one: then points are read off the test's own ROC alone.
    test: predictions for the test, at least one image.
    resamples: of every interval.
    targets: of the operating points; None for those of a report.
    attributes: whose values are subsets; None for all that are known.
    predicted: what is predicted, for the subsets; None: the likeliest.
    seed: of the resamples.

  Raises:
    InputError: for an attribute that the images do not have.
  """
  if attributes is None:
    attributes = list(test.attributes)
  if targets is None:
    targets = targets_of(test)
  sizes = {"resamples": resamples, "seed": seed}
  points = {}
  for k in test.shown_classes if targets else ():
    points[k] = measure_points(val, test, targets, positive=k, **sizes)
  return Decisions(
    points,
    measure_bands(test, **sizes),
    [
      by_attribute.measure(test, name, predicted=predicted, **sizes)
      for name in attributes
    ],
  )


def targets_of(test: NamedPredictions) -> tuple[Target, ...]:
  """Returns the targets of the operating points of a report."""
  if test.positive is not None:
    return TARGETS
  return _TARGETS_OF_CLASSES if len(test.classes) <= _MOST_CLASSES else ()


def measure_points(
  val: NamedPredictions | None,
  test: NamedPredictions,
  targets: Sequence[Target],
  *,
  positive: int,
  resamples: int,
  seed: int = 0,
) -> list[OperatingPoint]:
  """Returns the operating points of a class, of each target both kinds.

  Args:
    val: predictions for the validation part; None for points of the test's own
      ROC alone.
    test: predictions for the test.
    targets: what is fixed.
    positive: index of the class.
    resamples: of every interval.
    seed: of the resamples.
  """
  how = {
    "positive": positive,
    "groups": test.groups,
    "resamples": resamples,
    "seed": seed,
  }
  points = []
  for target in targets:
    if val is not None:
      points.append(
        operating_point.from_validation(
          val.predictions, test.predictions, target, **how
        )
      )
    points.append(operating_point.from_own_roc(test.predictions, target, **how))
  return points


def measure_bands(
  test: NamedPredictions, *, resamples: int, seed: int = 0
) -> dict[int, Bands]:
  """Returns the bands of the curves that are few enough to have some."""
  shown = test.shown_classes
  if len(shown) > _MOST_BANDS or not np.isfinite(test.predictions.logits).all():
    return {}
  codes = group_codes(test.predictions, test.groups)
  probabilities = test.predictions.probabilities()
  return {
    k: bands_lib.measure(
      test.predictions.is_of(k),
      probabilities[:, k],
      codes,
      resamples=resamples,
      seed=seed,
    )
    for k in shown
  }


def point_numbers(point: OperatingPoint) -> dict[str, Any]:
  """Returns an operating point as values that JSON can hold."""
  return {
    "fixed": point.target.fixed,
    "at_least": point.target.value,
    "threshold_from": point.source,
    "threshold": point.threshold,
    "sensitivity": vars(point.sensitivity),
    "specificity": vars(point.specificity),
    "note": point.note,
  }


def attribute_numbers(found: AttributeMetrics) -> dict[str, Any]:
  """Returns the metrics by an attribute as values that JSON can hold."""
  return {
    "subsets": [
      {
        "value": x.value,
        "images": x.images,
        "groups": x.groups,
        "metrics": {name: vars(ends) for name, ends in x.metrics.items()},
        "flags": list(x.flags),
      }
      for x in found.subsets
    ],
    "note": found.note,
    "shared_groups": found.shared_groups,
  }


def tables(
  decisions: Decisions, test: NamedPredictions, unit: str
) -> dict[str, Table]:
  """Returns title -> table of operating points, and of each attribute.

  Args:
    decisions: of the test.
    test: its predictions.
    unit: that was resampled, such as 'group' or 'image'.
  """
  found = {}
  if decisions.points:
    rows = [
      (() if test.positive is not None else (test.classes[k],), point)
      for k, points in decisions.points.items()
      for point in points
    ]
    found[POINTS] = points_table(rows, unit)
  return found | {
    f"by {x.name}": attribute_table(x, unit) for x in decisions.attributes
  }


def points_table(
  rows: Sequence[tuple[tuple[str, ...], OperatingPoint]], unit: str
) -> Table:
  """Returns a table of operating points.

  Args:
    rows: the name of the class if there are several, and the point.
    unit: that was resampled.
  """
  cells, notes = [], []
  for names, point in rows:
    cells.append(
      (
        *names,
        point.target.title(),
        SOURCES[point.source],
        threshold(point),
        with_interval(point.sensitivity),
        with_interval(point.specificity),
      )
    )
    if point.note:
      notes.append(": ".join((*names, point.note)))
  note = (
    f"95 % intervals by bootstrap over {unit}s. A threshold of validation is "
    "what is had on new images: it was fixed before the test was seen, and "
    "does not reach the wanted share exactly. A point read off the test's own "
    "ROC says how well the scores separate; its threshold was chosen on the "
    "test, so it promises more than a fixed threshold keeps."
  )
  if notes:
    note += f" Undefined: {'; '.join(dict.fromkeys(notes))}."
  columns = ("operating point", "how", "threshold", "sensitivity")
  of_class = ("class",) if rows and rows[0][0] else ()
  return Table((*of_class, *columns, "specificity"), cells, note)


def attribute_table(found: AttributeMetrics, unit: str) -> Table:
  """Returns the metrics of every value of an attribute.

  Args:
    found: the metrics.
    unit: that was resampled.
  """
  metrics = found.subsets[0].metrics if found.subsets else {}
  known = any(x.groups is not None for x in found.subsets)
  rows = [
    (
      x.value,
      f"{x.images:,}",
      *((f"{x.groups:,}",) if known else ()),
      ", ".join(x.flags),
      *(with_interval(x.metrics[name]) for name in metrics),
    )
    for x in found.subsets
  ]
  note = f"95 % intervals by bootstrap over the {unit}s of each value."
  if any(x.flags for x in found.subsets):
    note += (
      " Small: fewer than ten groups, or images of a kind; the numbers of such "
      "a value mean little."
    )
  if found.shared_groups:
    note += (
      f" {found.shared_groups:,} groups have images of several values, which "
      "are no independent samples."
    )
  if found.note:
    note += f" {found.note[:1].upper()}{found.note[1:]}."
  columns = (f"by {found.name}", "images", *(("groups",) if known else ()))
  return Table((*columns, "small", *map(metric_name, metrics)), rows, note)


def threshold(point: OperatingPoint) -> str:
  """Formats the threshold of an operating point."""
  return (
    "above all" if np.isposinf(point.threshold) else number(point.threshold)
  )


def with_interval(found: Interval) -> str:
  """Formats '0.812 (0.700 to 0.900)'; the value alone without an interval."""
  text = number(found.value)
  if np.isnan([found.low, found.high]).any():
    return text
  return f"{text} ({interval(found.low, found.high)})"
