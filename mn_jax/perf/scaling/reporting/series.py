"""Measured points as rows: medians over repeats, efficiency with intervals."""

import dataclasses
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.perf.bench import compare
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.reporting import workload

Record = Mapping[str, Any]
_UNKNOWN = "unknown device"
# What a record has whether it was measured or failed.
_KEYS = {
  *(field.name for field in dataclasses.fields(points.Point)),
  "config",
  "steps",
  "versions",
  "command",
}


@dataclasses.dataclass(frozen=True)
class Row:
  """So many devices and processes, over all repeats.

  Numbers are medians over repeats, and None where nothing was measured.

  Attributes:
    label: of the network and its input.
    device_kind: as JAX names it.
    scaling, input, devices, processes, global_batch: of `points.Point`.
    repeats: that were measured.
    failed: why the last of the others was not; '' where all were.
    images_per_sec: of all devices.
    speed_up: over the row of its series with the fewest devices and processes.
    efficiency: images/s per device over that row's.
    interval: of the efficiency, 95 %; None with fewer than two repeats, and
      for that row itself.
    p50, p95: seconds per step.
    data_wait, collectives: shares of the time.
    mfu: of the devices' peak.
    memory: bytes.
    compile_seconds: to trace and compile the step.
    images: to train; None where it is not known.
  """

  label: str
  device_kind: str
  scaling: str
  input: str
  devices: int
  processes: int
  global_batch: int
  repeats: int
  failed: str
  images_per_sec: float | None
  speed_up: float | None
  efficiency: float | None
  interval: tuple[float, float] | None
  p50: float | None
  p95: float | None
  data_wait: float | None
  collectives: float | None
  mfu: float | None
  memory: float | None
  compile_seconds: float | None
  images: float | None

  @property
  def seconds_to_train(self) -> float | None:
    """Of steps alone: no compiling, evaluating or saving."""
    return workload.seconds(self.images, self.images_per_sec)

  def series(self) -> tuple[Any, ...]:
    """What rows of one series share."""
    size = self.global_batch
    if self.scaling == "weak":
      size //= self.devices
    return self.label, self.device_kind, self.scaling, self.input, size


def read(folder: pathlib.Path) -> list[Record]:
  """The records of a folder's points, by name.

  Raises:
    InputError: if one cannot be used.
  """
  found = []
  for file in sorted((folder / "points").glob("*.json")):
    record = points.read(file)
    if record is None or not record.keys() >= _KEYS:
      raise InputError(
        f"got {str(file)!r}, which is damaged or of another version; valid: "
        "what this program wrote"
      )
    found.append(record)
  kinds = {r["device_kind"] for r in found if "device_kind" in r}
  kind = min(kinds, default=_UNKNOWN)
  return [{"device_kind": kind, **record} for record in found]


def summarize(records: Iterable[Record]) -> list[Row]:
  """Rows in the order of a table: series by series, by devices."""
  by_place: dict[tuple[Any, ...], list[Record]] = {}
  for record in records:
    by_place.setdefault(_place(record), []).append(record)
  plain = [
    _row(place, found, _epoch(place, by_place))
    for place, found in by_place.items()
  ]
  rates = {
    place: {
      r["repeat"]: r["images_per_sec_per_device"]
      for r in found
      if "failed" not in r
    }
    for place, found in by_place.items()
  }
  rows = [_compared(row, plain, rates) for row in plain]
  return sorted(rows, key=_order)


def _order(row: Row) -> tuple[Any, ...]:
  return (
    row.label,
    row.device_kind,
    points.SCALINGS.index(row.scaling),
    points.INPUTS.index(row.input),
    row.series()[-1],
    row.devices,
    row.processes,
  )


def _place(record: Record) -> tuple[Any, ...]:
  return (
    workload.label(record["config"]),
    record["device_kind"],
    *(
      record[name]
      for name in ("scaling", "input", "devices", "processes", "global_batch")
    ),
  )


def _epoch(
  place: tuple[Any, ...], by_place: Mapping[tuple, Sequence[Record]]
) -> float | None:
  """Training images, of which synthetic input itself does not know."""
  known = [
    record["train_examples"]
    for other, found in by_place.items()
    if other[:2] == place[:2]
    for record in found
    if record.get("train_examples") is not None
  ]
  return max(known, default=None)


def _row(
  place: tuple[Any, ...], found: Sequence[Record], epoch: float | None
) -> Row:
  """A row that is compared with no other yet."""
  done = [record for record in found if "failed" not in record]
  failures = [record["failed"] for record in found if "failed" in record]

  def median(*names: str) -> float | None:
    values = []
    for record in done:
      value: Any = record
      for name in names:
        value = value[name]
      values.append(value)
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None

  return Row(
    *place,
    repeats=len(done),
    failed=failures[-1] if failures else "",
    images_per_sec=median("images_per_sec"),
    speed_up=None,
    efficiency=None,
    interval=None,
    p50=median("step_seconds", "p50"),
    p95=median("step_seconds", "p95"),
    data_wait=median("data_wait_share"),
    collectives=median("collective_share"),
    mfu=median("mfu"),
    memory=median("peak_memory_bytes"),
    compile_seconds=median("compile_seconds"),
    images=workload.images_to_train(found[0]["config"], epoch),
  )


def _compared(
  row: Row,
  rows: Sequence[Row],
  rates: Mapping[tuple[Any, ...], Mapping[int, float]],
) -> Row:
  """The row with its efficiency against the smallest of its series."""

  def key(of: Row) -> tuple[Any, ...]:
    return (
      of.label,
      of.device_kind,
      of.scaling,
      of.input,
      of.devices,
      of.processes,
      of.global_batch,
    )

  measured = [
    other for other in rows if other.series() == row.series() and other.repeats
  ]
  if not row.repeats:
    return row
  base = min(measured, key=lambda other: (other.devices, other.processes))
  here, there = rates[key(row)], rates[key(base)]
  efficiency, interval = efficiency_over(here, there)
  if row is base or efficiency is None:
    interval = None
  return dataclasses.replace(
    row,
    speed_up=row.images_per_sec / base.images_per_sec,
    efficiency=efficiency,
    interval=interval,
  )


def efficiency_over(
  here: Mapping[int, float], there: Mapping[int, float]
) -> tuple[float | None, tuple[float, float] | None]:
  """Efficiency and its 95 % interval, repeats of the same number as pairs.

  Args:
    here: repeat -> images/s per device.
    there: the same of the smallest count.

  Returns:
    The ratio of the medians over the repeats that both have, and an interval
    from drawing these with replacement; None where there are too few.
  """
  both = sorted(here.keys() & there.keys())
  if not both:
    return None, None
  found = compare.ratio(
    [1 / here[repeat] for repeat in both],
    [1 / there[repeat] for repeat in both],
  )
  low, high = found["ratio_interval"]
  return found["ratio"], (low, high) if len(both) > 1 else None
