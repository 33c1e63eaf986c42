"""Figures of scaling reports, for a column of 150 mm, of the rows of `rows`.

What colour shows is also shown by a marker or a dash.
"""

import dataclasses
from collections.abc import Callable, Sequence

import matplotlib.ticker
import numpy as np
from matplotlib import axes as axes_lib

from mn_jax.observe import canvas
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.report.rows import Row, series

_DPI = 200
_TEXT, _SMALL = 8.0, 7.0  # points
_HEIGHT = 2.0  # inches of a row of panels
_MAX_TICKS = 6  # as many counts as have room below a panel
_MARKERS, _DASHES = "os^Dvp*", ("-", "--", "-.", ":")
# Measured points that would hide each other stand a little apart.
_APART = 1.03

# How the line of a row looks: its name, and numbers of its colour and marker.
_Look = tuple[str, int, int]


@dataclasses.dataclass(frozen=True)
class _Panel:
  """A panel: a value of every row, over numbers of devices.

  Attributes:
    label: of its vertical axis.
    key: of the value in a row.
    scale: factor of the value.
    bars: lengths of the error bars below and above the value, or None.
    log: whether the vertical axis is logarithmic.
    ideal: perfect scaling over numbers of devices; None to leave it out.
    crosses: measured rows to mark, by their images/s.
  """

  label: str
  key: str
  scale: float = 1.0
  bars: Callable[[Row], tuple[float, float]] | None = None
  log: bool = False
  ideal: Callable[[np.ndarray], np.ndarray] | None = None
  crosses: Sequence[Row] = ()


def measured(rows: Sequence[Row], title: str) -> np.ndarray:
  """Draws speed-up, efficiency and step time over devices, as u8[h, w, 3].

  The rows are of one network on one kind of device, in order of devices.
  """
  processes = sorted({row["processes"] for row in rows})

  def look(row: Row) -> _Look:
    return (
      row["how"].removeprefix("measured, "),
      points.INPUTS.index(row["input"]),
      processes.index(row["processes"]),
    )

  def interval(row: Row) -> tuple[float, float]:
    if row["interval"] is None:
      return 0.0, 0.0
    low, high = row["interval"]
    return row["efficiency"] - low, high - row["efficiency"]

  panels = [
    _Panel("speed-up", "speed_up", ideal=lambda x: x / x.min()),
    _Panel("efficiency", "efficiency", bars=interval, ideal=np.ones_like),
    _Panel(
      "step, ms (bar: to p95)",
      "p50",
      scale=1e3,
      bars=lambda row: (0.0, 1e3 * (row["p95"] - row["p50"])),
    ),
  ]
  rows = [row for row in rows if row["repeats"]]
  return _draw(rows, lambda _: panels, look, title, "devices")


def predicted(
  rows: Sequence[Row], measurements: Sequence[Row], title: str
) -> np.ndarray:
  """Draws predicted images/s, efficiency and step time, as u8[h, w, 3].

  The rows are of one network and fit; measurements are those of some of them.
  """

  def panels(scaling: str) -> list[_Panel]:
    crosses = [row for row in measurements if row["scaling"] == scaling]
    return [
      _Panel("images/s", "images_per_sec", log=True, crosses=crosses),
      _Panel("efficiency", "efficiency", ideal=np.ones_like),
      _Panel("step, ms", "step_seconds", scale=1e3),
    ]

  return _draw(rows, panels, _look_of_chip(rows), title, "chips")


def cost(rows: Sequence[Row], title: str) -> np.ndarray:
  """Draws predicted time to train, and chip-hours, as u8[h, w, 3].

  The rows are of one network, and their number of images to train is known.
  """
  panels = [
    _Panel("minutes to train", "seconds", scale=1 / 60, log=True),
    _Panel("chip-hours to train", "device_hours"),
  ]
  return _draw(rows, lambda _: panels, _look_of_chip(rows), title, "chips")


def _look_of_chip(rows: Sequence[Row]) -> Callable[[Row], _Look]:
  """A line for each chip, or for each batch of one that has several."""

  def look(row: Row) -> _Look:
    # Of this scaling: the other one has a row of panels of its own.
    keys = list(
      dict.fromkeys(
        series(other) for other in rows if other["scaling"] == row["scaling"]
      )
    )
    place = keys.index(series(row))
    several = [key[1] for key in keys].count(row["chip"]) > 1
    batch = f", batch {series(row)[-1]:,}" if several else ""
    return f"{row['chip']}{batch}", place, place

  return look


