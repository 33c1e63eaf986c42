"""Decisions of a network in a report: operating points, curves, subsets.

The parts of a page that a run, an evaluation and a cross-validation share.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import bands as bands_lib
from mn_jax.metrics import by_attribute, operating_point
from mn_jax.metrics import curves as curves_lib
from mn_jax.metrics.bands import Bands
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.by_attribute import AttributeMetrics
from mn_jax.metrics.calibration import Reliability
from mn_jax.metrics.operating_point import OperatingPoint, Target
from mn_jax.metrics.predictions import NamedPredictions, group_codes
from mn_jax.observe import decision_figures
from mn_jax.observe.formatting import interval, metric_name, number
from mn_jax.report.document import Figure
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
# As many as the legend has room for; of more those of the lowest AUROC.
_MOST_CURVES = 12
_SOURCES = {
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
  val: NamedPredictions, test: NamedPredictions, *, resamples: int
) -> Decisions:
  """Measures operating points, bands and subsets of a test.

  Args:
    val: predictions for the validation part, which chooses thresholds.
    test: predictions for the test, at least one image.
    resamples: of every interval.
  """
  attributes = [
    by_attribute.measure(test, name, resamples=resamples)
    for name in test.attributes
  ]
  shown, targets = _shown(test), TARGETS
  if test.positive is None:
    targets = _TARGETS_OF_CLASSES
    if len(test.classes) > _MOST_CLASSES:
      return Decisions(attributes=attributes)
  points = {}
  for k in shown:
    of_test = {
      "positive": k,
      "groups": test.groups,
      "resamples": resamples,
    }
    points[k] = [
      point
      for target in targets
      for point in (
        operating_point.from_validation(
          val.predictions, test.predictions, target, **of_test
        ),
        operating_point.from_own_roc(test.predictions, target, **of_test),
      )
    ]
  return Decisions(points, measure_bands(test, resamples), attributes)


def measure_bands(test: NamedPredictions, resamples: int) -> dict[int, Bands]:
  """Returns the bands of the curves that are few enough to have some."""
  shown = _shown(test)
  if len(shown) > _MOST_BANDS or not np.isfinite(test.predictions.logits).all():
    return {}
  codes = group_codes(test.predictions, test.groups)
  probabilities = test.predictions.probabilities()
  return {
    k: bands_lib.measure(
      operating_point.is_positive(test.predictions, k),
      probabilities[:, k],
      codes,
      resamples=resamples,
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
) -> list[Table]:
  """Returns the tables of operating points and of subsets.

  Args:
    decisions: of the test.
    test: its predictions.
    unit: that was resampled, such as 'group' or 'image'.
  """
  found = []
  if decisions.points:
    rows = [
      (() if test.positive is not None else (test.classes[k],), point)
      for k, points in decisions.points.items()
      for point in points
    ]
    found.append(points_table(rows, unit))
  return found + [attribute_table(x, unit) for x in decisions.attributes]


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
    threshold = number(point.threshold)
    if np.isposinf(point.threshold):
      threshold = "above all"
    cells.append(
      (
        *names,
        point.target.title(),
        _SOURCES[point.source],
        threshold,
        _with_interval(point.sensitivity),
        _with_interval(point.specificity),
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
      *(_with_interval(x.metrics[name]) for name in metrics),
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


def figure(
  name: str,
  title: str,
  test: NamedPredictions,
  decisions: Decisions,
  reliability: Reliability | None,
  *,
  best: tuple[float, float, float] | None = None,
) -> Figure:
  """Returns the figure of ROC, precision-recall and reliability curves.

  Args:
    name: of the figure's file.
    title: above it.
    test: the predictions.
    decisions: of them.
    reliability: of them, or None.
    best: threshold with the best balanced accuracy on validation, and its
      sensitivity and specificity on the test; None for none.
  """
  outputs = test.predictions
  probabilities = outputs.probabilities()
  shown, caption = _shown(test), "of the test"
  if len(shown) > _MOST_CURVES:
    areas = {k: _auroc(test, probabilities, k) for k in shown}
    shown = sorted(shown, key=areas.__getitem__)[:_MOST_CURVES]
    caption += f", of the {_MOST_CURVES} classes with the lowest AUROC"
  curves = [
    decision_figures.Curve(
      test.classes[k],
      operating_point.is_positive(outputs, k),
      probabilities[:, k],
      decisions.bands.get(k),
    )
    for k in shown
  ]
  marks = []
  if test.positive is not None:
    share = float(curves[0].positive.mean())
    if best is not None:
      label = f"{best[0]:.2f}, best balanced accuracy on validation"
      marks.append(_mark(label, *best[1:], share))
    shapes: dict[Target, int] = {}
    for point in decisions.points.get(test.positive, ()):
      shape = shapes.setdefault(point.target, len(shapes) + 1)
      if not point.note:
        marks.append(_point_mark(point, shape, share))
  else:
    caption += ", each class against the rest"
  text = f"ROC and precision-recall curves {caption}"
  text += "." if reliability is None else ", and its reliability diagram."
  if decisions.bands:
    unit = "images" if test.groups is None else "groups"
    text += (
      f" Shaded: 95 % of what is read off at each rate, resampling {unit}."
    )
  picture = decision_figures.decisions(curves, marks, reliability, title)
  return Figure(name, picture, text)


def _shown(test: NamedPredictions) -> list[int]:
  """Returns the classes whose decisions are shown."""
  if test.positive is not None:
    return [test.positive]
  return list(range(len(test.classes)))


def _auroc(test: NamedPredictions, probabilities: np.ndarray, k: int) -> float:
  hits = operating_point.is_positive(test.predictions, k)
  ranking = curves_lib.Ranking(hits, probabilities[:, k])
  area = curves_lib.auroc(*ranking.curve())
  return np.inf if np.isnan(area) else area


def _point_mark(
  point: OperatingPoint, shape: int, share: float
) -> decision_figures.Mark:
  mark = _mark(
    f"{point.target.title()}, {_SOURCES[point.source]}",
    point.sensitivity.value,
    point.specificity.value,
    share,
  )
  hollow = point.source == operating_point.OWN_ROC
  return dataclasses.replace(mark, hollow=hollow, shape=shape)


def _mark(
  label: str, sensitivity: float, specificity: float, share: float
) -> decision_figures.Mark:
  """A mark whose precision follows from the share of positive images."""
  hits, alarms = share * sensitivity, (1 - share) * (1 - specificity)
  precision = hits / (hits + alarms) if hits + alarms else np.nan
  return decision_figures.Mark(label, sensitivity, specificity, precision)


def _with_interval(found: Interval) -> str:
  text = number(found.value)
  if np.isnan([found.low, found.high]).any():
    return text
  return f"{text} ({interval(found.low, found.high)})"
