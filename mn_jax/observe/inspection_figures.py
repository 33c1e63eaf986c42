"""Figures of trained networks, 80 mm wide: saliency, embeddings, slides.

The colour-blind tell their colours apart: plasma, cividis, purple against
orange, and shapes beside colours.
"""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib import axes as axes_lib
from PIL import Image

from mn_jax.observe import canvas

_DPI = 300
_SMALL, _TEXT = 5.5, 6.5  # points
_STRONGEST = 99.0  # percentile of a map that is drawn in full colour

_SHAPES = "o^sDvPX*<>"


def heat_maps(
  images: np.ndarray, maps: Mapping[str, np.ndarray], titles: Sequence[str]
) -> np.ndarray:
  """Draws a row for each image: the image, and each saliency map over it.

  Maps without negative values run to yellow, others are orange above 0 and
  purple below; each is scaled to its own strongest pixels.

  Args:
    images: u8[n, h, w, 3].
    maps: method -> f32[n, h', w'].
    titles: above each row, of up to some 70 letters.

  Returns:
    u8[height, width, 3].
  """
  columns = 1 + len(maps)
  side = canvas.COLUMN / columns
  title, head, margin = 0.14, 0.16, 0.015  # inches
  figure = matplotlib.figure.Figure(
    (canvas.COLUMN, head + len(images) * (side + title))
  )
  height = figure.get_figheight()
  names = ("image", *(name.replace("_", " ") for name in maps))
  for column, name in enumerate(names):
    text = name.replace("integrated gradients", "integrated grad.")
    where = ((column + 0.5) / columns, 1 - 0.45 * head / height)
    figure.text(*where, text, ha="center", va="center", fontsize=_SMALL)
  for row, image in enumerate(images):
    top = height - head - row * (side + title)
    where = (0.03 / canvas.COLUMN, (top - 0.55 * title) / height)
    figure.text(*where, titles[row], va="center", fontsize=_SMALL)
    for column, name in enumerate(("", *maps)):
      axes = figure.add_axes(
        (
          (column * side + margin) / canvas.COLUMN,
          (top - title - side + margin) / height,
          (side - 2 * margin) / canvas.COLUMN,
          (side - 2 * margin) / height,
        )
      )
      axes.set_axis_off()
      if column:
        _draw_map(axes, image, maps[name][row], signed=(maps[name] < 0).any())
      else:
        axes.imshow(image, aspect="auto")
  return canvas.pixels(figure, dpi=_DPI)


def heat(values: np.ndarray, *, signed: bool) -> np.ndarray:
  """Colours a saliency map, to be laid over its image.

  Args:
    values: f32[h, w]; scaled to its own strongest pixels.
    signed: whether it is orange above 0 and purple below; else it runs to
      yellow.

  Returns:
    u8[h, w, 4], RGBA; the weaker a pixel, the more transparent.
  """
  strongest = np.percentile(np.abs(values), _STRONGEST)
  share = np.clip(values / (strongest or 1), -1, 1)
  if signed:
    colours = matplotlib.colormaps["PuOr_r"]((share + 1) / 2)
  else:
    colours = matplotlib.colormaps["plasma"](share)
  colours[..., 3] = 0.9 * np.abs(share)
  return (255 * colours).round().astype(np.uint8)


def shares(values: np.ndarray) -> np.ndarray:
  """Colours shares by cividis, from blue at 0 to yellow at 1.

  Args:
    values: f[h, w] in [0, 1]; NaN where unknown, which becomes transparent.

  Returns:
    u8[h, w, 4], RGBA.
  """
  colours = matplotlib.colormaps["cividis"](np.nan_to_num(values), bytes=True)
  colours[..., 3] = np.where(np.isnan(values), 0, 255)
  return colours