def _draw(
  rows: Sequence[Row],
  panels_of: Callable[[str], Sequence[_Panel]],
  look: Callable[[Row], _Look],
  title: str,
  x_label: str,
) -> np.ndarray:
  """Draws a row of panels for each kind of scaling; u8[h, w, 3]."""
  scalings = [
    s for s in points.SCALINGS if any(r["scaling"] == s for r in rows)
  ]
  grid = [panels_of(scaling) for scaling in scalings]
  height = 0.6 + _HEIGHT * len(grid)
  figure = canvas.new_figure(canvas.PAGE, height)
  figure.suptitle(title, fontsize=_TEXT)
  all_axes = figure.subplots(len(grid), len(grid[0]), squeeze=False)
  for axes_row, panels, scaling in zip(all_axes, grid, scalings, strict=True):
    lines: dict[_Look, list[Row]] = {}
    for row in rows:
      if row["scaling"] == scaling:
        lines.setdefault(look(row), []).append(row)
    for axes, panel in zip(axes_row, panels, strict=True):
      _fill(axes, panel, lines)
    axes_row[0].set_ylabel(f"{scaling}: {panels[0].label}", fontsize=_SMALL)
  for axes in all_axes[-1]:
    axes.set_xlabel(x_label, fontsize=_SMALL)
  handles = {}
  for axes in figure.axes:
    for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
      handles.setdefault(name, handle)
  figure.legend(
    handles.values(),
    handles.keys(),
    loc="outside lower center",
    ncols=4,
    fontsize=_SMALL,
    frameon=False,
  )
  return canvas.pixels(figure, dpi=_DPI)


def _fill(
  axes: axes_lib.Axes, panel: _Panel, lines: dict[_Look, list[Row]]
) -> None:
  everything = [row for rows in lines.values() for row in rows]
  counts = np.unique([r["devices"] for r in (*everything, *panel.crosses)])
  counts = counts * 1.0
  if panel.ideal is not None:
    axes.plot(
      counts, panel.ideal(counts), ls=":", c="gray", lw=1, label="ideal"
    )
  apart = _APART if "input" in everything[0] else 1
  for place, ((name, colour, marker), rows) in enumerate(lines.items()):
    shift = apart ** (place - (len(lines) - 1) / 2)
    # None, a gap: an efficiency without a repeat in common with the base.
    values = np.array([row[panel.key] for row in rows], float) * panel.scale
    axes.errorbar(
      np.array([row["devices"] for row in rows]) * shift,
      values,
      yerr=panel.bars and np.transpose([panel.bars(row) for row in rows]),
      label=name,
      c=canvas.COLOURS[colour % len(canvas.COLOURS)],
      marker=_MARKERS[marker % len(_MARKERS)],
      ls=_DASHES[marker % len(_DASHES)],
      ms=3,
      lw=1,
      elinewidth=0.8,
    )
  if panel.crosses:
    x = [row["devices"] for row in panel.crosses]
    y = [row["images_per_sec"] for row in panel.crosses]
    axes.plot(x, y, c="black", marker="x", ls="", ms=3, label="measured")
  axes.set_xscale("log", base=2)
  ticks = counts
  if len(counts) > _MAX_TICKS:
    # Each four times the one before, where the counts have them.
    ticks = counts[np.log2(counts / counts[0]) % 2 == 0]
  axes.set_xticks(ticks, [f"{count:g}" for count in ticks])
  axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
  if panel.log:
    axes.set_yscale("log")
    # The usual ones write powers as mathematics.
    axes.yaxis.set_major_formatter(matplotlib.ticker.LogFormatter())
    axes.yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter())
  else:
    axes.set_ylim(0, 1.03 * axes.get_ylim()[1])
  axes.set_ylabel(panel.label, fontsize=_SMALL)
  axes.grid(alpha=0.25, lw=0.5)
  axes.tick_params(which="both", labelsize=_SMALL)
