"""Predicted rows of a plan, and measured ones beside them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.parallel import accelerators
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.planning import predict
from mn_jax.perf.scaling.reporting import workload
from mn_jax.perf.scaling.reporting.series import Row

_KEYS = {"versions", "command", "config", "rows"}
_FIELDS = (
  "chip",
  "count",
  "topology",
  "scaling",
  "batch_per_chip",
  "global_batch",
  "fits",
  "memory_bytes",
  "memory_limit",
  "collectives",
  "bound",
  "step_seconds",
  "images_per_sec",
  "efficiency",
  "chip_hours_per_epoch",
  "compiled",
  "note",
)


@dataclasses.dataclass(frozen=True)
class Planned:
  """A number of chips as a plan sees it; None where nothing is predicted.

  Attributes:
    label: of the network and its input.
    chip: its name in `accelerators`.
    count: of chips.
    topology: of a slice; None for GPUs.
    scaling: 'weak' or 'strong'.
    batch_per_chip, global_batch: images per step.
    fits: whether the step has room in a chip's memory.
    memory_bytes, memory_limit: what it needs, and what there is.
    collectives: 'kind', 'count', 'bytes' and 'overlapped' of each sort.
    bound: what the step waits for most.
    step_seconds: of a step.
    images_per_sec: of all chips.
    efficiency: images/s per chip over those of the fewest chips.
    speed_up: images/s over those of the fewest chips.
    chip_hours_per_epoch: of all chips together.
    compiled: whether the numbers are of a program compiled for these chips.
    note: what a reader should know.
    images: to train; None where it is not known.
  """

  label: str
  chip: str
  count: int
  topology: str | None
  scaling: str
  batch_per_chip: int | None
  global_batch: int | None
  fits: bool
  memory_bytes: float | None
  memory_limit: float | None
  collectives: Sequence[Mapping[str, Any]]
  bound: str | None
  step_seconds: float | None
  images_per_sec: float | None
  efficiency: float | None
  speed_up: float | None
  chip_hours_per_epoch: float | None
  compiled: bool
  note: str | None
  images: float | None

  @property
  def seconds_to_train(self) -> float | None:
    """Of steps alone: no compiling, evaluating or saving."""
    return workload.seconds(self.images, self.images_per_sec)

  def series(self) -> tuple[Any, ...]:
    """What rows of one series share."""
    size = self.batch_per_chip if self.scaling == "weak" else self.global_batch
    return self.label, self.chip, self.scaling, size


@dataclasses.dataclass(frozen=True)
class Pair:
  """A measurement with its prediction.

  Attributes:
    measured, predicted: of the same chips, network and batch.
    error: by what share the predicted images/s are above the measured.
  """

  measured: Row
  predicted: Planned
  error: float


def read(folder: pathlib.Path) -> tuple[dict[str, Any], list[Planned]]:
  """A folder's plan: all of it, and its rows.

  Raises:
    InputError: if it cannot be used.
  """
  path = folder / "plan.json"
  plan = points.read(path)
  if plan is None or not plan.keys() >= _KEYS:
    raise InputError(
      f"got {str(path)!r}, which is damaged or no plan; valid: what `scaling "
      "plan` wrote"
    )
  rows = plan["rows"]
  for row in rows:
    missing = [name for name in _FIELDS if name not in row]
    if missing:
      raise InputError(
        f"got {str(path)!r} with a row without {missing[0]!r}; valid: a plan "
        "of this version"
      )
  return plan, [_row(plan["config"], row, rows) for row in rows]


def _row(
  config: Mapping[str, Any],
  row: Mapping[str, Any],
  rows: Sequence[Mapping[str, Any]],
) -> Planned:
  rate, epoch, speed_up = row["images_per_sec"], None, None
  if rate is not None:
    if row["chip_hours_per_epoch"] is not None:
      epoch = row["chip_hours_per_epoch"] * 3600 / row["count"] * rate
    series = [
      (other["count"], other["images_per_sec"])
      for other in rows
      if (other["chip"], other["scaling"]) == (row["chip"], row["scaling"])
      and other["images_per_sec"] is not None
    ]
    speed_up = rate / min(series)[1]
  return Planned(
    label=workload.label(config),
    speed_up=speed_up,
    images=workload.images_to_train(config, epoch),
    **{name: row[name] for name in _FIELDS},
  )


def pairs(measured: Sequence[Row], predicted: Sequence[Planned]) -> list[Pair]:
  """Measurements of chips that are published, with their predictions."""
  found = []
  for row in measured:
    chip = accelerators.of_device_kind(row.device_kind)
    if chip is None or row.images_per_sec is None:
      continue
    for plan in predicted:
      same = (plan.label, plan.chip, plan.count, plan.global_batch) == (
        row.label,
        chip.name,
        row.devices,
        row.global_batch,
      )
      if same and plan.scaling == row.scaling and plan.images_per_sec:
        error = predict.error(plan.images_per_sec, row.images_per_sec)
        found.append(Pair(row, plan, error))
  return found
