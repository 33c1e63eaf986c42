"""Rows of a scaling report: measured points, predictions, and pairs of both.

A row is a dict. Measured and predicted rows share these keys, whose values are
None where they are not known:

  label             network and input size, see `label`
  on, devices       kind of device as JAX names it, or name of a chip; how many
  scaling           of `points.SCALINGS`
  global_batch      images per step over all devices
  how               'predicted', 'counted' or 'measured, real, 2 processes'
  images            to train
  images_per_sec    of all devices
  seconds           of all training steps alone
  device_hours      that these take
  speed_up          images/s over those of the fewest devices of the series
  efficiency        images/s per device over theirs

A measured row also has the fields of its `points.Point` that repeats share, the
number of successful 'repeats', why the last of the others 'failed' ('' if none
did), the 95 % 'interval' of its efficiency, and medians: seconds per step 'p50'
and 'p95', the shares 'data_wait', 'collectives' and 'mfu', bytes of 'memory',
and 'compile_seconds'. A predicted row also has the fields of its `PlanRow`.
"""

import dataclasses
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mn_jax.config import changes
from mn_jax.errors import InputError
from mn_jax.parallel import accelerators
from mn_jax.perf import ratio
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.plan.prediction import PlanRow

Record = Mapping[str, Any]
Row = dict[str, Any]
# The fields of a record that repeats share, besides the label of its config.
_SHARED = ("device_kind", "scaling", "input", "devices", "processes")
_SHARED += ("global_batch",)
# The fields of every record, whether it was measured or failed.
_RECORD_KEYS = {field.name for field in dataclasses.fields(points.Point)}
_RECORD_KEYS |= {"config", "steps", "versions", "command"}
_PLAN_KEYS = {"versions", "command", "config", "rows"}
# Key of a measured row -> field of a record.
_MEDIANS = {
  "images_per_sec": "images_per_sec",
  "images_per_sec_per_device": "images_per_sec_per_device",
  "data_wait": "data_wait_share",
  "collectives": "collective_share",
  "mfu": "mfu",
  "memory": "peak_memory_bytes",
  "compile_seconds": "compile_seconds",
}


def series(row: Row) -> tuple[Any, ...]:
  """Returns what the rows of one series share; the batch is last."""
  size = row["global_batch"]
  if row["scaling"] == "weak" and size is not None:
    size //= row["devices"]
  return row["label"], row["on"], row["scaling"], row.get("input"), size


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


def summarize(records: Iterable[Record]) -> list[Row]:
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
  rows, rates = [], []
  for key, group in groups.items():
    done = [record for record in group if "failed" not in record]
    # Repeat -> images/s per device.
    rates.append({r["repeat"]: r["images_per_sec_per_device"] for r in done})
    rows.append(_medians(group, done, examples.get(key[:2])))
  for i, row in enumerate(rows):
    if not rates[i]:
      continue
    same = (j for j, r in enumerate(rows) if series(r) == series(row))
    base = min(
      (j for j in same if rates[j]),
      key=lambda j: (rows[j]["devices"], rows[j]["processes"]),
    )
    row["speed_up"] = row["images_per_sec"] / rows[base]["images_per_sec"]
    row["efficiency"], interval = efficiency_over(rates[i], rates[base])
    row["interval"] = None if i == base else interval
  return sorted(rows, key=_order)


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


def read_plan(folder: pathlib.Path) -> tuple[dict[str, Any], list[Row]]:
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
  measured: Sequence[Row], predicted: Sequence[Row]
) -> list[tuple[Row, Row, float]]:
  """Pairs measurements of published accelerators with their predictions.

  Returns:
    Measured rows, predicted rows, and by what share the predicted images/s are
    above the measured.
  """
  paired = []
  for row in measured:
    chip = accelerators.of_device_kind(row["on"])
    if chip is None or row["images_per_sec"] is None:
      continue
    for plan in predicted:
      same = plan["on"] == chip.name and all(
        plan[key] == row[key]
        for key in ("label", "devices", "scaling", "global_batch")
      )
      if same and plan["images_per_sec"]:
        error = plan["images_per_sec"] / row["images_per_sec"] - 1
        paired.append((row, plan, error))
  return paired


