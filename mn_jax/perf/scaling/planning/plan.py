"""What slices of accelerators would give, before any is rented.

The training step is compiled for TPUs (`aot`) or counted for GPUs (`counted`),
and its time predicted from published rates (`predict`). A plan is a folder:
plan.json, and the compiled steps in compiles/, which are not compiled again.
"""

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import jax

from mn_jax import config as config_lib
from mn_jax.config import Config
from mn_jax.data import atomic
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel.accelerators import ACCELERATORS, Accelerator
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.planning import aot, predict
from mn_jax.perf.scaling.planning.compiles import Compiles
from mn_jax.perf.scaling.planning.rows import Planner, PlanRow
from mn_jax.run import network

FILE = "plan.json"


def run(
  config: Config,
  *,
  chips: Sequence[str],
  counts: Sequence[int],
  batch_per_chip: int | None,
  scaling: str,
  output: pathlib.Path,
  console: Console,
  compile_counts: Sequence[int] | None = None,
) -> list[PlanRow]:
  """Plans, writes plan.json and prints a table for each kind of chip.

  Args:
    config: of one run.
    chips: names in `accelerators.ACCELERATORS`.
    counts: numbers of chips.
    batch_per_chip: images per step of each chip in weak scaling, where None is
      the most that fit. Strong scaling divides `train.batch_size`; None there.
    scaling: of `points.SCALINGS`.
    output: folder of the plan.
    console: for people.
    compile_counts: in weak scaling, those of `counts` whose programs are
      compiled; the others take the program of the nearest, and say so. None:
      all are compiled.

  Raises:
    InputError: for arguments that cannot be planned.
    KeyboardInterrupt: when what is compiled is kept.
  """
  _check(chips, counts, batch_per_chip, scaling, compile_counts)
  network.check(config)
  # Compiling for TPUs must not look for one here.
  jax.config.update("jax_platforms", "cpu")
  planner = Planner(
    config,
    Compiles(config, output / "compiles", console),
    scaling=scaling,
    compile_counts=compile_counts,
  )
  rows = []
  for name in chips:
    found = planner.rows(
      ACCELERATORS[name], sorted(set(counts)), batch_per_chip
    )
    _show(console, ACCELERATORS[name], found)
    rows += found
  path = output / FILE
  atomic.write_json(path, _as_dict(config, chips, rows))
  console.line(f"Plan: {path}")
  return rows


def _check(
  chips: Sequence[str],
  counts: Sequence[int],
  batch_per_chip: int | None,
  scaling: str,
  compile_counts: Sequence[int] | None,
) -> None:
  unknown = [name for name in chips if name not in ACCELERATORS]
  if unknown or not chips:
    raise InputError(
      f"--chips: got {','.join(chips)!r}; valid: one or more of "
      f"{', '.join(ACCELERATORS)}"
    )
  if not counts or min(counts) < 1:
    raise InputError(
      f"--counts: got {','.join(map(str, counts))!r}; valid: 1 or more"
    )
  if scaling not in points.SCALINGS:
    raise InputError(
      f"--scaling: got {scaling!r}; valid: {', '.join(points.SCALINGS)}"
    )
  if batch_per_chip is not None and (batch_per_chip < 1 or scaling != "weak"):
    raise InputError(
      f"--batch_per_chip: got {batch_per_chip} with {scaling} scaling; valid: "
      "1 or more with weak scaling, none with strong, which divides the "
      "config's train.batch_size"
    )
  if compile_counts is not None and (
    scaling != "weak" or not set(compile_counts) <= set(counts)
  ):
    raise InputError(
      f"--compile_counts: got {','.join(map(str, compile_counts))!r} with "
      f"{scaling} scaling; valid: some of --counts, with weak scaling"
    )


def _as_dict(
  config: Config, chips: Sequence[str], rows: Sequence[PlanRow]
) -> dict[str, Any]:
  """The plan as JSON."""
  return {
    "versions": aot.versions(),
    "command": shlex.join(
      ["python", "-m", "mn_jax.tools.scaling", *sys.argv[1:]]
    ),
    "config": config_lib.result_fields(config),
    "images_per_epoch": registry.get(config.data.name).images,
    "shares": dataclasses.asdict(predict.Shares()),
    "accelerators": {
      name: {
        key: dataclasses.asdict(figure)
        for key, figure in ACCELERATORS[name].figures().items()
      }
      for name in chips
    },
    "rows": [dataclasses.asdict(row) for row in rows],
  }


def _show(console: Console, chip: Accelerator, rows: Sequence[PlanRow]) -> None:
  """A table, and what does not fit one by one."""
  fitting = [row for row in rows if row.fits]
  if fitting:
    console.table(
      f"{chip.name}, {fitting[0].scaling} scaling",
      (
        "slice",
        "chips",
        "batch",
        "GiB",
        "ms",
        "images/s",
        "efficiency",
        "bound",
      ),
      [
        (
          row.topology,
          f"{row.count}",
          f"{row.global_batch:,}",
          f"{row.memory_bytes / 2**30:.2f}",
          f"{row.step_seconds * 1e3:.2f}",
          f"{row.images_per_sec:,.0f}",
          f"{row.efficiency:.1%}",
          row.bound,
        )
        for row in fitting
      ],
    )
  for row in rows:
    if not row.fits:
      console.line(f"{row.count} x {chip.name}: {row.note}")
