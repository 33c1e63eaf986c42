"""The figure of ROC and precision-recall curves in a report."""

import dataclasses

import numpy as np

from mn_jax.metrics import curves as curves_lib
from mn_jax.metrics import operating_point
from mn_jax.metrics.calibration import Reliability
from mn_jax.metrics.operating_point import OperatingPoint, Target
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import decision_figures
from mn_jax.report import decisions as decisions_lib
from mn_jax.report.decisions import Decisions
from mn_jax.report.document import Figure

# As many as the legend has room for; of more those of the lowest AUROC.
_MOST_CURVES = 12


def figure(
  name: str,
  title: str,
  test: NamedPredictions,
  found: Decisions,
  reliability: Reliability | None,
  *,
  best: tuple[float, float, float] | None = None,
) -> Figure:
  """Returns the figure of ROC, precision-recall and reliability curves.

  Args:
    name: of the figure's file.
    title: above it.
    test: the predictions.
    found: decisions of them.
    reliability: of them, or None.
    best: threshold with the best balanced accuracy on validation, and its
      sensitivity and specificity on the test; None for none.
  """
  outputs = test.predictions
  probabilities = outputs.probabilities()
  shown, caption = test.shown_classes, "of the test"
  if len(shown) > _MOST_CURVES:
    areas = {k: _auroc(test, probabilities, k) for k in shown}
    shown = sorted(shown, key=areas.__getitem__)[:_MOST_CURVES]
    caption += f", of the {_MOST_CURVES} classes with the lowest AUROC"
  curves = [
    decision_figures.Curve(
      test.classes[k],
      outputs.is_of(k),
      probabilities[:, k],
      found.bands.get(k),
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
    for point in found.points.get(test.positive, ()):
      shape = shapes.setdefault(point.target, len(shapes) + 1)
      if not point.note:
        marks.append(_point_mark(point, shape, share))
  else:
    caption += ", each class against the rest"
  text = f"ROC and precision-recall curves {caption}"
  text += "." if reliability is None else ", and its reliability diagram."
  if found.bands:
    unit = "images" if test.groups is None else "groups"
    text += (
      f" Shaded: 95 % of what is read off at each rate, resampling {unit}."
    )
  picture = decision_figures.decisions(curves, marks, reliability, title)
  return Figure(name, picture, text)


def _auroc(test: NamedPredictions, probabilities: np.ndarray, k: int) -> float:
  hits = test.predictions.is_of(k)
  ranking = curves_lib.Ranking(hits, probabilities[:, k])
  area = curves_lib.auroc(*ranking.curve())
  return np.inf if np.isnan(area) else area


def _point_mark(
  point: OperatingPoint, shape: int, share: float
) -> decision_figures.Mark:
  mark = _mark(
    f"{point.target.title()}, {decisions_lib.SOURCES[point.source]}",
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
