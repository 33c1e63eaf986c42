"""Searches a space: `python -m mn_jax.tools.sweep NAME`.

Each point and seed is a run of `mn_jax.main` in a folder and a process of its
own. Complete runs are skipped, stopped ones resume, and one that fails does not
stop the others. Validation ranks the points; the test result of the best one is
shown once all runs are complete, and of no other. `--index=K` runs only the
K-th, for an array of jobs; `--collect` only gathers results. Exit codes: 0 all
complete, 1 some failed, 2 a wrong argument, 130 stopped by Ctrl-C.
"""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Sequence

from mn_jax.commandline import program, study_arguments
from mn_jax.commandline.parser import Parser
from mn_jax.config import files
from mn_jax.observe.console import Console
from mn_jax.studies import ranking, runner, sweep, sweep_plan


def _parser() -> Parser:
  parser = study_arguments.parser(
    "sweep",
    description="Train the points of a sweep and rank them by validation.",
    example="idc_v2_learning_rate --seeds=3",
    seeds=1,
  )
  study_arguments.add_selection(parser, "sweep", "sweeps")
  parser.option(
    "--config",
    "NAME[:ARG]",
    "experiment (default: that of the sweep)",
    default="",
  )
  parser.add_overrides("changes a field of every point")
  return parser


def _plan(args: argparse.Namespace) -> sweep_plan.SweepPlan:
  selected = files.load(args.sweep, "get_sweep", sweep.Sweep)
  if args.config:
    selected = dataclasses.replace(selected, config=args.config)
  return sweep_plan.plan(
    selected,
    folder=study_arguments.folder(args.workdir, args.sweep, sample=args.sample),
    seeds=args.seeds,
    sample=args.sample,
    overrides=args.overrides,
  )


def _sweep(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  console = Console()
  plan = _plan(args)
  jobs = study_arguments.select(plan.runs, args.index)
  failed = [] if args.collect else runner.run_all(console, jobs)
  if args.index is None:
    ranking.finish(console, plan)
  for run in failed:
    console.line(f"Failed: {run.title()}, {run.workdir / 'run.log'}")
  return 1 if failed else 0


main = functools.partial(program.run, "sweep", _sweep, hint=program.RESUMES)

if __name__ == "__main__":
  sys.exit(main())
