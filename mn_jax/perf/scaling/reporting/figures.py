"""Figures of scaling reports, in the style of those of other reports.

For a column of 150 mm; what is seen in colour is also told by a shape or a
dash.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import matplotlib.ticker
import numpy as np
from matplotlib import axes as axes_lib

from mn_jax.observe import canvas
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.reporting.planned import Pair, Planned
from mn_jax.perf.scaling.reporting.series import Row

_DPI = 200
_TEXT, _SMALL = 8.0, 7.0  # points
_HEIGHT = 2.0  # inches of a row of panels
_TICKS = 6  # as many counts as have room below a panel
_SHAPES, _DASHES = "os^Dvp*", ("-", "--", "-.", ":")
# Lines whose points would hide each other stand a little apart.
_APART = 1.03


@dataclasses.dataclass(frozen=True)
class _Line:
  """A line of a panel.

  Attributes:
    name: in the legend.
    x: numbers of devices.
    y: values.
    below, above: lengths of the bars at them, or None.
    style: of matplotlib.
  """

  name: str
  x: Sequence[float]
  y: Sequence[float]
  below: Sequence[float] | None
  above: Sequence[float] | None
  style: dict


@dataclasses.dataclass(frozen=True)
class _Panel:
  """A panel.

  Attributes:
    label: of its vertical axis.
    lines: in it.
    log: whether that axis is logarithmic.
    ideal: what perfect scaling gives for a number of devices; None to leave
      it out.
  """

  label: str
  lines: Sequence[_Line]
  log: bool = False
  ideal: Callable[[np.ndarray], np.ndarray] | None = None


def measured(rows: Sequence[Row], title: str) -> np.ndarray:
  """Speed-up, efficiency and step time over devices.

  Args:
    rows: of one network on one kind of device.
    title: above.

  Returns:
    u8[h, w, 3].
  """
  grid = []
  for scaling in points.SCALINGS:
    some = [r for r in rows if r.scaling == scaling and r.repeats]
    if some:
      grid.append(
        [
          _Panel(
            f"{scaling}: speed-up",
            _by_input(some, lambda row: (row.speed_up, None, None)),
            ideal=lambda x: x / x.min(),
          ),
          _Panel(
            "efficiency",
            _by_input(some, _efficiency),
            ideal=np.ones_like,
          ),
          _Panel(
            "step, ms (bar: to p95)",
            _by_input(
              some,
              lambda row: (1e3 * row.p50, 0.0, 1e3 * (row.p95 - row.p50)),
            ),
          ),
        ]
      )
  return _draw(grid, title, "devices")


def planned(
  rows: Sequence[Planned], pairs: Sequence[Pair], title: str
) -> np.ndarray:
  """Predicted images/s, efficiency and step time over chips.

  Args:
    rows: of one network, those that fit.
    pairs: what was measured of them.
    title: above.

  Returns:
    u8[h, w, 3].
  """
  grid = []
  for scaling in points.SCALINGS:
    some = [row for row in rows if row.scaling == scaling]
    seen = [p.measured for p in pairs if p.measured.scaling == scaling]
    if some:
      grid.append(
        [
          _Panel(
            f"{scaling}: images/s",
            [
              *_by_chip(some, lambda row: row.images_per_sec),
              *_seen(seen),
            ],
            log=True,
          ),
          _Panel(
            "efficiency",
            _by_chip(some, lambda row: row.efficiency),
            ideal=np.ones_like,
          ),
          _Panel(
            "step, ms", _by_chip(some, lambda row: 1e3 * row.step_seconds)
          ),
        ]
      )
  return _draw(grid, title, "chips")


def cost(rows: Sequence[Planned], title: str) -> np.ndarray:
  """Predicted time to train, and hours of all chips together, over chips.

  Args:
    rows: of one network, those whose number of images to train is known.
    title: above.

  Returns:
    u8[h, w, 3].
  """
  grid = []
  for scaling in points.SCALINGS:
    some = [row for row in rows if row.scaling == scaling]
    if some:
      grid.append(
        [
          _Panel(
            f"{scaling}: minutes to train",
            _by_chip(some, lambda row: row.seconds_to_train / 60),
            log=True,
          ),
          _Panel(
            "chip-hours to train",
            _by_chip(some, lambda row: row.seconds_to_train * row.count / 3600),
          ),
        ]
      )
  return _draw(grid, title, "chips")


def _efficiency(row: Row) -> tuple[float, float | None, float | None]:
  if row.efficiency is None:  # no repeat in common with the smallest count
    return math.nan, None, None
  if row.interval is None:
    return row.efficiency, None, None
  low, high = row.interval
  return row.efficiency, row.efficiency - low, high - row.efficiency


def _by_input(
  rows: Sequence[Row],
  value: Callable[[Row], tuple[float, float | None, float | None]],
) -> list[_Line]:
  """A line for each input and number of processes.

  Args:
    rows: in order of devices.
    value: of a row, and how far its bar reaches below and above it.
  """
  lines = []
  processes = sorted({row.processes for row in rows})
  for kind in points.INPUTS:
    for place, count in enumerate(processes):
      own = [r for r in rows if (r.input, r.processes) == (kind, count)]
      if not own:
        continue
      found = [value(row) for row in own]
      several = f", {count} processes" if count > 1 else ""
      lines.append(
        _Line(
          f"{kind}{several}",
          [row.devices for row in own],
          [y for y, _, _ in found],
          [below or 0.0 for _, below, _ in found],
          [above or 0.0 for _, _, above in found],
          {
            "c": canvas.COLOURS[points.INPUTS.index(kind)],
            "marker": _SHAPES[place % len(_SHAPES)],
            "ls": _DASHES[place % len(_DASHES)],
          },
        )
      )
  return lines


def _by_chip(
  rows: Sequence[Planned], value: Callable[[Planned], float]
) -> list[_Line]:
  """A line for each chip, or for each batch of one that has several."""
  lines = []
  found = list(dict.fromkeys(row.series() for row in rows))
  chips = [key[1] for key in found]
  for place, key in enumerate(found):
    own = [row for row in rows if row.series() == key]
    chip, size = key[1], key[-1]
    several = f", batch {size:,}" if chips.count(chip) > 1 else ""
    lines.append(
      _Line(
        f"{chip}{several}",
        [row.count for row in own],
        [value(row) for row in own],
        None,
        None,
        {
          "c": canvas.COLOURS[place % len(canvas.COLOURS)],
          "marker": _SHAPES[place % len(_SHAPES)],
          "ls": _DASHES[place % len(_DASHES)],
        },
      )
    )
  return lines


def _seen(rows: Sequence[Row]) -> list[_Line]:
  """Measurements beside predictions."""
  if not rows:
    return []
  return [
    _Line(
      "measured",
      [row.devices for row in rows],
      [row.images_per_sec for row in rows],
      None,
      None,
      {"c": "black", "marker": "x", "ls": ""},
    )
  ]


def _draw(grid: Sequence[Sequence[_Panel]], title: str, x: str) -> np.ndarray:
  height = 0.6 + _HEIGHT * len(grid)
  figure = canvas.new_figure(canvas.PAGE, height)
  figure.suptitle(title, fontsize=_TEXT)
  panels = figure.subplots(len(grid), len(grid[0]), squeeze=False)
  for row, line in zip(panels, grid, strict=True):
    for axes, panel in zip(row, line, strict=True):
      _fill(axes, panel)
  for axes in panels[-1]:
    axes.set_xlabel(x, fontsize=_SMALL)
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


def _fill(axes: axes_lib.Axes, panel: _Panel) -> None:
  counts = np.array(sorted({x for line in panel.lines for x in line.x}), float)
  if panel.ideal is not None:
    axes.plot(
      counts, panel.ideal(counts), ls=":", c="gray", lw=1, label="ideal"
    )
  bars = any(line.above is not None for line in panel.lines)
  for place, line in enumerate(panel.lines):
    shift = _APART ** (place - (len(panel.lines) - 1) / 2) if bars else 1
    axes.errorbar(
      np.array(line.x) * shift,
      line.y,
      yerr=None if line.above is None else [line.below, line.above],
      label=line.name,
      ms=3,
      lw=1,
      elinewidth=0.8,
      **line.style,
    )
  axes.set_xscale("log", base=2)
  ticks = counts
  if len(counts) > _TICKS:
    # Each four times the one before, where the counts have them.
    ticks = counts[np.log2(counts / counts[0]) % 2 == 0]
  axes.set_xticks(ticks, [f"{count:g}" for count in ticks])
  axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
  if panel.log:
    axes.set_yscale("log")
  else:
    axes.set_ylim(0, 1.03 * axes.get_ylim()[1])
  axes.set_ylabel(panel.label, fontsize=_SMALL)
  axes.grid(alpha=0.25, lw=0.5)
  axes.tick_params(which="both", labelsize=_SMALL)