def label(config: Mapping[str, Any]) -> str:
  """Names a network and its input size: 'mobilenet_v1, 224 px'.

  Measurements and predictions with the same label belong together; their data
  sets may differ.

  Args:
    config: all fields as JSON has them, by section or 'section.field'.
  """
  fields = changes.flat(config)
  words = [fields["model.name"]]
  if fields["model.width"] != 1:
    words.append(f"width {fields['model.width']:g}")
  words.append(f"{fields['model.resolution'] or fields['data.image_size']} px")
  if fields["model.dtype"] != "float32":
    words.append(fields["model.dtype"])
  if fields["model.transfer"] == "frozen":
    words.append("frozen backbone")
  return ", ".join(words)


def _training_time(
  config: Mapping[str, Any],
  epoch: float | None,
  images_per_sec: float | None,
  devices: int,
) -> Row:
  """A row's 'images', 'seconds' and 'device_hours'.

  Args:
    config: as in `label`.
    epoch: images of an epoch.
    images_per_sec: of all devices.
    devices: their number.
  """
  fields = changes.flat(config)
  images = fields["train.steps"] * fields["train.batch_size"]
  images += fields["train.examples"]
  if fields["train.epochs"]:
    images = None if epoch is None else fields["train.epochs"] * epoch
  known = None not in (images, images_per_sec)
  seconds = images / images_per_sec if known else None
  hours = seconds * devices / 3600 if known else None
  return {"images": images, "seconds": seconds, "device_hours": hours}


def _medians(
  group: Sequence[Record], done: Sequence[Record], epoch: float | None
) -> Row:
  """A row that is not compared with another one yet."""
  first = group[0]
  processes = first["processes"]
  several = f", {processes} processes" if processes > 1 else ""
  failures = [record["failed"] for record in group if "failed" in record]

  def median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None

  medians = {key: median(r[n] for r in done) for key, n in _MEDIANS.items()}
  return {
    "label": label(first["config"]),
    "on": first["device_kind"],
    **{name: first[name] for name in _SHARED[1:]},
    "how": f"measured, {first['input']}{several}",
    "repeats": len(done),
    "failed": failures[-1] if failures else "",
    **medians,
    **_training_time(
      first["config"], epoch, medians["images_per_sec"], first["devices"]
    ),
    **{
      key: median(record["step_seconds"][key] for record in done)
      for key in ("p50", "p95")
    },
    **dict.fromkeys(("speed_up", "efficiency", "interval")),
  }


def _order(row: Row) -> tuple[Any, ...]:
  return (
    row["label"],
    row["on"],
    points.SCALINGS.index(row["scaling"]),
    points.INPUTS.index(row["input"]),
    series(row)[-1],
    row["devices"],
    row["processes"],
  )


def _predicted(
  config: Mapping[str, Any], row: Record, rows: Sequence[Record]
) -> Row:
  fields = {
    field.name: row.get(field.name, field.default)
    for field in dataclasses.fields(PlanRow)
  }
  rate, hours = fields["images_per_sec"], fields["chip_hours_per_epoch"]
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
  return {
    **fields,
    "label": label(config),
    "on": row["chip"],
    "devices": row["count"],
    "how": "counted" if _is_counted(fields) else "predicted",
    **_training_time(config, epoch, rate, row["count"]),
    "speed_up": speed_up,
  }


def _is_counted(fields: Mapping[str, Any]) -> bool:
  """Whether a row comes from a count of layers: of a GPU without a program."""
  layout = accelerators.ACCELERATORS[fields["chip"]].layout
  return isinstance(layout, accelerators.Nodes) and fields["counted"] is None
