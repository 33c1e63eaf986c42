"""The tables of scaling reports."""

from collections.abc import Mapping, Sequence

from mn_jax.observe.formatting import MINUS, duration
from mn_jax.parallel import accelerators
from mn_jax.perf.scaling.reporting.planned import Pair, Planned
from mn_jax.perf.scaling.reporting.series import Row
from mn_jax.report.tables import Table

# What a cell says of what is not known, and of what has no meaning.
NOT_MEASURED, NOT_COMPILED = "not measured", "not compiled"
_NOTHING = "-"
# Chip or kind of device in lower case -> US dollars an hour.
Prices = Mapping[str, float]


def speed(rows: Sequence[Row]) -> Table:
  """How fast each number of devices was."""
  cells = []
  for row in rows:
    place = _place(row)
    if not row.repeats:
      cells.append((*place, *["-"] * 6, f"{NOT_MEASURED}: {row.failed}"))
      continue
    cells.append(
      (
        *place,
        f"{row.images_per_sec:,.0f}",
        f"{row.images_per_sec / row.devices:,.0f}",
        _ratio(row.speed_up),
        percent(row.efficiency),
        interval(row),
        f"{row.repeats}",
        f"a repeat failed: {row.failed}" if row.failed else "",
      )
    )
  titles = [*_PLACE, "images/s", "per device", "speed-up", "efficiency"]
  titles += ["95 %", "repeats", ""]
  if not any(row.failed for row in rows):
    cells = [cell[:-1] for cell in cells]
    titles.pop()
  return Table(
    tuple(titles),
    cells,
    "Medians over repeats. Speed-up and efficiency are those over the smallest "
    "count of the same series; the interval is that of the efficiency, from "
    "drawing repeats with replacement, and of few repeats a rough one.",
  )


def time_spent(rows: Sequence[Row]) -> Table:
  """Where the time of the same rows went."""
  cells = [
    (
      *_place(row),
      milliseconds(row.p50),
      milliseconds(row.p95),
      percent(row.data_wait),
      percent(row.collectives),
      percent(row.mfu),
      _NOTHING if row.memory is None else f"{row.memory / 2**20:,.0f}",
      _NOTHING if row.compile_seconds is None else f"{row.compile_seconds:.1f}",
    )
    for row in rows
    if row.repeats
  ]
  return Table(
    (
      *_PLACE,
      "step p50, ms",
      "p95, ms",
      "data wait",
      "collectives",
      "MFU",
      "MiB",
      "compile, s",
    ),
    cells,
    "Data wait is waiting for the next batch of the loader; sending it belongs "
    "to the step. Collectives: the share of a traced device's time in them, "
    "waiting for other devices included. MiB are the most of one device, or of "
    "the first process where devices use the host's memory. MFU is undefined "
    "where the peak is not known.",
  )


def plan(rows: Sequence[Planned]) -> Table:
  """What is predicted, and what does not fit."""
  cells = []
  for row in rows:
    head = (row.chip, f"{row.count}", row.topology or _NOTHING, row.scaling)
    batch = (_count(row.batch_per_chip), _count(row.global_batch))
    memory = _NOTHING
    if row.memory_bytes is not None:
      memory = f"{row.memory_bytes / 2**30:.2f} of {_gib(row.memory_limit)}"
    if not row.fits:
      cells.append((*head, *batch, memory, *["-"] * 6, _refusal(row)))
      continue
    cells.append(
      (
        *head,
        *batch,
        memory,
        milliseconds(row.step_seconds),
        f"{row.images_per_sec:,.0f}",
        _ratio(row.speed_up),
        percent(row.efficiency),
        row.bound or _NOTHING,
        _collectives(row),
        _remark(row),
      )
    )
  return Table(
    (
      "chip",
      "chips",
      "slice",
      "scaling",
      "batch per chip",
      "batch",
      "GiB per chip",
      "step, ms",
      "images/s",
      "speed-up",
      "efficiency",
      "bound by",
      "collectives",
      "",
    ),
    cells,
    "Predicted from the compiled or counted step and published rates, which "
    "are reached only in the best case: images/s are an upper limit.",
  )


def overview(
  measured: Sequence[Row], planned: Sequence[Planned], prices: Prices
) -> Table:
  """Speed of each number of devices, and time and cost of a whole run.

  Args:
    measured: rows; those without a measurement are left out.
    planned: rows; those that do not fit are left out.
    prices: an empty one leaves the column out.
  """
  cells = []
  for row in measured:
    if row.repeats:
      how = f"measured, {row.input}"
      if row.processes > 1:
        how += f", {row.processes} processes"
      cells.append(
        (
          *_told(row, row.device_kind, row.devices, how),
          *_cost(row.seconds_to_train, row.devices, row.device_kind, prices),
        )
      )
  for row in planned:
    if row.fits:
      cells.append(
        (
          *_told(row, row.chip, row.count, "predicted"),
          *_cost(row.seconds_to_train, row.count, row.chip, prices),
        )
      )
  titles = ["network", "on", "devices", "scaling", "batch", "how"]
  titles += ["images/s", "efficiency", "time to train", "device-hours"]
  note = (
    "Time of training steps alone, for as many epochs or steps as the config "
    "has, whatever the batch: whether so large a batch trains as well is "
    "another question. A plan takes all published images of a data set for an "
    "epoch. Compiling, evaluation and checkpoints come on top."
  )
  if prices:
    titles.append("USD")
    listed = ", ".join(f"{chip} {usd:g}" for chip, usd in prices.items())
    note += f" Prices in USD per device and hour, as given: {listed}."
  return Table(tuple(titles), cells, note)


