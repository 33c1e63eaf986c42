"""Plans training on accelerators without having any: `tools.scaling plan`.

The training step is compiled (`compiled`), or for GPUs counted (`layer_counts`)
where their compiler is missing, and its time predicted from published rates
(`prediction`). A plan is a folder: plan.json, and the compiled steps in
compiled/, which are not compiled again.
"""

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Sequence

import jax

from mn_jax.config import Config
from mn_jax.config.experiment import result_fields
from mn_jax.data import atomic
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel.accelerators import ACCELERATORS, Accelerator
from mn_jax.perf.program import targets
from mn_jax.perf.scaling.plan import compiled
from mn_jax.perf.scaling.plan.compiled import CompiledSteps
from mn_jax.perf.scaling.plan.planner import Planner
from mn_jax.perf.scaling.plan.prediction import PlanRow
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
  """Predicts every row, writes plan.json and prints a table per kind of chip.

  Args:
    config: of one run.
    chips: names in `accelerators.ACCELERATORS`.
    counts: numbers of chips, in rising order.
    batch_per_chip: images per step of each chip in weak scaling, where None is
      the most that fit. Strong scaling divides `train.batch_size`; None there.
    scaling: of `points.SCALINGS`.
    output: folder of the plan.
    console: for people.
    compile_counts: in weak scaling, those of `counts` whose programs are
      compiled; the others take the program of the nearest, and say so. None:
      all are compiled.

  Raises:
    InputError: for arguments that do not go together, or a config that cannot
      be planned.
    KeyboardInterrupt: when what is compiled is kept.
  """
  if batch_per_chip is not None and scaling != "weak":
    raise InputError(
      f"--batch-per-chip: got {batch_per_chip} with strong scaling; valid: "
      "none, as strong scaling divides the config's train.batch_size"
    )
  if compile_counts is not None and (
    scaling != "weak" or not set(compile_counts) <= set(counts)
  ):
    raise InputError(
      f"--compile-counts: got {','.join(map(str, compile_counts))!r} with "
      f"{scaling} scaling; valid: some of --counts, with weak scaling"
    )
  network.check(config)
  # Compiling for accelerators must not look for one here.
  jax.config.update("jax_platforms", "cpu")
  planner = Planner(
    config,
    CompiledSteps(config, output / "compiled", console),
    scaling,
    compile_counts,
  )
  rows = []
  for name in chips:
    chip_rows = planner.rows(ACCELERATORS[name], counts, batch_per_chip)
    _print(console, ACCELERATORS[name], chip_rows)
    rows += chip_rows
  command = ["python", "-m", "mn_jax.tools.scaling", *sys.argv[1:]]
  plan = {
    "versions": compiled.versions([ACCELERATORS[name] for name in chips]),
    "command": shlex.join(command),
    "config": result_fields(config),
    "images_per_epoch": registry.get(config.data.name).images,
    "targets": {
      name: targets.description(ACCELERATORS[name]) for name in chips
    },
    "accelerators": {
      name: {
        key: dataclasses.asdict(figure)
        for key, figure in ACCELERATORS[name].figures().items()
      }
      for name in chips
    },
    "rows": [dataclasses.asdict(row) for row in rows],
  }
  atomic.write_json(output / FILE, plan)
  console.line(f"Plan: {output / FILE}")
  return rows


def _print(
  console: Console, chip: Accelerator, rows: Sequence[PlanRow]
) -> None:
  """Prints a table, its notes, and a line for each row that does not fit."""
  fitting = [row for row in rows if row.fits]
  if fitting:
    console.table(
      f"{chip.name}, {fitting[0].scaling} scaling",
      (
        *("slice", "chips", "batch", "GiB", "ms", "images/s"),
        *("efficiency", "bound"),
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
  for note in dict.fromkeys(row.note for row in fitting if row.note):
    counts = ", ".join(f"{row.count}" for row in fitting if row.note == note)
    console.line(f"{counts} x {chip.name}: {note}")
  for row in rows:
    if not row.fits:
      console.line(f"{row.count} x {chip.name}: {row.note}")
