"""Figures of reports, 150 mm wide: learning curves, decisions, rows of a study.

What a colour says is also said by a shape, a dash or a word.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import sklearn.metrics
from matplotlib import axes as axes_lib

from mn_jax.metrics.calibration import Reliability
from mn_jax.observe import canvas, figures

_DPI = 200
_TEXT, _SMALL = 8.0, 7.0  # points
_TRAIN, _VAL, _OURS, _PUBLISHED = canvas.COLOURS[:4]

Points = Sequence[tuple[float, float]]


def learning_curves(
  runs: Sequence[Mapping[str, Points]], metrics: Sequence[str], title: str
) -> np.ndarray:
  """Draws training and validation metrics over epochs, one line per seed.

  Args:
    runs: for each seed, 'train/NAME', 'val/NAME' or 'test/NAME' -> points
      (epoch, value).
    metrics: the NAMEs, a panel each.
    title: above the panels.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(canvas.PAGE, 2.3)
  figure.suptitle(title, fontsize=_TEXT)
  styles = {
    "train": {"c": _TRAIN, "lw": 0.8, "alpha": 0.6},
    "val": {"c": _VAL, "marker": "o", "ms": 2.5, "lw": 1.2},
    "test": {"c": _PUBLISHED, "marker": "s", "ms": 2.5, "lw": 1.2},
  }
  panels = figure.subplots(1, len(metrics), squeeze=False)[0]
  for axes, name in zip(panels, metrics, strict=True):
    for part, style in styles.items():
      label = part
      for curves in runs:
        points = curves.get(f"{part}/{name}", ())
        if len(points) > (part == "test"):  # the closing test is no curve
          axes.plot(*zip(*points, strict=True), label=label, **style)
          label = None
    axes.set_xlabel("epoch", fontsize=_SMALL)
    axes.set_ylabel(name.replace("_", " "), fontsize=_SMALL)
    axes.grid(alpha=0.25, lw=0.5)
    if axes.get_legend_handles_labels()[0]:
      axes.legend(fontsize=_SMALL, frameon=False)
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


def decisions(
  positive: np.ndarray,
  scores: np.ndarray,
  threshold: float | None,
  reliability: Reliability,
  title: str,
) -> np.ndarray:
  """Draws the ROC, precision-recall and reliability curves of a test.

  Args:
    positive: bool[n]; no ROC and precision-recall curves if all are equal.
    scores: f[n] in [0, 1], probability of the positive class; no curves if any
      is not finite.
    threshold: marked as a point on both curves; None or NaN for none.
    reliability: of the same images.
    title: above the panels.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(canvas.PAGE, 2.2)
  figure.suptitle(title, fontsize=_TEXT)
  roc, pr, calibration = figure.subplots(1, 3)
  if 0 < positive.sum() < len(positive) and np.isfinite(scores).all():
    fpr, tpr, _ = sklearn.metrics.roc_curve(positive, scores)
    roc.plot(fpr, tpr, c=_OURS, label=f"AUROC {np.trapezoid(tpr, fpr):.3f}")
    figures.draw_precision_recall(pr, positive, scores, c=_OURS)
    if threshold is not None and not np.isnan(threshold):
      predicted = scores >= threshold
      hits = (predicted & positive).sum()
      sensitivity = hits / positive.sum()
      mark = {"marker": "D", "ms": 4, "ls": "", "c": _PUBLISHED}
      label = f"at {threshold:.2f}, from validation"
      false = (predicted & ~positive).sum() / (~positive).sum()
      roc.plot(false, sensitivity, label=label, **mark)
      if predicted.any():
        pr.plot(sensitivity, hits / predicted.sum(), **mark)
  roc.plot([0, 1], [0, 1], ls=":", c="gray")
  _draw_reliability(calibration, reliability)
  names = (
    (roc, "1 - specificity", "sensitivity"),
    (pr, "recall (sensitivity)", "precision"),
  )
  for axes, x, y in names:
    _square(axes, x, y)
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


def reliability_diagram(reliability: Reliability, title: str) -> np.ndarray:
  """Draws accuracy over confidence, in bins, with the calibration error.

  Args:
    reliability: of all images.
    title: above the plot.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(canvas.PAGE / 2, 2.6)
  figure.suptitle(title, fontsize=_TEXT)
  axes = figure.subplots()
  _draw_reliability(axes, reliability)
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