def comparison(
  measured: Sequence[Row], planned: Sequence[Planned], pairs: Sequence[Pair]
) -> Table:
  """Predictions beside measurements, and which of either stand alone."""
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
  seen = {(pair.predicted.label, pair.predicted.chip) for pair in pairs}
  for label, chip in dict.fromkeys((row.label, row.chip) for row in planned):
    if (label, chip) not in seen:
      cells.append((label, chip, *["-"] * 4, NOT_MEASURED, "-"))
  seen = {(pair.measured.label, pair.measured.device_kind) for pair in pairs}
  for label, kind in dict.fromkeys((r.label, r.device_kind) for r in measured):
    if (label, kind) not in seen:
      reason = "not planned"
      if accelerators.of_device_kind(kind) is None:
        reason = "no published rates"
      cells.append((label, kind, *["-"] * 3, reason, "measured", "-"))
  return Table(
    (
      "network",
      "on",
      "devices",
      "batch",
      "input",
      "predicted images/s",
      "measured images/s",
      "error",
    ),
    cells,
    "The error is that of the prediction, as a share of the measurement.",
  )


def _time(seconds: float) -> str:
  return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _price(name: str, prices: Prices) -> float | None:
  for given, price in prices.items():
    if is_price_of(given, name):
      return price
  return None


def is_price_of(given: str, name: str) -> bool:
  """Whether the user's name of a chip means a chip or kind of device."""
  chip = accelerators.of_device_kind(name)
  names = [name, *([] if chip is None else [chip.name])]
  return given.lower() in [each.lower() for each in names]


def _told(
  row: Row | Planned, kind: str, devices: int, how: str
) -> tuple[str, ...]:
  """The cells that a measured and a predicted row share."""
  return (
    row.label,
    kind,
    f"{devices}",
    row.scaling,
    f"{row.global_batch:,}",
    how,
    f"{row.images_per_sec:,.0f}",
    percent(row.efficiency),
  )


def _cost(
  seconds: float | None, devices: int, kind: str, prices: Prices
) -> tuple[str, ...]:
  """Time to train, hours of all devices and, with prices, their cost."""
  price = _price(kind, prices)
  if seconds is None:
    return ("-",) * (3 if prices else 2)
  hours = seconds * devices / 3600
  cells = (_time(seconds), f"{hours:,.2f}" if hours >= 1 else f"{hours:.2g}")
  if not prices:
    return cells
  return (*cells, _NOTHING if price is None else f"{hours * price:,.2f}")


_PLACE = ("scaling", "input", "devices", "processes", "batch")


def _place(row: Row) -> tuple[str, ...]:
  return (
    row.scaling,
    row.input,
    f"{row.devices}",
    f"{row.processes}",
    f"{row.global_batch:,}",
  )


def interval(row: Row) -> str:
  """The 95 % interval of a row's efficiency."""
  if row.interval is None:
    return _NOTHING
  low, high = row.interval
  return f"{low:.1%} to {high:.1%}"


def percent(share: float | None) -> str:
  """One decimal; '-' where it is not known."""
  return _NOTHING if share is None else f"{share:.1%}"


def milliseconds(seconds: float | None) -> str:
  """Three digits or more; '-' where it is not known."""
  if seconds is None:
    return _NOTHING
  value = 1e3 * seconds
  return f"{value:,.{max(0, 3 - len(str(int(value))))}f}"


def _ratio(value: float | None) -> str:
  return _NOTHING if value is None else f"{value:.2f}"


def _count(value: int | None) -> str:
  return _NOTHING if value is None else f"{value:,}"


def _gib(value: float | None) -> str:
  return _NOTHING if value is None else f"{value / 2**30:.2f}"


def _refusal(row: Planned) -> str:
  return f"does not fit: {row.note}" if row.note else "does not fit"


def _remark(row: Planned) -> str:
  words = [row.note] if row.note else []
  if not row.compiled and NOT_COMPILED not in (row.note or ""):
    words.insert(0, NOT_COMPILED)
  return "; ".join(words)


def _collectives(row: Planned) -> str:
  """'107 all-reduce, 12.3 MB, overlapped' of each sort."""
  return "; ".join(
    f"{each['count']:,} {each['kind']}, {each['bytes'] / 1e6:,.1f} MB"
    + (", overlapped" if each["overlapped"] else "")
    for each in row.collectives
  )
