"""Tables of scaling reports, of the rows of `rows`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mn_jax.observe.formatting import MINUS, duration, percent
from mn_jax.parallel import accelerators
from mn_jax.perf.scaling.report.rows import Row, series
from mn_jax.report.tables import Table

NOT_MEASURED, NOT_COMPILED = "not measured", "not compiled"
# Chip or kind of device -> US dollars per hour of one.
Prices = Mapping[str, float]


def _value(key: str, show: str | Callable[[Any], str] = "") -> Callable:
  """A column of a row's value, by a format or a function; '-' without one."""

  def cell(row: Row) -> str:
    if row[key] is None or row[key] == "":
      return "-"
    return show(row[key]) if callable(show) else format(row[key], show)

  return cell


def _milliseconds(seconds: float) -> str:
  """Three digits or more."""
  value = 1e3 * seconds
  return f"{value:,.{max(0, 3 - len(str(int(value))))}f}"


_TIME_NOTE = (
  "Time of training steps alone, for as many epochs or steps as the config "
  "has, whatever the batch: whether so large a batch trains as well is another "
  "question. A plan takes all published images of a data set for an epoch. "
  "Compiling, evaluation and checkpoints come on top."
)

# Title of a column -> its cell of a row.
_DEVICES = {
  "devices": _value("devices"),
  "processes": _value("processes"),
}
_POINT = {
  "scaling": _value("scaling"),
  "input": _value("input"),
  **_DEVICES,
  "batch": _value("global_batch", ","),
}
_SPEED = {
  "images/s": _value("images_per_sec", ",.0f"),
  "efficiency": _value("efficiency", percent),
}


def summary(rows: Sequence[Row]) -> Table:
  """Returns the part of the measurements that fits a terminal."""
  columns = {
    "": lambda row: f"{row['scaling']}, {row['input']}",
    **_DEVICES,
    **_SPEED,
    "step ms": _value("p50", _milliseconds),
  }
  return _table(columns, [row for row in rows if row["repeats"]], "")


def speed(rows: Sequence[Row]) -> Table:
  """Returns the measured speed of each number of devices."""

  def remark(row: Row) -> str:
    if not row["failed"]:
      return ""
    what = "a repeat failed" if row["repeats"] else NOT_MEASURED
    return f"{what}: {row['failed']}"

  columns = _POINT | {
    "images/s": _SPEED["images/s"],
    "per device": _value("images_per_sec_per_device", ",.0f"),
    "speed-up": _value("speed_up", ".2f"),
    "efficiency": _SPEED["efficiency"],
    "95 %": lambda row: " to ".join(map(percent, row["interval"] or [None])),
    "repeats": lambda row: f"{row['repeats'] or '-'}",
  }
  if any(row["failed"] for row in rows):
    columns[""] = remark
  return _table(
    columns,
    rows,
    "Medians over repeats. Speed-up and efficiency are relative to the "
    "smallest count of the same series; the interval of the efficiency is the "
    "bootstrap's over repeats, and with few repeats a rough one.",
  )


def time_spent(rows: Sequence[Row]) -> Table:
  """Returns what the time of each number of devices was spent on."""
  columns = _POINT | {
    "step p50, ms": _value("p50", _milliseconds),
    "p95, ms": _value("p95", _milliseconds),
    "data wait": _value("data_wait", percent),
    "collectives": _value("collectives", percent),
    "MFU": _value("mfu", percent),
    "MiB": _value("memory", lambda size: f"{size / 2**20:,.0f}"),
    "compile, s": _value("compile_seconds", ".1f"),
  }
  return _table(
    columns,
    [row for row in rows if row["repeats"]],
    "Data wait is waiting for the next batch of the loader; sending it belongs "
    "to the step. Collectives: the share of a device's time in them, waiting "
    "for other devices included. MiB is the peak of the fullest device, or of "
    "the first process where devices use the host's memory. MFU is undefined "
    "where the peak FLOP/s are not known.",
  )