@dataclasses.dataclass(frozen=True)
class MemberRow:
  """The runs of one member of a study, in a plot of all members.

  Attributes:
    name: of the member.
    values: metric of each seed; may be empty.
    mean, low, high: over seeds, with the interval; None where undefined.
    published: the published value, or None.
  """

  name: str
  values: Sequence[float]
  mean: float | None
  low: float | None
  high: float | None
  published: float | None


def members(
  rows: Sequence[MemberRow],
  levels: Mapping[str, float],
  axis: str,
  title: str,
) -> np.ndarray:
  """Draws each member's seeds, mean and interval, and the published value.

  Args:
    rows: from top to bottom.
    levels: name -> value of a vertical line, such as a baseline.
    axis: its label.
    title: above the plot.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(canvas.PAGE, 0.9 + 0.22 * len(rows))
  figure.suptitle(title, fontsize=_TEXT)
  axes = figure.subplots()
  dashes = (":", "--", "-.")
  for (name, value), dash in zip(levels.items(), dashes, strict=False):
    axes.axvline(
      value, ls=dash, c="gray", lw=0.9, label=f"{name} {value:.3f}", zorder=1
    )
  named: set[str] = set()

  def once(text: str) -> str | None:
    fresh = text not in named
    named.add(text)
    return text if fresh else None

  for place, row in enumerate(rows):
    if row.low is not None:
      axes.plot(
        # The wide interval of few seeds is clipped, or it would hide the rest.
        np.clip([row.low, row.high], -0.02, 1.02),
        [place, place],
        c=_OURS,
        lw=2,
        alpha=0.4,
        label=once("95 % interval over seeds"),
      )
    axes.plot(
      row.values,
      [place] * len(row.values),
      "|",
      c=_OURS,
      ms=6,
      label=once("a seed") if row.values else None,
    )
    if row.mean is not None:
      axes.plot(row.mean, place, "o", c=_OURS, ms=4, label=once("mean"))
    if row.published is not None:
      axes.plot(
        row.published, place, "D", c=_PUBLISHED, ms=4, label=once("published")
      )
  axes.set_yticks(range(len(rows)), [row.name for row in rows])
  axes.set_ylim(len(rows) - 0.4, -0.6)
  axes.set_xlabel(axis, fontsize=_SMALL)
  axes.grid(axis="x", alpha=0.25, lw=0.5)
  if axes.get_legend_handles_labels()[0]:
    figure.legend(
      loc="outside lower center", ncols=4, fontsize=_SMALL, frameon=False
    )
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


def examples(images: np.ndarray, titles: Sequence[str]) -> np.ndarray:
  """Lays images out, up to six in a row, with a title above each.

  Args:
    images: u8[n, h, w, 3], at least one.
    titles: one for each, in lines of up to some 20 letters.

  Returns:
    u8[h', w', 3].
  """
  columns = min(6, len(images))
  lines = -(-len(images) // columns)
  side = canvas.PAGE / 6
  figure = canvas.new_figure(columns * side, lines * (side + 0.28))
  panels = figure.subplots(lines, columns, squeeze=False).ravel()
  for axes in panels:
    axes.set_axis_off()
  for axes, image, title in zip(panels, images, titles, strict=False):
    axes.imshow(image)
    axes.set_title(title, fontsize=5.5, pad=2)
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


def _draw_reliability(axes: axes_lib.Axes, reliability: Reliability) -> None:
  filled = reliability.counts > 0
  axes.plot([0, 1], [0, 1], ls=":", c="gray")
  axes.plot(
    reliability.confidence[filled],
    reliability.accuracy[filled],
    "o-",
    ms=3,
    c=_OURS,
    label=f"ECE {reliability.ece():.3f}",
  )
  _square(axes, "confidence", "accuracy")


def _square(axes: axes_lib.Axes, x: str, y: str) -> None:
  axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
  axes.set_xlabel(x, fontsize=_SMALL)
  axes.set_ylabel(y, fontsize=_SMALL)
  axes.set_aspect("equal")
  axes.grid(alpha=0.25, lw=0.5)
  if axes.get_legend_handles_labels()[0]:
    corner = "lower left" if y == "precision" else "lower right"
    axes.legend(fontsize=5.5, frameon=False, loc=corner)
