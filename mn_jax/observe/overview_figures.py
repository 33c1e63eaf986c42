"""Figures of a user's images before training: their sizes, some of each class.

They are a page wide, 150 mm.
"""

from collections.abc import Mapping

import numpy as np

from mn_jax.observe import canvas

_DPI = 200
_SMALL, _TEXT = 6.0, 7.0  # points
_NAME = 1.0  # inches for the name of a class
_BINS = 40


def sizes(heights: np.ndarray, widths: np.ndarray, stored: int) -> np.ndarray:
  """Draws a histogram of the short sides, and heights over widths.

  Args:
    heights, widths: f64[n], in pixels.
    stored: height and width at which images would be stored; a dashed line.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(canvas.PAGE, 2.2)
  left, right = figure.subplots(1, 2)
  short = np.minimum(heights, widths)
  spread = short.max() > 4 * short.min()
  if spread:
    bins = np.geomspace(short.min(), short.max(), _BINS)
    left.set_xscale("log")
  else:
    bins = np.linspace(short.min() - 1, short.max() + 1, _BINS)
  left.hist(short, bins=bins, color=canvas.COLOURS[0])
  left.axvline(stored, ls="--", lw=0.8, c="0.2")
  left.set_xlabel("short side, pixels; dashed: as stored", fontsize=_SMALL)
  left.set_ylabel("images", fontsize=_SMALL)
  pairs, number = np.unique(
    np.stack([widths, heights]), axis=1, return_counts=True
  )
  right.scatter(
    *pairs,
    s=np.clip(4 * np.sqrt(number), 4, 200),
    alpha=0.5,
    color=canvas.COLOURS[3],
    linewidths=0,
  )
  largest = 1.05 * float(max(widths.max(), heights.max()))
  right.plot([0, largest], [0, largest], lw=0.5, c="0.6")
  right.set(xlim=(0, largest), ylim=(0, largest))
  right.set_xlabel("width, pixels", fontsize=_SMALL)
  right.set_ylabel("height, pixels", fontsize=_SMALL)
  for axes in (left, right):
    axes.grid(alpha=0.25, lw=0.5)
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)


def samples(images: Mapping[str, np.ndarray]) -> np.ndarray:
  """Draws some images of each class in a row.

  Args:
    images: name of a class -> u8[m, side, side, 3], at least one.

  Returns:
    u8[h, w, 3].
  """
  columns = max(map(len, images.values()))
  side = (canvas.PAGE - _NAME) / max(6, columns)
  width = _NAME + columns * side
  figure = canvas.new_figure(width, len(images) * side)
  figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
  panels = figure.subplots(
    len(images),
    columns + 1,
    squeeze=False,
    width_ratios=[_NAME, *[side] * columns],
  )
  for axes in panels.ravel():
    axes.set_axis_off()
  for row, (name, pictures) in zip(panels, images.items(), strict=True):
    label = canvas.label(name, 20)
    row[0].text(1, 0.5, label, fontsize=_TEXT, ha="right", va="center")
    for axes, picture in zip(row[1:], pictures, strict=False):
      axes.imshow(picture)
  return canvas.pixels(figure, dpi=_DPI)