def plan(rows: Sequence[Row]) -> Table:
  """Returns the predictions of a plan, with the reason where there is none."""

  def collectives(row: Row) -> str:
    if not row["fits"]:
      return "-"
    return "; ".join(
      f"{total['count']:,} {total['kind']}, {total['bytes'] / 1e6:,.2f} MB"
      + (", overlapped" if total["overlapped"] else "")
      for total in row["collectives"]
    )

  def remark(row: Row) -> str:
    note = row["note"]
    if not row["fits"]:
      return f"does not fit: {note}" if note else "does not fit"
    if row["compiled"] or NOT_COMPILED in note:
      return note
    return f"{NOT_COMPILED}; {note}" if note else NOT_COMPILED

  columns = {
    "chip": _value("chip"),
    "chips": _value("count"),
    "slice": _value("topology"),
    "scaling": _value("scaling"),
    "batch per chip": _value("batch_per_chip", ","),
    "batch": _value("global_batch", ","),
    "GiB per chip": _memory,
    "step, ms": _value("step_seconds", _milliseconds),
    "images/s": _SPEED["images/s"],
    "speed-up": _value("speed_up", ".2f"),
    "efficiency": _SPEED["efficiency"],
    "bound by": _value("bound"),
    "collectives": collectives,
    "": remark,
  }
  return _table(
    columns,
    rows,
    "Predicted from the compiled or counted step and published rates, which "
    "are reached only in the best case: images/s are an upper limit.",
  )


def programs(rows: Sequence[Row]) -> Table:
  """Returns what a step costs each chip: of each kind on its fewest chips."""

  def per_image(key: str, unit: float, show: str) -> Callable[[Row], str]:
    return lambda row: format(row[key] / row["batch_per_chip"] / unit, show)

  columns = {
    "chip": _value("chip"),
    "scaling": _value("scaling"),
    "chips": _value("count"),
    "batch per chip": _value("batch_per_chip", ","),
    "GiB per chip": _memory,
    "GFLOP an image": per_image("flops", 1e9, ",.2f"),
    "MB an image": per_image("bytes", 1e6, ",.1f"),
    "bound by": _value("bound"),
    "step, ms": _value("step_seconds", _milliseconds),
    "images/s": _SPEED["images/s"],
  }
  return _table(
    columns,
    _fewest(rows),
    "MB are read from and written to the chip's memory. GFLOP are those of all "
    "operations on TPUs, of products alone on GPUs. Bound by compute is, on "
    "TPUs, by the compiler's estimate of cycles.",
  )


def counted(rows: Sequence[Row]) -> Table:
  """Returns by how much the count from layers is off the compiled program."""

  def error(key: str) -> Callable[[Row], str]:
    return lambda row: _signed(row["counted"][key] / row[key] - 1)

  columns = {
    "chip": _value("chip"),
    "scaling": _value("scaling"),
    "chips": _value("count"),
    "batch per chip": _value("batch_per_chip", ","),
    "FLOPs": error("flops"),
    "bytes": error("bytes"),
    "memory": error("memory_bytes"),
    "step": error("step_seconds"),
  }
  return _table(
    columns,
    _fewest([row for row in rows if row["counted"]]),
    "Error of the count from the network's layers, which stands in for a "
    "program where the package that compiles for GPUs is missing, as a share "
    "of the compiled program.",
  )


def glance(ends: Sequence[tuple[Row, Row]], prices: Prices) -> Table:
  """Returns a row for each series: its fewest and its most devices.

  Args:
    ends: these two rows of each series, which may be the same one.
    prices: of devices; without any, the column of cost is left out.
  """

  def both(show: Callable[[Row], str]) -> Callable[[tuple[Row, Row]], str]:
    return lambda pair: " to ".join(dict.fromkeys(map(show, pair)))

  def batch(pair: tuple[Row, Row]) -> str:
    row = pair[0]
    if row["scaling"] == "strong":
      return f"{row['global_batch']:,} in all"
    return f"{row['global_batch'] // row['devices']:,}"

  columns = {
    "network": lambda pair: pair[0]["label"],
    "on": lambda pair: pair[0]["on"],
    "how": lambda pair: f"{pair[0]['how']}, {pair[0]['scaling']}",
    "batch per device": batch,
    "devices": both(_DEVICES["devices"]),
    "images/s": both(_SPEED["images/s"]),
    "efficiency": lambda pair: _SPEED["efficiency"](pair[1]),
    "time to train": both(_value("seconds", _time)),
    "device-hours": both(_value("device_hours", _hours)),
  }
  if prices:
    columns["USD"] = both(lambda row: _cost(row, prices))
  return _table(
    columns,
    ends,
    "From the fewest to the most devices of a series; the efficiency is that "
    f"of the most. {_TIME_NOTE}{_price_note(prices)}",
  )


