"""What all figures share: widths in print, colours, text, pixels as arrays."""

import functools

import matplotlib.figure
import matplotlib.text
import numpy as np
from matplotlib import font_manager
from matplotlib.backends import backend_agg

from mn_jax.observe import escape

# Matplotlib's own font, then those with the letters of most other scripts, of
# which a system often has one.
_FONT = "DejaVu Sans"
_OTHER_FONTS = (
  "Noto Sans CJK SC",
  "Noto Sans CJK JP",
  "WenQuanYi Micro Hei",
  "WenQuanYi Zen Hei",
  "Droid Sans Fallback",
  "PingFang SC",
  "Hiragino Sans",
  "Apple SD Gothic Neo",
  "Microsoft YaHei",
  "Yu Gothic",
  "Malgun Gothic",
  "Arial Unicode MS",
  "Noto Sans Devanagari",
  "Noto Sans Thai",
)

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


@functools.cache
def _fonts() -> list[str]:
  """Returns the names of installed fonts, each for what those before lack."""
  installed = {font.name for font in font_manager.fontManager.ttflist}
  return [_FONT, *(name for name in _OTHER_FONTS if name in installed)]


@functools.cache
def _letters() -> frozenset[int]:
  """Returns the code points that a figure can show."""
  fonts = map(font_manager.get_font, map(font_manager.findfont, _fonts()))
  return frozenset().union(*(font.get_charmap() for font in fonts))


# Names of classes and runs are no mathematics, whatever dollars they have.
matplotlib.rcParams["text.parse_math"] = False
matplotlib.rcParams["font.family"] = _fonts()


def _showable(text: str) -> str:
  """Escapes what no installed font has, but for the ends of lines."""
  return "".join(
    x
    if x == "\n" or (ord(x) in _letters() and x.isprintable())
    else escape.ascii_of(x)
    for x in text
  )


def label(name: str, width: int) -> str:
  """Returns a name for a figure: letters without a font are escaped.

  Args:
    name: any text.
    width: letters; the middle of a longer name is cut out.
  """
  name = _showable(name)
  if len(name) <= width:
    return name
  start = (width - 1) // 2
  return f"{name[:start]}…{name[len(name) - (width - 1 - start) :]}"


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
  for text in figure.findobj(matplotlib.text.Text):
    text.set_text(_showable(text.get_text()))
  figure.set_dpi(dpi)
  canvas = backend_agg.FigureCanvasAgg(figure)
  canvas.draw()
  return np.array(canvas.buffer_rgba())[..., :3]
