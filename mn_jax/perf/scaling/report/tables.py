"""Tables of scaling reports."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mn_jax.observe.formatting import MINUS, duration, percent
from mn_jax.parallel import accelerators
from mn_jax.perf.scaling.report.rows import (
  Measured,
  Pair,
  Predicted,
  seconds_to_train,
)
from mn_jax.report.tables import Table

NOT_MEASURED, NOT_COMPILED = "not measured", "not compiled"
# Chip or kind of device -> US dollars per hour of one.
Prices = Mapping[str, float]
# Title of a column -> its cell of a row.
_Columns = dict[str, Callable[[Any], str]]

_POINT: _Columns = {
  "scaling": lambda row: row.scaling,
  "input": lambda row: row.input,
  "devices": lambda row: f"{row.devices}",
  "processes": lambda row: f"{row.processes}",
  "batch": lambda row: f"{row.global_batch:,}",
}


def summary(rows: Sequence[Measured]) -> Table:
  """What of the measurements fits a terminal."""
  columns = {
    "": lambda row: f"{row.scaling}, {row.input}",
    "devices": lambda row: f"{row.devices}",
    "processes": lambda row: f"{row.processes}",
    "images/s": lambda row: _number(row.images_per_sec, ",.0f"),
    "efficiency": lambda row: percent(row.efficiency),
    "step ms": lambda row: _milliseconds(row.p50),
  }
  return _table(columns, [row for row in rows if row.repeats], "")


def speed(rows: Sequence[Measured]) -> Table:
  """Measured speed of each number of devices."""

  def remark(row: Measured) -> str:
    if not row.failed:
      return ""
    return f"{'a repeat failed' if row.repeats else NOT_MEASURED}: {row.failed}"

  def per_device(row: Measured) -> float | None:
    return row.images_per_sec and row.images_per_sec / row.devices

  columns = _POINT | {
    "images/s": lambda row: _number(row.images_per_sec, ",.0f"),
    "per device": lambda row: _number(per_device(row), ",.0f"),
    "speed-up": lambda row: _number(row.speed_up, ".2f"),
    "efficiency": lambda row: percent(row.efficiency),
    "95 %": lambda row: " to ".join(map(percent, row.interval or [None])),
    "repeats": lambda row: f"{row.repeats or '-'}",
  }
  if any(row.failed for row in rows):
    columns[""] = remark
  return _table(
    columns,
    rows,
    "Medians over repeats. Speed-up and efficiency are relative to the "
    "smallest count of the same series; the interval of the efficiency is the "
    "bootstrap's over repeats, and with few repeats a rough one.",
  )


def time_spent(rows: Sequence[Measured]) -> Table:
  """What the time of each number of devices was spent on."""
  columns = _POINT | {
    "step p50, ms": lambda row: _milliseconds(row.p50),
    "p95, ms": lambda row: _milliseconds(row.p95),
    "data wait": lambda row: percent(row.data_wait),
    "collectives": lambda row: percent(row.collectives),
    "MFU": lambda row: percent(row.mfu),
    "MiB": lambda row: _number(row.memory and row.memory / 2**20, ",.0f"),
    "compile, s": lambda row: _number(row.compile_seconds, ".1f"),
  }
  return _table(
    columns,
    [row for row in rows if row.repeats],
    "Data wait is waiting for the next batch of the loader; sending it belongs "
    "to the step. Collectives: the share of a device's time in them, waiting "
    "for other devices included. MiB is the peak of the fullest device, or of "
    "the first process where devices use the host's memory. MFU is undefined "
    "where the peak FLOP/s are not known.",
  )


def plan(rows: Sequence[Predicted]) -> Table:
  """Predictions of a plan, and why there is none."""

  def memory(row: Predicted) -> str:
    if row.memory_bytes is None:
      return "-"
    return f"{row.memory_bytes / 2**30:.2f} of {row.memory_limit / 2**30:.2f}"

  def collectives(row: Predicted) -> str:
    if not row.fits:
      return "-"
    return "; ".join(
      f"{total.count:,} {total.kind}, {total.bytes / 1e6:,.1f} MB"
      + (", overlapped" if total.overlapped else "")
      for total in row.collectives
    )

  def remark(row: Predicted) -> str:
    if not row.fits:
      return f"does not fit: {row.note}" if row.note else "does not fit"
    if row.compiled or NOT_COMPILED in row.note:
      return row.note
    return f"{NOT_COMPILED}; {row.note}" if row.note else NOT_COMPILED

  columns = {
    "chip": lambda row: row.chip,
    "chips": lambda row: f"{row.count}",
    "slice": lambda row: row.topology or "-",
    "scaling": lambda row: row.scaling,
    "batch per chip": lambda row: _number(row.batch_per_chip, ","),
    "batch": lambda row: _number(row.global_batch, ","),
    "GiB per chip": memory,
    "step, ms": lambda row: _milliseconds(row.step_seconds),
    "images/s": lambda row: _number(row.images_per_sec, ",.0f"),
    "speed-up": lambda row: _number(row.speed_up, ".2f"),
    "efficiency": lambda row: percent(row.efficiency),
    "bound by": lambda row: row.bound or "-",
    "collectives": collectives,
    "": remark,
  }
  return _table(
    columns,
    rows,
    "Predicted from the compiled or counted step and published rates, which "
    "are reached only in the best case: images/s are an upper limit.",
  )


def overview(
  measured: Sequence[Measured], predicted: Sequence[Predicted], prices: Prices
) -> Table:
  """Speed of each number of devices, and time and cost of a whole run.

  Rows without a measurement or a prediction are left out, and the column of
  cost without prices.
  """

  def how(row: Measured | Predicted) -> str:
    if isinstance(row, Predicted):
      return "predicted"
    several = f", {row.processes} processes" if row.processes > 1 else ""
    return f"measured, {row.input}{several}"

  def hours(row: Measured | Predicted) -> float | None:
    seconds = seconds_to_train(row)
    return None if seconds is None else seconds * _devices(row) / 3600

  def cost(row: Measured | Predicted) -> float | None:
    price = next(
      (p for n, p in prices.items() if is_called(n, _kind(row))), None
    )
    return None if None in (price, hours(row)) else price * hours(row)

  columns = {
    "network": lambda row: row.label,
    "on": _kind,
    "devices": lambda row: f"{_devices(row)}",
    "scaling": lambda row: row.scaling,
    "batch": lambda row: f"{row.global_batch:,}",
    "how": how,
    "images/s": lambda row: f"{row.images_per_sec:,.0f}",
    "efficiency": lambda row: percent(row.efficiency),
    "time to train": lambda row: _time(seconds_to_train(row)),
    "device-hours": lambda row: _hours(hours(row)),
  }
  note = (
    "Time of training steps alone, for as many epochs or steps as the config "
    "has, whatever the batch: whether so large a batch trains as well is "
    "another question. A plan takes all published images of a data set for an "
    "epoch. Compiling, evaluation and checkpoints come on top."
  )
  if prices:
    columns["USD"] = lambda row: _number(cost(row), ",.2f")
    listed = ", ".join(f"{chip} {usd:g}" for chip, usd in prices.items())
    note += f" Prices in USD per device and hour, as given: {listed}."
  rows = [row for row in measured if row.repeats]
  rows += [row for row in predicted if row.fits]
  return _table(columns, rows, note)


def comparison(
  measured: Sequence[Measured],
  predicted: Sequence[Predicted],
  pairs: Sequence[Pair],
) -> Table:
  """Predictions beside measurements, and which of either have no pair."""
  cells = [
    (
      pair.measured.label,
      pair.predicted.chip,
      f"{pair.measured.devices}",
      f"{pair.measured.global_batch:,}",
      pair.measured.input,
      f"{pair.predicted.images_per_sec:,.0f}",
      f"{pair.measured.images_per_sec:,.0f}",
      f"{pair.error:+.0%}".replace("-", MINUS),
    )
    for pair in pairs
  ]
  paired = {(p.predicted.label, p.predicted.chip) for p in pairs}
  for label, chip in dict.fromkeys((row.label, row.chip) for row in predicted):
    if (label, chip) not in paired:
      cells.append((label, chip, *["-"] * 4, NOT_MEASURED, "-"))
  paired = {(p.measured.label, p.measured.device_kind) for p in pairs}
  for label, kind in dict.fromkeys((r.label, r.device_kind) for r in measured):
    if (label, kind) not in paired:
      known = accelerators.of_device_kind(kind) is not None
      reason = "not planned" if known else "no published rates"
      cells.append((label, kind, *["-"] * 3, reason, "measured", "-"))
  titles = ("network", "on", "devices", "batch", "input")
  return Table(
    (*titles, "predicted images/s", "measured images/s", "error"),
    cells,
    "The error is that of the prediction, as a share of the measurement.",
  )


def is_called(name: str, kind: str) -> bool:
  """Whether the user's name of a chip means a chip or kind of device."""
  chip = accelerators.of_device_kind(kind)
  names = {kind.lower()} if chip is None else {kind.lower(), chip.name.lower()}
  return name.lower() in names


def _table(columns: _Columns, rows: Sequence[Any], note: str) -> Table:
  cells = [tuple(cell(row) for cell in columns.values()) for row in rows]
  return Table(tuple(columns), cells, note)


def _kind(row: Measured | Predicted) -> str:
  return row.chip if isinstance(row, Predicted) else row.device_kind


def _devices(row: Measured | Predicted) -> int:
  return row.count if isinstance(row, Predicted) else row.devices


def _number(value: float | None, spec: str) -> str:
  return "-" if value is None else format(value, spec)


def _milliseconds(seconds: float | None) -> str:
  """Three digits or more; '-' where it is not known."""
  if seconds is None:
    return "-"
  value = 1e3 * seconds
  return f"{value:,.{max(0, 3 - len(str(int(value))))}f}"


def _time(seconds: float | None) -> str:
  if seconds is None:
    return "-"
  return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _hours(hours: float | None) -> str:
  return _number(hours, ",.2f" if hours and hours >= 1 else ".2g")
