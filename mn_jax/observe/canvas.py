"""What all figures share: widths in print, colours, and pixels as arrays."""

import matplotlib.figure
import numpy as np
from matplotlib.backends import backend_agg

# Widths of a page and of a column in inches, so that the size of text in
# points is its size in print.
PAGE, COLUMN = 150 / 25.4, 80 / 25.4
# Colours that the colour-blind tell apart, from Okabe & Ito 2008, "Color
# Universal Design", without yellow, which is too light: blue, orange, green,
# vermilion, purple, sky, black.
COLOURS = (
  "#0072B2",
  "#E69F00",
  "#009E73",
  "#D55E00",
  "#CC79A7",
  "#56B4E9",
  "#000000",
)


def new_figure(width: float, height: float) -> matplotlib.figure.Figure:
  """Returns an empty figure, in inches, whose parts will not overlap."""
  return matplotlib.figure.Figure((width, height), layout="constrained")


def pixels(
  figure: matplotlib.figure.Figure, *, dpi: int, tick_size: float | None = None
) -> np.ndarray:
  """Renders a figure.

  Args:
    figure: the finished figure.
    dpi: pixels per inch.
    tick_size: of the numbers at the axes in points; None leaves it.

  Returns:
    u8[h, w, 3].
  """
  if tick_size is not None:
    for axes in figure.axes:
      axes.tick_params(labelsize=tick_size)
  figure.set_dpi(dpi)
  canvas = backend_agg.FigureCanvasAgg(figure)
  canvas.draw()
  return np.array(canvas.buffer_rgba())[..., :3]
