"""The points of a scaling series, and their files.

A point is one measurement: a number of devices in a number of processes, with a
fixed batch per device (weak scaling) or a fixed global batch (strong scaling),
fed in one of three ways, once. `FOLDER/points/NAME.json` has its result, or the
reason why it failed. Nothing here imports JAX.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from mn_jax.config import changes
from mn_jax.data import atomic
from mn_jax.errors import InputError

SCALINGS = ("weak", "strong")
# All three take the very same training step, augmentation included, and differ
# in how its batches come:
#   synthetic  one random batch that stays on the devices
#   cached     the data set lives on the devices (`data.placement` 'device');
#              the host sends the rows of every batch
#   real       the host gathers every batch from the decoded images and sends
#              its pixels (`data.placement` 'host')
INPUTS = ("synthetic", "cached", "real")


@dataclasses.dataclass(frozen=True)
class Point:
  """One measurement.

  Attributes:
    scaling: of SCALINGS.
    input: of INPUTS.
    devices: in all processes.
    processes: that share the devices equally.
    global_batch: images per step over all devices.
    repeat: its number, from 1 on.
  """

  scaling: str
  input: str
  devices: int
  processes: int
  global_batch: int
  repeat: int

  @property
  def name(self) -> str:
    """The name of its file."""
    return (
      f"{self.scaling}-{self.input}-{self.devices}dev-{self.processes}proc-"
      f"batch{self.global_batch}-repeat{self.repeat}"
    )

  def title(self) -> str:
    """Its name in the terminal."""
    devices = f"{self.devices} device{'s' if self.devices > 1 else ''}"
    processes = f"{self.processes} process{'es' if self.processes > 1 else ''}"
    return (
      f"{self.scaling}, {self.input}, {devices} in {processes}, batch "
      f"{self.global_batch}, repeat {self.repeat}"
    )

  def path(self, folder: pathlib.Path) -> pathlib.Path:
    """Its file in the folder of a series."""
    return folder / "points" / f"{self.name}.json"


@dataclasses.dataclass(frozen=True)
class Series:
  """The points to measure.

  Attributes:
    scalings: of SCALINGS.
    inputs: of INPUTS.
    devices: counts of devices, rising.
    processes: counts of processes; each is combined with the counts of devices
      that it divides.
    batch_per_device: images per step and device of weak scaling.
    global_batch: images per step of strong scaling.
    repeats: measurements of each.
    steps: that are timed.
  """

  scalings: tuple[str, ...]
  inputs: tuple[str, ...]
  devices: tuple[int, ...]
  processes: tuple[int, ...]
  batch_per_device: int
  global_batch: int
  repeats: int
  steps: int

  def check(self, *, accumulate: int) -> None:
    """Refuses counts that do not divide.

    Args:
      accumulate: micro-batches per step, each of which all devices share.

    Raises:
      InputError: naming the flag.
    """
    if "weak" in self.scalings and self.batch_per_device % accumulate:
      raise InputError(
        f"--batch-per-device: got {self.batch_per_device}; valid: a multiple "
        f"of {accumulate}, optim.accumulate"
      )
    for count in self.devices:
      multiple = count * accumulate
      if "strong" in self.scalings and self.global_batch % multiple:
        raise InputError(
          f"--global-batch: got {self.global_batch} for {count} devices; "
          f"valid: a multiple of {multiple} ({count} devices x {accumulate} "
          "micro-batches)"
        )
    for count in self.processes:
      if all(devices % count for devices in self.devices):
        raise InputError(
          f"--processes: got {count}, which divides none of --devices="
          f"{','.join(map(str, self.devices))}; valid: a divisor of one"
        )

  def points(self) -> list[Point]:
    """All points, repeat by repeat: a noisy hour hits all alike."""
    return [
      Point(
        scaling=scaling,
        input=kind,
        devices=devices,
        processes=processes,
        global_batch=(
          self.batch_per_device * devices
          if scaling == "weak"
          else self.global_batch
        ),
        repeat=repeat,
      )
      for repeat in range(1, self.repeats + 1)
      for scaling in self.scalings
      for kind in self.inputs
      for devices in self.devices
      for processes in self.processes
      if devices % processes == 0
    ]


def write(
  folder: pathlib.Path, point: Point, record: Mapping[str, Any]
) -> None:
  """Writes a point's file: the fields of the point and those of `record`."""
  fields = {**dataclasses.asdict(point), **record}
  atomic.write_json(point.path(folder), fields)


def read(file: pathlib.Path) -> dict[str, Any] | None:
  """Reads a JSON object; None if there is no such file, or something else."""
  try:
    record = json.loads(file.read_bytes())
  except (OSError, ValueError):
    return None
  return record if isinstance(record, dict) else None


def why_again(
  folder: pathlib.Path, point: Point, now: Mapping[str, Any]
) -> str | None:
  """Decides whether a point has to be measured.

  Args:
    folder: of the series.
    point: which.
    now: 'config', 'steps' and 'versions' of this measurement.

  Returns:
    None if it was measured; '' if it never was; otherwise why it has to be
    measured again.

  Raises:
    InputError: if it was measured with another config or number of steps, so
      that the two do not belong in one table.
  """
  file = point.path(folder)
  if not file.exists():
    return ""
  record = read(file)
  if record is None or not now.keys() <= record.keys():
    return f"{file.name} is damaged"
  before, after = (
    {**changes.flat(fields["config"]), "--steps": fields["steps"]}
    for fields in (record, now)
  )
  differences = [
    f"{name}: {before.get(name)!r} there, {after.get(name)!r} now"
    for name in sorted(before.keys() | after.keys())
    if before.get(name) != after.get(name) and name not in changes.PLACES
  ]
  if differences:
    raise InputError(
      f"--output: got {str(folder)!r}, whose {file.name} was measured "
      f"otherwise ({'; '.join(differences)}); valid: another folder, or the "
      "same values"
    )
  if "failed" in record:
    return "it failed before"
  before, after = record["versions"], now["versions"]
  if before != after:
    differences = [
      f"{name} {before.get(name)} there, {version} now"
      for name, version in after.items()
      if before.get(name) != version
    ]
    return f"other versions: {', '.join(differences) or 'fewer now'}"
  return None