def overview(rows: Sequence[Row], prices: Prices) -> Table:
  """Returns speed, and time and cost of a whole run, of each row with a speed.

  The column of cost is left out without prices.
  """
  columns = {
    "network": _value("label"),
    "on": _value("on"),
    "devices": _value("devices"),
    "scaling": _value("scaling"),
    "batch": _value("global_batch", ","),
    "how": _value("how"),
    **_SPEED,
    "time to train": _value("seconds", _time),
    "device-hours": _value("device_hours", _hours),
  }
  if prices:
    columns["USD"] = lambda row: _cost(row, prices)
  known = [row for row in rows if row["images_per_sec"] is not None]
  return _table(columns, known, _TIME_NOTE + _price_note(prices))


def comparison(
  measured: Sequence[Row],
  predicted: Sequence[Row],
  pairs: Sequence[tuple[Row, Row, float]],
) -> Table:
  """Returns predictions beside measurements, and which have no counterpart."""
  cells = [
    (
      row["label"],
      plan["on"],
      f"{row['devices']}",
      f"{row['global_batch']:,}",
      row["input"],
      f"{plan['images_per_sec']:,.0f}",
      f"{row['images_per_sec']:,.0f}",
      _signed(error),
    )
    for row, plan, error in pairs
  ]
  paired = {(r["label"], r["on"]) for pair in pairs for r in pair[:2]}
  for label, chip in dict.fromkeys((r["label"], r["on"]) for r in predicted):
    if (label, chip) not in paired:
      cells.append((label, chip, *["-"] * 4, NOT_MEASURED, "-"))
  for label, kind in dict.fromkeys((r["label"], r["on"]) for r in measured):
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
  """Returns whether a user's name means a chip or kind of device."""
  chip = accelerators.of_device_kind(kind)
  names = {kind.lower()} if chip is None else {kind.lower(), chip.name.lower()}
  return name.lower() in names


def _memory(row: Row) -> str:
  if row["memory_bytes"] is None:
    return "-"
  used, limit = row["memory_bytes"] / 2**30, row["memory_limit"] / 2**30
  return f"{used:.2f} of {limit:.2f}"


def _fewest(rows: Sequence[Row]) -> list[Row]:
  """Of each kind of chip and batch, the row of the fewest chips that fit."""
  first: dict[tuple[Any, ...], Row] = {}
  for row in rows:
    if row["fits"]:
      first.setdefault(series(row), row)
  return list(first.values())


def _cost(row: Row, prices: Prices) -> str:
  called = [price for n, price in prices.items() if is_called(n, row["on"])]
  if not called or row["device_hours"] is None:
    return "-"
  return f"{called[0] * row['device_hours']:,.2f}"


def _price_note(prices: Prices) -> str:
  if not prices:
    return ""
  listed = ", ".join(f"{chip} {usd:g}" for chip, usd in prices.items())
  return f" Prices in USD per device and hour, as given: {listed}."


def _signed(share: float) -> str:
  text = f"{share:+.0%}"
  return text[1:] if text[1:] == "0%" else text.replace("-", MINUS)


def _time(seconds: float) -> str:
  return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _hours(hours: float) -> str:
  return f"{hours:,.2f}" if hours >= 1 else f"{hours:.2g}"


def _table(
  columns: Mapping[str, Callable[[Any], str]], rows: Sequence[Any], note: str
) -> Table:
  cells = [tuple(cell(row) for cell in columns.values()) for row in rows]
  return Table(tuple(columns), cells, note)
