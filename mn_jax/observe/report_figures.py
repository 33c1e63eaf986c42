"""Figures of reports, 150 mm wide: learning curves, images, rows of a study.

What a colour says is also said by a shape, a dash or a word.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes as axes_lib

from mn_jax.observe import canvas

_DPI = 200
_TEXT, _SMALL = 8.0, 7.0  # points
_TRAIN, _VAL, _OURS, _PUBLISHED = canvas.COLOURS[:4]

Points = Sequence[tuple[float, float]]


def learning_curves(
  runs: Sequence[Mapping[str, Points]], metrics: Sequence[str], title: str
) -> np.ndarray:
  """Draws training and validation metrics over epochs, one line per seed.

  Args:
    runs: for each seed, 'train/NAME', 'train_epoch/NAME', 'val/NAME',
      'test/NAME' or 'watched_test/NAME' -> points (epoch, value). Means over
      epochs stand for those of training since the last log, if there are two or
      more.
    metrics: the NAMEs, a panel each.
    title: above the panels.

  Returns:
    u8[h, w, 3].
  """
  figure = _new_figure(title, 2.3)
  styles = {
    "train": {"c": _TRAIN, "lw": 0.8, "alpha": 0.6},
    "val": {"c": _VAL, "marker": "o", "ms": 2.5, "lw": 1.2},
    "test": {"c": _PUBLISHED, "marker": "s", "ms": 2.5, "lw": 1.2},
    "watched_test": {"c": _PUBLISHED, "marker": "s", "ms": 2.5, "lw": 1.2},
  }
  panels = figure.subplots(1, len(metrics), squeeze=False)[0]
  for axes, name in zip(panels, metrics, strict=True):
    for part, style in styles.items():
      label = part.replace("_", " ")
      for curves in runs:
        points = curves.get(f"{part}/{name}", ())
        means = curves.get(f"{part}_epoch/{name}", ())
        points = means if len(means) > 1 else points
        if len(points) > (part == "test"):  # the closing test is no curve
          axes.plot(*zip(*points, strict=True), label=label, **style)
          label = None
    _label(axes, "epoch", name.replace("_", " "))
    if axes.get_legend_handles_labels()[0]:
      axes.legend(fontsize=_SMALL, frameon=False)
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


@dataclasses.dataclass(frozen=True)
class MemberRow:
  """The runs of one member of a study, in a plot of all members.

  Attributes:
    name: of the member.
    values: metric of each seed; may be empty.
    mean, low, high: over seeds, with the interval; None where undefined.
    published: the published value, or None.
    levels: name -> value of what this row is compared with, such as baselines
      on its splits; None where undefined.
  """

  name: str
  values: Sequence[float]
  mean: float | None
  low: float | None
  high: float | None
  published: float | None
  levels: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


def members(rows: Sequence[MemberRow], axis: str, title: str) -> np.ndarray:
  """Draws each member's seeds, mean and interval, and the published value.

  Args:
    rows: from top to bottom.
    axis: its label.
    title: above the plot.

  Returns:
    u8[h, w, 3].
  """
  figure = _new_figure(title, 0.9 + 0.22 * len(rows))
  axes = figure.subplots()
  dashes = (":", "--", "-")
  names = dict.fromkeys(name for row in rows for name in row.levels)
  for name, dash in zip(names, dashes, strict=False):
    values = [row.levels.get(name) for row in rows]
    drawn = [i for i, x in enumerate(values) if x is not None]
    if not drawn:
      continue
    axes.vlines(
      [values[i] for i in drawn],
      np.array(drawn) - 0.45,
      np.array(drawn) + 0.45,
      colors="gray",
      linestyles=dash,
      linewidths=0.9,
      label=name,
      zorder=1,
    )
  places = np.arange(len(rows))
  # The wide interval of few seeds is clipped, or it would hide the rest.
  ends = np.array([(row.low, row.high, None) for row in rows], np.float64)
  ends = ends.clip(-0.02, 1.02).ravel()
  seeds = [value for row in rows for value in row.values]
  places_of_seeds = places.repeat([len(row.values) for row in rows])
  interval = {"c": _OURS, "lw": 2, "alpha": 0.4}
  for label, x, y, style in (
    ("95 % interval", ends, places.repeat(3), interval),
    ("a seed", seeds, places_of_seeds, _mark("|", _OURS, 6)),
    ("mean", [row.mean for row in rows], places, _mark("o", _OURS)),
    ("published", [r.published for r in rows], places, _mark("D", _PUBLISHED)),
  ):
    x = np.array(x, np.float64)  # None becomes NaN, which is not drawn
    if np.isfinite(x).any():
      axes.plot(x, y, label=label, **style)
  names = [canvas.label(row.name, 30) for row in rows]
  axes.set_yticks(range(len(rows)), names)
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


def _new_figure(title: str, height: float, width: float = canvas.PAGE):
  figure = canvas.new_figure(width, height)
  figure.suptitle(canvas.label(title, 90), fontsize=_TEXT)
  return figure


def _mark(marker: str, colour: str, size: float = 4) -> dict[str, Any]:
  return {"marker": marker, "ms": size, "ls": "", "c": colour}


def _label(axes: axes_lib.Axes, x: str, y: str) -> None:
  axes.set_xlabel(x, fontsize=_SMALL)
  axes.set_ylabel(y, fontsize=_SMALL)
  axes.grid(alpha=0.25, lw=0.5)