def embedding(
  points: Mapping[str, np.ndarray],
  labels: np.ndarray,
  classes: tuple[str, ...],
  title: str,
) -> np.ndarray:
  """Draws images as points in planes, with a colour and shape for each class.

  Args:
    points: name of a plane -> f[n, 2].
    labels: i32[n].
    classes: their names.
    title: above the planes; wrapped.

  Returns:
    u8[h, w, 3].
  """
  present = np.unique(labels)
  legend_rows = -(-len(present) // 3)
  lines = textwrap.wrap(title, 62)
  side = canvas.COLUMN / len(points)
  figure = canvas.new_figure(
    canvas.COLUMN, side + 0.2 + 0.13 * (legend_rows + len(lines))
  )
  figure.suptitle("\n".join(lines), fontsize=_TEXT)
  # In a random order, or the last class would cover the others.
  order = np.random.default_rng(0).permutation(len(labels))
  size = float(np.clip(2000 / len(labels), 1.5, 12))
  planes = figure.subplots(1, len(points), squeeze=False)[0]
  for axes, (name, where) in zip(planes, points.items(), strict=True):
    for chunk in np.array_split(order, 20):
      for label in present:
        some = chunk[labels[chunk] == label]
        axes.scatter(
          where[some, 0], where[some, 1], s=size, **_mark(label), linewidths=0
        )
    axes.set_title(name, fontsize=_TEXT)
    axes.set(xticks=[], yticks=[])
  handles = [
    matplotlib.lines.Line2D(
      [], [], ls="", ms=3.5, mew=0, color=mark["c"], marker=mark["marker"]
    )
    for mark in map(_mark, present)
  ]
  figure.legend(
    handles,
    [canvas.label(classes[i], 18) for i in present],
    loc="outside lower center",
    ncols=min(3, len(present)),
    fontsize=_SMALL,
    frameon=False,
    handletextpad=0.2,
    columnspacing=1.0,
  )
  return canvas.pixels(figure, dpi=_DPI)


def slide(
  patches: np.ndarray,
  truth: np.ndarray,
  probability: np.ndarray,
  *,
  name: str,
  title: str,
) -> np.ndarray:
  """Draws a slide three times: its patches, its labels, the predictions.

  Args:
    patches: f[h, w, 3] in [0, 255]; NaN where there is none.
    truth: f[h', w'] in [0, 1], share of the class; NaN where unknown.
    probability: f[h', w'] in [0, 1], of the class; NaN where unknown.
    name: of the class.
    title: above the panels.

  Returns:
    u8[height, width, 3].
  """
  height, width = patches.shape[:2]
  wide = width > 1.6 * height
  rows, columns = (3, 1) if wide else (1, 3)
  width_of_one = (canvas.COLUMN - 0.45) / columns
  figure = canvas.new_figure(
    canvas.COLUMN, rows * (width_of_one * height / width + 0.16) + 0.22
  )
  figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
  figure.suptitle(title, fontsize=_TEXT)
  axes = figure.subplots(rows, columns, squeeze=False).ravel()
  shown = np.where(np.isnan(patches), 255, patches).round().astype(np.uint8)
  axes[0].imshow(shown)
  for panel, values in ((axes[1], truth), (axes[2], probability)):
    panel.set_facecolor("white")
    image = panel.imshow(
      values, cmap="cividis", vmin=0, vmax=1, interpolation="nearest"
    )
  names = ("patches", f"truth: {name}", f"probability of {name}")
  for panel, text in zip(axes, names, strict=True):
    panel.set_title(canvas.label(text, 40), fontsize=_SMALL, pad=2)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set(linewidth=0.4, color="0.6")
  bar = figure.colorbar(
    image, ax=axes.tolist(), shrink=0.8, aspect=30, pad=0.01
  )
  bar.set_ticks([0, 0.5, 1])
  bar.ax.tick_params(labelsize=_SMALL, length=1.5, width=0.4, pad=1)
  bar.outline.set_linewidth(0.4)
  return canvas.pixels(figure, dpi=_DPI)


def _draw_map(
  axes: axes_lib.Axes, image: np.ndarray, values: np.ndarray, *, signed: bool
) -> None:
  grey = np.asarray(Image.fromarray(image).convert("L"))
  place = {"extent": (0, 1, 0, 1), "aspect": "auto"}
  axes.imshow(grey, cmap="gray", vmin=-80, vmax=255, **place)
  axes.imshow(heat(values, signed=signed), interpolation="nearest", **place)


def _mark(label: int) -> dict[str, str]:
  return {
    "c": canvas.COLOURS[label % len(canvas.COLOURS)],
    "marker": _SHAPES[label % len(_SHAPES)],
  }
