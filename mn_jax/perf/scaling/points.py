"""The points of a scaling series: which there are, and their files.

A point is one measurement: so many devices in so many processes, on a fixed
batch per device (weak scaling) or a fixed batch (strong scaling), fed in one
of three ways, once. `FOLDER/points/NAME.json` has its result, or why there is
none. Nothing here knows JAX.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

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
# Where things lie on a computer changes nothing that is measured.
_PLACES = ("data.path", "data.cache_dir")


@dataclasses.dataclass(frozen=True)
class Point:
  """One measurement.

  Attributes:
    scaling: of SCALINGS.
    input: of INPUTS.
    devices: in all processes.
    processes: that share them equally.
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
    """Of its file."""
    return (
      f"{self.scaling}-{self.input}-{self.devices}dev-{self.processes}proc-"
      f"batch{self.global_batch}-repeat{self.repeat}"
    )

  def title(self) -> str:
    """What names it in the terminal."""
    return (
      f"{self.scaling}, {self.input}, {_count(self.devices, 'device')} in "
      f"{_count(self.processes, 'process', 'processes')}, batch "
      f"{self.global_batch}, repeat {self.repeat}"
    )


@dataclasses.dataclass(frozen=True)
class Series:
  """What is asked for.

  Attributes:
    scalings: of SCALINGS.
    inputs: of INPUTS.
    devices: counts of devices, rising.
    processes: counts of processes; each is taken with the counts of devices
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
        f"--batch_per_device: got {self.batch_per_device}; valid: a multiple "
        f"of {accumulate}, optim.accumulate"
      )
    for count in self.devices:
      multiple = count * accumulate
      if "strong" in self.scalings and self.global_batch % multiple:
        raise InputError(
          f"--global_batch: got {self.global_batch} for {count} devices; "
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
    """All of them, repeat by repeat: a noisy hour hits all alike."""
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


def path(folder: pathlib.Path, point: Point) -> pathlib.Path:
  """The file of a point."""
  return folder / "points" / f"{point.name}.json"


def write(
  folder: pathlib.Path, point: Point, record: Mapping[str, Any]
) -> None:
  """Puts a point's file in place whole.

  Args:
    folder: of the series.
    point: which.
    record: what is known of it, besides what the point itself says.
  """
  record = {**dataclasses.asdict(point), **record}
  atomic.write_json(path(folder, point), record)


def read(file: pathlib.Path) -> dict[str, Any] | None:
  """A point's record; None where there is none, or no JSON object."""
  try:
    record = json.loads(file.read_text())
  except (OSError, ValueError):
    return None
  return record if isinstance(record, dict) else None


def why_anew(
  folder: pathlib.Path, point: Point, now: Mapping[str, Any]
) -> str | None:
  """Why a point is to be measured, or None where that is done.

  Args:
    folder: of the series.
    point: which.
    now: 'config', 'steps' and 'versions' of this measurement.

  Returns:
    '' for one that was never measured, otherwise the reason in words.

  Raises:
    InputError: if it was measured with another config or number of steps,
      with which this one could not stand in one table.
  """
  file = path(folder, point)
  if not file.exists():
    return ""
  record = read(file)
  if record is None or not now.keys() <= record.keys():
    return f"{file.name} is damaged"
  differ = [
    f"{name}: {there!r} there, {here!r} now"
    for name, there, here in _differences(record, now)
  ]
  if differ:
    raise InputError(
      f"--output: got {str(folder)!r}, whose {file.name} was measured "
      f"otherwise ({'; '.join(differ)}); valid: another folder, or the same "
      "values"
    )
  if "failed" in record:
    return "it failed before"
  if record["versions"] != now["versions"]:
    changed = [
      f"{name} {record['versions'].get(name)} there, {version} now"
      for name, version in now["versions"].items()
      if record["versions"].get(name) != version
    ]
    return f"other versions: {', '.join(changed) or 'fewer now'}"
  return None


def _differences(
  record: Mapping[str, Any], now: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
  """(name, value there, value now) of what may not differ."""
  there, here = (
    {**flat(found["config"]), "--steps": found["steps"]}
    for found in (record, now)
  )
  return [
    (name, there.get(name), here.get(name))
    for name in sorted(there.keys() | here.keys())
    if there.get(name) != here.get(name) and name not in _PLACES
  ]


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
  """'section.field' -> value."""
  found = {}
  for name, value in config.items():
    if isinstance(value, Mapping):
      found |= {f"{name}.{field}": each for field, each in value.items()}
    else:
      found[name] = value
  return found


def _count(number: int, one: str, several: str = "") -> str:
  return f"{number} {one if number == 1 else several or one + 's'}"
