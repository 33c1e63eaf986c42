"""Rows of a scaling report: measured points, predictions, and pairs of both."""

import dataclasses
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.parallel import accelerators
from mn_jax.perf import ratio
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.plan.prediction import CollectiveTotal, PlanRow

Record = Mapping[str, Any]
# The fields of a record that repeats share, besides the label of its config.
_SHARED = ("device_kind", "scaling", "input", "devices", "processes")
_SHARED += ("global_batch",)
# The fields of every record, whether it was measured or failed.
_RECORD_KEYS = {field.name for field in dataclasses.fields(points.Point)}
_RECORD_KEYS |= {"config", "steps", "versions", "command"}
_PLAN_KEYS = {"versions", "command", "config", "rows"}


@dataclasses.dataclass(frozen=True)
class Measured:
  """Medians over the repeats of a point; None where nothing was measured.

  Attributes:
    label: of the network and its input size.
    device_kind: as JAX names it.
    scaling, input, devices, processes, global_batch: see `points.Point`.
    repeats: number of successful measurements.
    failed: why the last of the failed ones did; '' where none failed.
    images: to train; None where it is not known.
    images_per_sec: of all devices.
    p50, p95: seconds per step.
    data_wait, collectives: shares of the time.
    mfu: model FLOPs utilisation, a share of the devices' peak.
    memory: bytes.
    compile_seconds: to trace and compile the step.
    speed_up: over the row of its series with the fewest devices and processes.
    efficiency: images/s per device over that row's.
    interval: of the efficiency, 95 %; None with fewer than two repeats, and
      for that row itself.
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
  images: float | None
  images_per_sec: float | None
  p50: float | None
  p95: float | None
  data_wait: float | None
  collectives: float | None
  mfu: float | None
  memory: float | None
  compile_seconds: float | None
  speed_up: float | None = None
  efficiency: float | None = None
  interval: tuple[float, float] | None = None

  def series(self) -> tuple[Any, ...]:
    """What the rows of one series share."""
    size = self.global_batch
    if self.scaling == "weak":
      size //= self.devices
    return self.label, self.device_kind, self.scaling, self.input, size


@dataclasses.dataclass(frozen=True)
class Predicted(PlanRow):
  """A row of a plan.

  Attributes:
    label: of the network and its input size.
    images: to train; None where it is not known.
    speed_up: images/s over those of the fewest chips.
  """

  label: str = ""
  images: float | None = None
  speed_up: float | None = None

  def series(self) -> tuple[Any, ...]:
    """What the rows of one series share."""
    size = self.batch_per_chip if self.scaling == "weak" else self.global_batch
    return self.label, self.chip, self.scaling, size


@dataclasses.dataclass(frozen=True)
class Pair:
  """A measurement with its prediction.

  Attributes:
    measured, predicted: of the same chips, network and batch.
    error: by what share the predicted images/s are above the measured.
  """

  measured: Measured
  predicted: Predicted
  error: float


def seconds_to_train(row: Measured | Predicted) -> float | None:
  """Time of all training steps alone; None where it is not known."""
  if row.images is None or row.images_per_sec is None:
    return None
  return row.images / row.images_per_sec


def read_points(folder: pathlib.Path) -> list[Record]:
  """Reads the records of a folder's points, by name.

  Raises:
    InputError: if one cannot be used.
  """
  records = []
  for file in sorted((folder / "points").glob("*.json")):
    record = points.read(file)
    if record is None or not record.keys() >= _RECORD_KEYS:
      raise InputError(
        f"got {str(file)!r}, which is damaged or of another version; valid: "
        "what this program wrote"
      )
    records.append(record)
  kinds = {r["device_kind"] for r in records if "device_kind" in r}
  kind = min(kinds, default="unknown device")
  return [{"device_kind": kind, **record} for record in records]


def summarize(records: Iterable[Record]) -> list[Measured]:
  """Summarizes points over repeats: series by series, by number of devices."""
  groups: dict[tuple[Any, ...], list[Record]] = {}
  # Synthetic input has no number of images; that of the other inputs counts.
  examples: dict[tuple[Any, ...], int] = {}
  for record in records:
    key = (label(record["config"]), *(record[name] for name in _SHARED))
    groups.setdefault(key, []).append(record)
    count = record.get("train_examples")
    if count is not None:
      examples[key[:2]] = max(count, examples.get(key[:2], 0))
  rows = {
    key: _medians(key, group, examples.get(key[:2]))
    for key, group in groups.items()
  }
  # Group -> repeat -> images/s per device.
  rates = {
    key: {
      r["repeat"]: r["images_per_sec_per_device"]
      for r in group
      if "failed" not in r
    }
    for key, group in groups.items()
  }
  for key, row in rows.items():
    series = [k for k in rows if rows[k].series() == row.series() and rates[k]]
    if not rates[key]:
      continue
    base = min(series, key=lambda k: (rows[k].devices, rows[k].processes))
    efficiency, interval = efficiency_over(rates[key], rates[base])
    rows[key] = dataclasses.replace(
      row,
      speed_up=row.images_per_sec / rows[base].images_per_sec,
      efficiency=efficiency,
      interval=None if key == base else interval,
    )
  return sorted(rows.values(), key=_order)


def efficiency_over(
  rates: Mapping[int, float], base: Mapping[int, float]
) -> tuple[float | None, tuple[float, float] | None]:
  """Efficiency and its 95 % interval, with repeats of the same number as pairs.

  Args:
    rates: repeat -> images/s per device.
    base: those of the smallest count of devices.

  Returns:
    The ratio of the medians over the repeats that both have, and its bootstrap
    interval; None where there are too few.
  """
  both = sorted(rates.keys() & base.keys())
  if not both:
    return None, None
  efficiency, interval = ratio.paired_ratio(
    [1 / rates[repeat] for repeat in both],
    [1 / base[repeat] for repeat in both],
  )
  return efficiency, interval if len(both) > 1 else None


def read_plan(folder: pathlib.Path) -> tuple[dict[str, Any], list[Predicted]]:
  """Reads a folder's plan: plan.json, and its rows.

  Raises:
    InputError: if it cannot be used.
  """
  path = folder / "plan.json"
  plan = points.read(path)
  if plan is None or not plan.keys() >= _PLAN_KEYS:
    raise InputError(
      f"got {str(path)!r}, which is damaged or no plan; valid: what `scaling "
      "plan` wrote"
    )
  for row in plan["rows"]:
    for field in dataclasses.fields(PlanRow):
      if field.default is dataclasses.MISSING and field.name not in row:
        raise InputError(
          f"got {str(path)!r} with a row without {field.name!r}; valid: a plan "
          "of this version"
        )
  return plan, [
    _predicted(plan["config"], r, plan["rows"]) for r in plan["rows"]
  ]


def pairs(
  measured: Sequence[Measured], predicted: Sequence[Predicted]
) -> list[Pair]:
  """Pairs measurements of published accelerators with their predictions."""
  paired = []
  for row in measured:
    chip = accelerators.of_device_kind(row.device_kind)
    if chip is None or row.images_per_sec is None:
      continue
    key = (row.label, chip.name, row.devices, row.global_batch, row.scaling)
    for plan in predicted:
      same = key == (
        plan.label,
        plan.chip,
        plan.count,
        plan.global_batch,
        plan.scaling,
      )
      if same and plan.images_per_sec:
        error = plan.images_per_sec / row.images_per_sec - 1
        paired.append(Pair(row, plan, error))
  return paired


def label(config: Mapping[str, Any]) -> str:
  """Names a network and its input size: 'mobilenet_v1, 224 px'.

  Measurements and predictions with the same label belong together; their data
  sets may differ.

  Args:
    config: all fields as JSON has them, by section or 'section.field'.
  """
  fields = points.flatten(config)
  words = [fields["model.name"]]
  if fields["model.width"] != 1:
    words.append(f"width {fields['model.width']:g}")
  words.append(f"{fields['model.resolution'] or fields['data.image_size']} px")
  if fields["model.dtype"] != "float32":
    words.append(fields["model.dtype"])
  if fields["model.transfer"] == "frozen":
    words.append("frozen backbone")
  return ", ".join(words)


def _images_to_train(
  config: Mapping[str, Any], epoch: float | None
) -> float | None:
  """Images of a whole run, `epoch` being those of an epoch; None if unknown."""
  fields = points.flatten(config)
  if fields["train.epochs"]:
    return None if epoch is None else fields["train.epochs"] * epoch
  steps = fields["train.steps"] * fields["train.batch_size"]
  return steps + fields["train.examples"]


def _medians(
  key: tuple[Any, ...], group: Sequence[Record], epoch: float | None
) -> Measured:
  """A row that is not compared with another one yet."""
  done = [record for record in group if "failed" not in record]
  failures = [record["failed"] for record in group if "failed" in record]

  def median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None

  def of(name: str) -> float | None:
    return median(record[name] for record in done)

  return Measured(
    *key,
    repeats=len(done),
    failed=failures[-1] if failures else "",
    images=_images_to_train(group[0]["config"], epoch),
    images_per_sec=of("images_per_sec"),
    p50=median(record["step_seconds"]["p50"] for record in done),
    p95=median(record["step_seconds"]["p95"] for record in done),
    data_wait=of("data_wait_share"),
    collectives=of("collective_share"),
    mfu=of("mfu"),
    memory=of("peak_memory_bytes"),
    compile_seconds=of("compile_seconds"),
  )


def _order(row: Measured) -> tuple[Any, ...]:
  return (
    row.label,
    row.device_kind,
    points.SCALINGS.index(row.scaling),
    points.INPUTS.index(row.input),
    row.series()[-1],
    row.devices,
    row.processes,
  )


def _predicted(
  config: Mapping[str, Any], row: Record, rows: Sequence[Record]
) -> Predicted:
  names = {field.name for field in dataclasses.fields(PlanRow)}
  fields = {name: value for name, value in row.items() if name in names}
  fields["collectives"] = tuple(
    CollectiveTotal(**total) for total in row.get("collectives", ())
  )
  rate, hours = fields.get("images_per_sec"), row.get("chip_hours_per_epoch")
  epoch = speed_up = None
  if rate is not None:
    epoch = None if hours is None else hours * 3600 / row["count"] * rate
    _, base = min(
      (other["count"], other["images_per_sec"])
      for other in rows
      if (other["chip"], other["scaling"]) == (row["chip"], row["scaling"])
      and other["images_per_sec"] is not None
    )
    speed_up = rate / base
  return Predicted(
    **fields,
    label=label(config),
    images=_images_to_train(config, epoch),
    speed_up=speed_up,
  )
