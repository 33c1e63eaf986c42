"""Folders of measurements and plans, written by hand."""

import json
import pathlib

from mn_jax import config as config_lib
from mn_jax.config import changes
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.points import Point

VERSIONS = {"python": "3.12.1", "jax": "0.12.0"}
COMMAND = "python -m mn_jax.tools.scaling measure --config=configs/a.py"
PLAN = "python -m mn_jax.tools.scaling plan --config=configs/a.py"


def config(**fields) -> dict:
  """All fields as JSON has them; `train__steps=3` changes train.steps."""
  values = config_lib.default()
  values.update_from_flattened_dict(
    {"train.epochs": 2.0}
    | {name.replace("__", "."): value for name, value in fields.items()}
  )
  return changes.plain(values.to_dict())


def point(devices=1, repeat=1, **fields) -> Point:
  """A point of weak scaling with four images per device."""
  given = {"scaling": "weak", "input": "synthetic", "processes": 1, **fields}
  given.setdefault("global_batch", 4 * devices)
  return Point(devices=devices, repeat=repeat, **given)


def record(rate: float, of: Point, **fields) -> dict:
  """What a measurement says of a point.

  Args:
    rate: images/s.
    of: the point.
    fields: that differ from the usual.
  """
  return {
    "images_per_sec": rate,
    "images_per_sec_per_device": rate / of.devices,
    "step_seconds": {
      "p50": of.global_batch / rate,
      "p95": 1.5 * of.global_batch / rate,
    },
    "mfu": None,
    "peak_memory_bytes": 3 << 20,
    "data_wait_share": 0.25,
    "collective_share": 0.125,
    "compile_seconds": 7.0,
    "device_kind": "cpu",
    "train_examples": None,
    "machine": {
      "cpu": "Abacus",
      "cores": 2,
      "system": "Linux",
      "date": "2026-01-02 03:04 UTC",
    },
    "config": config(),
    "steps": 5,
    "versions": VERSIONS,
    "command": COMMAND,
    **fields,
  }


def write(folder: pathlib.Path, found: dict[Point, dict]) -> pathlib.Path:
  """A folder of points."""
  for each, what in found.items():
    points.write(folder, each, what)
  return folder


def failure(reason: str, **fields) -> dict:
  """The record of a point that could not be measured."""
  kept = ("config", "steps", "versions", "command")
  usual = record(1.0, point(), **fields)
  return {"failed": reason, **{name: usual[name] for name in kept}}


def plan_row(chip: str, count: int, rate: float, **fields) -> dict:
  """A row of a plan of weak scaling with four images per chip."""
  return {
    "chip": chip,
    "count": count,
    "topology": f"1x{count}",
    "scaling": "weak",
    "batch_per_chip": 4,
    "global_batch": 4 * count,
    "fits": True,
    "memory_bytes": 3 << 30,
    "memory_limit": 16 << 30,
    "flops": 1e12,
    "bytes": 1e9,
    "collectives": [
      {"kind": "all-reduce", "count": 7, "bytes": 2e6, "overlapped": True}
    ],
    "bound": "memory",
    "step_seconds": 4 * count / rate,
    "images_per_sec": rate,
    "efficiency": 1.0,
    # Of 3,600 images.
    "chip_hours_per_epoch": count / rate,
    "compiled": True,
    "note": "",
    **fields,
  }


def refused_row(chip: str, count: int, note: str) -> dict:
  """A row of a plan whose step does not fit."""
  nothing = (
    "flops",
    "bytes",
    "bound",
    "step_seconds",
    "images_per_sec",
    "efficiency",
    "chip_hours_per_epoch",
  )
  return plan_row(
    chip, count, 1.0, fits=False, note=note, collectives=[]
  ) | dict.fromkeys(nothing)


def write_plan(
  folder: pathlib.Path, rows: list[dict], **fields
) -> pathlib.Path:
  """A folder of a plan, whose config has 'section.field' as its names."""
  folder.mkdir(parents=True, exist_ok=True)
  plan = {
    "versions": VERSIONS,
    "command": PLAN,
    "config": changes.flat(config()),
    "rows": rows,
    **fields,
  }
  (folder / "plan.json").write_text(json.dumps(plan))
  return folder
