"""Figures of reports, for a column of 150 mm; colours as the colour-blind see.

Text is as large in print as it says here. What is seen in colour is also told
by a shape, a dash or a word.
"""

import dataclasses
import io
from collections.abc import Mapping, Sequence

import matplotlib.figure
import matplotlib.ticker
import numpy as np
import sklearn.metrics
from matplotlib import axes as axes_lib
from PIL import Image

from mn_jax.metrics.calibration import Reliability
from mn_jax.observe.palette import COLOURS

_WIDTH = 150 / 25.4  # inches
_DPI = 200
_TEXT, _SMALL = 8.0, 7.0  # points
_TRAIN, _VAL, _OURS, _THERE = COLOURS[:4]

Points = Sequence[tuple[float, float]]


def learning_curves(
  runs: Sequence[Mapping[str, Points]], metrics: Sequence[str], title: str
) -> np.ndarray:
  """Training and validation over epochs, one line per seed.

  Args:
    runs: of each seed 'train/NAME', 'val/NAME' or 'test/NAME' -> (epoch,
      value).
    metrics: the NAMEs, a panel each.
    title: above.

  Returns:
    u8[h, w, 3].
  """
  figure = _figure(_WIDTH, 2.3)
  figure.suptitle(title, fontsize=_TEXT)
  styles = {
    "train": {"c": _TRAIN, "lw": 0.8, "alpha": 0.6},
    "val": {"c": _VAL, "marker": "o", "ms": 2.5, "lw": 1.2},
    "test": {"c": _THERE, "marker": "s", "ms": 2.5, "lw": 1.2},
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
  return _pixels(figure)


def decisions(
  positive: np.ndarray,
  scores: np.ndarray,
  threshold: float | None,
  reliability: Reliability,
  title: str,
) -> np.ndarray:
  """ROC, precision against recall, and whether probabilities are kept.

  Args:
    positive: bool[n], all of one kind or not finite scores: no curves.
    scores: f[n], probability of the positive class.
    threshold: a point on both curves, None or NaN for none.
    reliability: of the same images.
    title: above.

  Returns:
    u8[h, w, 3].
  """
  figure = _figure(_WIDTH, 2.2)
  figure.suptitle(title, fontsize=_TEXT)
  roc, pr, kept = figure.subplots(1, 3)
  if 0 < positive.sum() < len(positive) and np.isfinite(scores).all():
    fpr, tpr, _ = sklearn.metrics.roc_curve(positive, scores)
    roc.plot(fpr, tpr, c=_OURS, label=f"AUROC {np.trapezoid(tpr, fpr):.3f}")
    precision, recall, _ = sklearn.metrics.precision_recall_curve(
      positive, scores
    )
    area = sklearn.metrics.average_precision_score(positive, scores)
    pr.step(recall, precision, where="post", c=_OURS, label=f"AP {area:.3f}")
    pr.axhline(positive.mean(), ls=":", c="gray", label="chance")
    if threshold is not None and not np.isnan(threshold):
      taken = scores >= threshold
      hits = (taken & positive).sum()
      sensitivity = hits / positive.sum()
      mark = {"marker": "D", "ms": 4, "ls": "", "c": _THERE}
      named = f"at {threshold:.2f}, from validation"
      false = (taken & ~positive).sum() / (~positive).sum()
      roc.plot(false, sensitivity, label=named, **mark)
      if taken.any():
        pr.plot(sensitivity, hits / taken.sum(), **mark)
  roc.plot([0, 1], [0, 1], ls=":", c="gray")
  _kept(kept, reliability)
  names = (
    (roc, "1 - specificity", "sensitivity"),
    (pr, "recall (sensitivity)", "precision"),
  )
  for axes, x, y in names:
    _square(axes, x, y)
  return _pixels(figure)


def reliability_diagram(reliability: Reliability, title: str) -> np.ndarray:
  """Whether probabilities are kept, by bins of confidence.

  Returns:
    u8[h, w, 3].
  """
  figure = _figure(_WIDTH / 2, 2.6)
  figure.suptitle(title, fontsize=_TEXT)
  axes = figure.subplots()
  _kept(axes, reliability)
  return _pixels(figure)


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of the figure below.

  Attributes:
    name: at its left.
    values: of the seeds; may be empty.
    mean, low, high: of them; None where undefined.
    there: what was published, or None.
  """

  name: str
  values: Sequence[float]
  mean: float | None
  low: float | None
  high: float | None
  there: float | None


def rows(
  found: Sequence[Row],
  levels: Mapping[str, float],
  label: str,
  title: str,
) -> np.ndarray:
  """Each row's seeds, their mean and its interval, and what was published.

  Args:
    found: from top to bottom.
    levels: name -> value of a line through all, such as a baseline.
    label: of the axis.
    title: above.

  Returns:
    u8[h, w, 3].
  """
  figure = _figure(_WIDTH, 0.9 + 0.22 * len(found))
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

  for place, row in enumerate(found):
    if row.low is not None:
      axes.plot(
        # A wide interval of few seeds is cut, or it would be all one sees.
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
    if row.there is not None:
      axes.plot(row.there, place, "D", c=_THERE, ms=4, label=once("published"))
  axes.set_yticks(range(len(found)), [row.name for row in found])
  axes.set_ylim(len(found) - 0.4, -0.6)
  axes.set_xlabel(label, fontsize=_SMALL)
  axes.grid(axis="x", alpha=0.25, lw=0.5)
  if axes.get_legend_handles_labels()[0]:
    figure.legend(
      loc="outside lower center", ncols=4, fontsize=_SMALL, frameon=False
    )
  return _pixels(figure)


def examples(images: np.ndarray, titles: Sequence[str]) -> np.ndarray:
  """Images beside each other, up to six in a row, with words above each.

  Args:
    images: u8[n, h, w, 3], one at least.
    titles: of each, lines of some 20 letters.

  Returns:
    u8[h', w', 3].
  """
  columns = min(6, len(images))
  lines = -(-len(images) // columns)
  side = _WIDTH / 6
  figure = _figure(columns * side, lines * (side + 0.28))
  panels = figure.subplots(lines, columns, squeeze=False).ravel()
  for axes in panels:
    axes.set_axis_off()
  for axes, image, title in zip(panels, images, titles, strict=False):
    axes.imshow(image)
    axes.set_title(title, fontsize=5.5, pad=2)
  return _pixels(figure)


def _kept(axes: axes_lib.Axes, reliability: Reliability) -> None:
  """Draws a reliability diagram."""
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


def _figure(width: float, height: float) -> matplotlib.figure.Figure:
  return matplotlib.figure.Figure((width, height), layout="constrained")


def _pixels(figure: matplotlib.figure.Figure) -> np.ndarray:
  for axes in figure.axes:
    axes.tick_params(labelsize=_SMALL)
  buffer = io.BytesIO()
  figure.savefig(buffer, dpi=_DPI, format="png")
  with Image.open(buffer) as image:
    return np.asarray(image.convert("RGB"))
