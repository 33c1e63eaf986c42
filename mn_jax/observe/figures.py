"""Figures of a run: confusion matrix, curves, areas of labels, images."""

from collections.abc import Mapping

import numpy as np
import sklearn.metrics
from matplotlib import axes as axes_lib

from mn_jax.observe import canvas

_DPI = 110
# With more classes, numbers and names would not be legible: they are left out,
# and the figure stops growing.
_NAMED_CLASSES = 25
_UNNAMED_SIDE = 10
_MOST_LABELS = 40
_SHORT_NAME, _LONGEST_NAME, _LONGEST_TITLE = 12, 30, 40  # letters


def confusion_matrix(
  matrix: np.ndarray, classes: tuple[str, ...], title: str
) -> np.ndarray:
  """Draws a confusion matrix: counts and row shares; shares alone if large.

  Args:
    matrix: i64[classes, classes], rows are true classes.
    classes: their names.
    title: above the figure.

  Returns:
    u8[h, w, 3].
  """
  named = len(classes) <= _NAMED_CLASSES
  side = 2.6 + 0.6 * (len(classes) if named else _UNNAMED_SIDE)
  names = [canvas.label(name, _LONGEST_NAME) for name in classes]
  # Room for names that are longer than two words.
  letters = max(map(len, names)) if named else 0
  longer = 0.09 * max(0, letters - _SHORT_NAME)
  figure = canvas.new_figure(side + 0.8 + longer, side + longer / 2)
  axes = figure.add_subplot()
  share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
  axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
  if named:
    for (row, col), count in np.ndenumerate(matrix):
      text = f"{count:,}\n{share[row, col]:.1%}"
      colour = "white" if share[row, col] > 0.5 else "black"
      axes.text(col, row, text, ha="center", va="center", color=colour)
    # Aslant, or long names of many classes overlap.
    slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(classes)), names, **slant)
    axes.set_yticks(range(len(classes)), names)
  title = canvas.label(title, _LONGEST_TITLE)
  axes.set(xlabel="predicted", ylabel="true", title=title)
  return canvas.pixels(figure, dpi=_DPI)


def pr_curve(
  positive: np.ndarray, scores: np.ndarray, title: str
) -> np.ndarray:
  """Draws the precision-recall curve, with the share of positives as chance.

  Args:
    positive: bool[n].
    scores: f[n], higher for the positive class; no curve if any is NaN.
    title: above the figure.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(4.2, 3.8)
  axes = figure.add_subplot()
  if positive.any() and not np.isnan(scores).any():
    draw_precision_recall(axes, positive, scores)
    axes.legend(loc="lower left")
  axes.set(
    xlabel="recall (sensitivity)",
    ylabel="precision",
    xlim=(0, 1),
    ylim=(0, 1.02),
    title=canvas.label(title, _LONGEST_TITLE),
  )
  return canvas.pixels(figure, dpi=_DPI)


def draw_precision_recall(
  axes: axes_lib.Axes, positive: np.ndarray, scores: np.ndarray, **style
) -> None:
  """Adds a precision-recall curve and its chance level to a plot.

  Args:
    axes: the plot.
    positive: bool[n], some of them true.
    scores: f[n], finite, higher for the positive class.
    **style: of the curve, as Matplotlib has it.
  """
  precision, recall, _ = sklearn.metrics.precision_recall_curve(
    positive, scores
  )
  area = sklearn.metrics.average_precision_score(positive, scores)
  axes.step(recall, precision, where="post", label=f"AP {area:.3f}", **style)
  share = positive.mean()
  axes.axhline(share, ls=":", c="gray", label=f"chance {share:.3f}")


def label_areas(
  of_label: Mapping[str, np.ndarray],
  shares: np.ndarray,
  labels: tuple[str, ...],
  title: str,
) -> np.ndarray:
  """Draws AUROC and average precision of every label, the best on top.

  Of many labels only the worst are drawn.

  Args:
    of_label: 'auroc' and 'average_precision', each f64[labels]; NaN of a label
      that no image has, or that all have.
    shares: f64[labels], share of images with the label: the average precision
      of chance.
    labels: their names.
    title: above the figure.

  Returns:
    u8[h, w, 3].
  """
  auroc, precision = of_label["auroc"], of_label["average_precision"]
  order = np.argsort(auroc, kind="stable")[:_MOST_LABELS]
  if len(order) < len(labels):
    title = f"{title}: lowest {len(order)} of {len(labels)} labels"
  figure = canvas.new_figure(5.2, 1.3 + 0.3 * len(order))
  axes = figure.add_subplot()
  places = np.arange(len(order))
  blue, orange = canvas.COLOURS[:2]
  axes.barh(places + 0.2, auroc[order], 0.36, color=blue, label="AUROC")
  axes.barh(
    places - 0.2,
    precision[order],
    0.36,
    color=orange,
    hatch="//",
    edgecolor="white",
    label="average precision",
  )
  chance = {"c": "black", "ls": "", "marker": "|", "ms": 9, "mew": 1.5}
  axes.plot(np.full(len(order), 0.5), places + 0.2, **chance)
  axes.plot(shares[order], places - 0.2, label="chance", **chance)
  for place in places[np.isnan(auroc[order])]:
    axes.text(0.02, place, "undefined", va="center")
  names = [canvas.label(labels[i], _LONGEST_NAME) for i in order]
  axes.set_yticks(places, names)
  axes.set(xlim=(0, 1), title=canvas.label(title, _LONGEST_TITLE))
  figure.legend(loc="outside lower center", ncols=3, frameon=False)
  return canvas.pixels(figure, dpi=_DPI)


def image_grid(
  images: np.ndarray, columns: int = 8, scale: int = 2
) -> np.ndarray:
  """Lays images out in rows, with white gaps between them.

  Args:
    images: u8[n, h, w, 3].
    columns: images per row.
    scale: enlargement, each pixel repeated.

  Returns:
    u8[h', w', 3].
  """
  images = images.repeat(scale, axis=1).repeat(scale, axis=2)
  rows = -(-len(images) // columns)
  height, width = images.shape[1] + 2, images.shape[2] + 2
  grid = np.full((rows * height + 2, columns * width + 2, 3), 255, np.uint8)
  for i, image in enumerate(images):
    top, left = 2 + i // columns * height, 2 + i % columns * width
    grid[top : top + height - 2, left : left + width - 2] = image
  return grid
