"""Figures of decisions: ROC, precision-recall and reliability, 150 mm wide.

What a colour says is also said by a shape, a dash or a word.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import axes as axes_lib
from matplotlib import lines as lines_lib

from mn_jax.metrics import curves as curves_lib
from mn_jax.metrics.bands import Bands
from mn_jax.metrics.calibration import Reliability
from mn_jax.observe import canvas

_DPI = 200
_TEXT, _SMALL, _LEGEND = 8.0, 7.0, 5.5  # points
_SHAPES = ("D", "^", "v", "s", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_ROW = 0.13  # inches of a row of the legend
_NAME = 30  # letters


@dataclasses.dataclass(frozen=True)
class Curve:
  """A class, or a label, against the rest.

  Attributes:
    name: of the class.
    positive: bool[n], whether images are of it; nothing is drawn if all are, or
      none.
    scores: f64[n] in [0, 1], its probabilities; nothing is drawn if any is not
      finite.
    bands: around its curves, or None.
  """

  name: str
  positive: np.ndarray
  scores: np.ndarray
  bands: Bands | None = None


@dataclasses.dataclass(frozen=True)
class Mark:
  """A threshold, as a point on the curves of a class.

  Attributes:
    label: in the legend; marks of one shape follow each other.
    sensitivity, specificity, precision: shares; a mark with one that is NaN is
      left out of the panels that show it.
    hollow: whether the threshold was read off this very curve.
    shape: number of the shape.
  """

  label: str
  sensitivity: float
  specificity: float
  precision: float
  hollow: bool = False
  shape: int = 0


def decisions(
  curves: Sequence[Curve],
  marks: Sequence[Mark],
  reliability: Reliability | None,
  title: str,
) -> np.ndarray:
  """Draws ROC, precision-recall and reliability curves of a test.

  Args:
    curves: one for the positive class, or one for each class against the rest.
    marks: points on the first of them.
    reliability: of the same images; None leaves its panel out.
    title: above the panels.

  Returns:
    u8[h, w, 3].
  """
  panels = 2 if reliability is None else 3
  entries = len(marks) + (len(curves) if len(curves) > 1 else 0)
  columns = 2 if marks else 3
  rows = -(-entries // columns)
  height = 1.95 if panels == 3 else 2.75
  figure = canvas.new_figure(canvas.PAGE, height + _ROW * rows)
  figure.suptitle(canvas.label(title, 90), fontsize=_TEXT)
  roc, pr, *rest = figure.subplots(1, panels)
  legend = []
  for number, curve in enumerate(curves):
    legend += _draw(roc, pr, curve, number, single=len(curves) == 1)
  legend += [(_draw_mark(roc, pr, mark), mark.label) for mark in marks]
  roc.plot([0, 1], [0, 1], ls=":", c="gray", lw=0.8)
  _square(roc, "1 - specificity", "sensitivity", "lower right")
  _square(pr, "recall (sensitivity)", "precision", "lower left")
  if rest:
    _draw_reliability(rest[0], reliability)
  if legend:
    figure.legend(
      *zip(*legend, strict=True),
      loc="outside lower center",
      ncols=columns,
      fontsize=_LEGEND,
      frameon=False,
    )
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


def reliability(diagrams: Mapping[str, Reliability], title: str) -> np.ndarray:
  """Draws reliability diagrams in one plot, 75 mm wide.

  Args:
    diagrams: label -> diagram.
    title: above the plot.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(canvas.PAGE / 2, 2.8)
  figure.suptitle(canvas.label(title, 45), fontsize=_TEXT)
  axes = figure.subplots()
  for number, (label, diagram) in enumerate(diagrams.items()):
    _draw_reliability(axes, diagram, f"{label}, ", number)
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


def _draw_reliability(
  axes: axes_lib.Axes, diagram: Reliability, label: str = "", number: int = 0
) -> None:
  filled = diagram.counts > 0
  if not number:
    axes.plot([0, 1], [0, 1], ls=":", c="gray", lw=0.8)
  axes.plot(
    diagram.confidence[filled],
    diagram.accuracy[filled],
    "o-" if not number else "s--",
    ms=3,
    c=canvas.COLOURS[number],
    label=f"{label}{'pooled ' * diagram.pooled}ECE {diagram.ece():.3f}",
  )
  _square(axes, "confidence", "accuracy", "lower right")


def _draw(
  roc: axes_lib.Axes,
  pr: axes_lib.Axes,
  curve: Curve,
  number: int,
  *,
  single: bool,
) -> list[tuple[lines_lib.Line2D, str]]:
  """Draws the curves of a class; returns what the common legend shows."""
  count = int(curve.positive.sum())
  if not 0 < count < len(curve.positive):
    return []
  if not np.isfinite(curve.scores).all():
    return []
  tps, fps = curves_lib.Ranking(curve.positive, curve.scores).curve()
  colour = canvas.COLOURS[number % len(canvas.COLOURS)]
  style = {
    "c": colour,
    "lw": 1.2,
    "ls": _DASHES[number // len(canvas.COLOURS) % len(_DASHES)],
  }
  area = curves_lib.auroc(tps, fps)
  precision = curves_lib.average_precision(tps, fps)
  (line,) = roc.plot(
    np.concatenate([[0], fps]) / fps[-1],
    np.concatenate([[0], tps]) / tps[-1],
    label=f"AUROC {area:.3f}" if single else None,
    **style,
  )
  pr.step(
    np.concatenate([[0], tps]) / tps[-1],
    np.concatenate([[tps[0] / (tps + fps)[0]], tps / (tps + fps)]),
    where="pre",
    label=f"AP {precision:.3f}" if single else None,
    **style,
  )
  if curve.bands is not None:
    shade = {"color": colour, "alpha": 0.18, "lw": 0}
    roc.fill_between(curve.bands.rates, *curve.bands.sensitivity, **shade)
    pr.fill_between(curve.bands.rates, *curve.bands.precision, **shade)
  if single:
    share = count / len(curve.positive)
    pr.axhline(share, ls=":", c="gray", lw=0.8, label=f"chance {share:.3f}")
    return []
  name = canvas.label(curve.name, _NAME)
  return [(line, f"{name}: AUROC {area:.3f}, AP {precision:.3f}")]


def _draw_mark(
  roc: axes_lib.Axes, pr: axes_lib.Axes, mark: Mark
) -> lines_lib.Line2D:
  style = {
    "marker": _SHAPES[mark.shape % len(_SHAPES)],
    "ms": 4.5,
    "ls": "",
    "c": canvas.COLOURS[3],
    "mfc": "white" if mark.hollow else canvas.COLOURS[3],
    "mew": 0.8,
    "clip_on": False,
    "zorder": 3,
  }
  (point,) = roc.plot(1 - mark.specificity, mark.sensitivity, **style)
  pr.plot(mark.sensitivity, mark.precision, **style)
  return point


def _square(axes: axes_lib.Axes, x: str, y: str, corner: str) -> None:
  axes.set_xlabel(x, fontsize=_SMALL)
  axes.set_ylabel(y, fontsize=_SMALL)
  axes.grid(alpha=0.25, lw=0.5)
  axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
  if axes.get_legend_handles_labels()[0]:
    axes.legend(fontsize=_LEGEND, frameon=False, loc=corner)
