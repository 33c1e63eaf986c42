"""Searches a space: `python -m mn_jax.tools.sweep configs/sweeps/NAME.py`.

Each point and seed is a run of `mn_jax.main` in a folder and a process of its
own. What is complete is skipped, what was stopped goes on, and one that fails
does not stop the others. Validation ranks the points; the test of the best one
is shown once all runs are complete, and that of no other. `--index=K` runs the
K-th alone, for an array of jobs; `--collect` only gathers what is there. Exit
codes are those of `tools.study`.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from mn_jax.commandline import flags
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.studies import ranking, runner, sweep, sweep_plan


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m mn_jax.tools.sweep",
    description="Run the points of a sweep and rank them by validation.",
  )
  parser.add_argument("sweep", help="a file of configs/sweeps")
  parser.add_argument(
    "--config", default="", help="configs/NAME.py[:ARG] instead of the sweep's"
  )
  parser.add_argument(
    "--workdir", default="", help="folder of all runs (default: runs/NAME)"
  )
  parser.add_argument("--seeds", type=int, default=1, help="seeds per point")
  parser.add_argument(
    "--sample",
    action="store_true",
    help="run in seconds on the embedded sample; numbers mean nothing",
  )
  parser.add_argument(
    "--index", type=int, default=None, help="run this one alone, from 0 on"
  )
  parser.add_argument(
    "--collect", action="store_true", help="run nothing, gather what is there"
  )
  parser.add_argument(
    "overrides",
    nargs="*",
    metavar="SECTION.FIELD=VALUE",
    help="fields over those of every point",
  )
  return parser.parse_intermixed_args(argv)


def _plan(args: argparse.Namespace) -> sweep_plan.SweepPlan:
  """The runs that are asked for.

  Raises:
    InputError: for a mistake in the arguments or in the sweep.
  """
  if args.seeds < 1:
    raise InputError(f"--seeds: got {args.seeds}; valid: 1 or more")
  for override in args.overrides:
    name, equals, value = override.partition("=")
    if not equals:
      raise InputError(f"got {override!r}; valid: SECTION.FIELD=VALUE")
    flags.check_override(name, value)
  chosen = sweep.load(args.sweep)
  if args.config:
    path, colon, arg = args.config.partition(":")
    file = pathlib.Path(path)
    if file.parent.as_posix() != "configs" or not file.is_file():
      raise InputError(
        f"--config: got {path!r}; valid: configs/NAME.py, an existing file"
      )
    chosen = dataclasses.replace(chosen, config=f"{file.stem}{colon}{arg}")
  stem = pathlib.Path(args.sweep).stem + ("_sample" if args.sample else "")
  plan = sweep_plan.plan(
    chosen,
    folder=pathlib.Path(args.workdir or f"runs/{stem}").expanduser(),
    seeds=args.seeds,
    sample=args.sample,
    overrides=args.overrides,
  )
  if args.index is not None and not 0 <= args.index < len(plan.runs):
    raise InputError(
      f"--index: got {args.index}; valid: 0 to {len(plan.runs) - 1}"
    )
  return plan


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  args = _arguments(argv)
  console = Console()
  try:
    plan = _plan(args)
    wanted = plan.runs if args.index is None else [plan.runs[args.index]]
    failed = [] if args.collect else runner.run_all(console, wanted)
  except InputError as error:
    print(f"sweep: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("sweep: stopped; the same command goes on from here", file=sys.stderr)
    return 130
  if args.index is None:
    ranking.finish(console, plan)
  for run in failed:
    console.line(f"Failed: {run.title()}, {run.workdir / 'run.log'}")
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
