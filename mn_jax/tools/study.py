"""Runs a study: `python -m mn_jax.tools.study configs/studies/NAME.py`.

Each member and seed is a run of `mn_jax.main` in a folder and a process of its
own. What is complete is skipped, what was stopped goes on, and one that fails
does not stop the others. `--replicas` trains the seeds of a member in one
program, side by side. `--index=K` runs the K-th alone, for an array of jobs;
`--collect` only gathers what is there. Exit codes: 0 all complete, 1 some
failed, 2 a mistake in what was given, 130 stopped by Ctrl-C.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from mn_jax.commandline import flags
from mn_jax.data import store
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.studies import results, runner, study


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m mn_jax.tools.study",
    description="Run the members of a study and gather their results.",
  )
  parser.add_argument("study", help="a file of configs/studies")
  parser.add_argument(
    "--workdir", default="", help="folder of all runs (default: runs/NAME)"
  )
  parser.add_argument("--seeds", type=int, default=3, help="seeds per member")
  parser.add_argument(
    "--sample",
    action="store_true",
    help="run in seconds on the embedded sample; numbers mean nothing",
  )
  parser.add_argument(
    "--only", default="", help="members to run, separated by commas"
  )
  parser.add_argument(
    "--replicas",
    action="store_true",
    help="train the seeds of a member in one program",
  )
  parser.add_argument(
    "--index",
    type=int,
    default=None,
    help="run this one alone, from 0 on; with --replicas this member",
  )
  parser.add_argument(
    "--collect", action="store_true", help="run nothing, gather what is there"
  )
  parser.add_argument(
    "--weights",
    default="",
    help="folder of published weights (default: where tools.fetch puts them)",
  )
  parser.add_argument(
    "overrides",
    nargs="*",
    metavar="SECTION.FIELD=VALUE",
    help="fields over those of every member",
  )
  return parser.parse_intermixed_args(argv)


def _expand(
  args: argparse.Namespace,
) -> tuple[study.Study, list[study.StudyRun]]:
  """The study and the runs that are asked for.

  Raises:
    InputError: for a mistake in the arguments.
  """
  if args.seeds < 1:
    raise InputError(f"--seeds: got {args.seeds}; valid: 1 or more")
  for override in args.overrides:
    name, equals, value = override.partition("=")
    if not equals:
      raise InputError(f"got {override!r}; valid: SECTION.FIELD=VALUE")
    flags.check_override(name, value)
  chosen = study.load(args.study)
  only = [name for name in args.only.split(",") if name]
  names = [member.name for member in chosen.members]
  for name in only:
    if name not in names:
      raise InputError(f"--only: got {name!r}; valid: {', '.join(names)}")
  stem = pathlib.Path(args.study).stem + ("_sample" if args.sample else "")
  runs = study.expand(
    chosen,
    folder=pathlib.Path(args.workdir or f"runs/{stem}").expanduser(),
    seeds=args.seeds,
    sample=args.sample,
    weights=None if args.collect else _weights(args),
    overrides=args.overrides,
    only=only or names,
  )
  if args.replicas and chosen.resplit:
    raise InputError(
      f"--replicas: {args.study} splits the data anew for every seed, and what "
      "is trained together shares a split; valid: without it"
    )
  return chosen, runs


def _jobs(
  args: argparse.Namespace, runs: Sequence[study.StudyRun]
) -> list[runner.Job]:
  """What is to be run, by the arguments.

  Raises:
    InputError: if there is no run of that index.
  """
  groups = [[run] for run in runs]
  if args.replicas:
    rows: dict[str, list[study.StudyRun]] = {}
    for run in runs:
      rows.setdefault(run.member.name, []).append(run)
    groups = [study.group_replicas(row) for row in rows.values()]
  if args.index is None:
    return [job for group in groups for job in group]
  if not 0 <= args.index < len(groups):
    raise InputError(
      f"--index: got {args.index}; valid: 0 to {len(groups) - 1}"
    )
  return groups[args.index]


def _weights(args: argparse.Namespace) -> pathlib.Path:
  """The folder of published weights."""
  given = args.weights or store.cache_root("") / "weights"
  return pathlib.Path(given).expanduser()


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  args = _arguments(argv)
  console = Console()
  try:
    chosen, runs = _expand(args)
    jobs = _jobs(args, runs)
    failed = [] if args.collect else runner.run_all(console, jobs)
  except InputError as error:
    print(f"study: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("study: stopped; the same command goes on from here", file=sys.stderr)
    return 130
  if args.sample:
    title = f"{chosen.title} (generated images: the numbers mean nothing)"
    chosen = dataclasses.replace(chosen, title=title)
  if args.index is None:
    results.finish(console, chosen, runs)
  for run in failed:
    console.line(f"Failed: {run.title()}, {run.workdir / 'run.log'}")
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
