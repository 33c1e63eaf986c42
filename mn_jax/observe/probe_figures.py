"""Figures of cross-validated probes, 150 mm wide."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.observe import canvas

_DPI = 200
_TEXT, _SMALL = 8.0, 7.0  # points
_MARKERS = "os^D"


@dataclasses.dataclass(frozen=True)
class IntervalRow:
  """A row of a plot of intervals.

  Attributes:
    name: of the row.
    values: protocol -> value, low and high end; NaN where undefined.
  """

  name: str
  values: Mapping[str, tuple[float, float, float]]


def intervals(rows: Sequence[IntervalRow], axis: str, title: str) -> np.ndarray:
  """Draws values with their intervals, a row each and a mark per protocol.

  Args:
    rows: from top to bottom, all with the same protocols.
    axis: its label.
    title: above the plot.

  Returns:
    u8[h, w, 3].
  """
  figure = canvas.new_figure(canvas.PAGE, 0.9 + 0.3 * len(rows))
  figure.suptitle(canvas.label(title, 90), fontsize=_TEXT)
  axes = figure.subplots()
  protocols = list(rows[0].values)
  for i, protocol in enumerate(protocols):
    places = np.arange(len(rows)) + 0.24 * (i - (len(protocols) - 1) / 2)
    found = np.array([row.values[protocol] for row in rows], np.float64)
    colour = canvas.COLOURS[i]
    axes.hlines(
      places, found[:, 1], found[:, 2], colors=colour, lw=2, alpha=0.4
    )
    axes.plot(found[:, 0], places, _MARKERS[i], c=colour, ms=4, label=protocol)
  names = [canvas.label(row.name, 40) for row in rows]
  axes.set_yticks(range(len(rows)), names)
  axes.set_ylim(len(rows) - 0.4, -0.6)
  axes.set_xlabel(axis, fontsize=_SMALL)
  axes.grid(axis="x", alpha=0.25, lw=0.5)
  figure.legend(
    loc="outside lower center", ncols=4, fontsize=_SMALL, frameon=False
  )
  return canvas.pixels(figure, dpi=_DPI, tick_size=_SMALL)
