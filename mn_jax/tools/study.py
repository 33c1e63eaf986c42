"""Runs a study: `python -m mn_jax.tools.study NAME`.

Each member and seed is a run of `mn_jax.main` in a folder and a process of its
own. Complete runs are skipped, stopped ones resume, and one that fails does not
stop the others. `--replicas` trains the seeds of a member in one program, side
by side. `--index=K` runs only the K-th, for an array of jobs; `--collect` only
gathers results. `--keep=DIR` keeps every complete run in DIR/NAME/runs, without
its weights: a later command, on this or another machine, takes it as complete,
and with `--collect` writes the study's page from kept runs. Exit codes: 0 all
complete, 1 some failed, 2 a wrong argument, 130 stopped by Ctrl-C.
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import sys
from collections.abc import Sequence

from mn_jax.commandline import program, run_arguments, study_arguments
from mn_jax.commandline.parser import Parser, file_path
from mn_jax.config import files, overrides
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator, compile_cache
from mn_jax.report import kept_inspection, page, study_report
from mn_jax.studies import (
  budget,
  expansion,
  kept,
  results,
  runner,
  split_baselines,
  study,
)
from mn_jax.weights import locate


def _parser() -> Parser:
  parser = study_arguments.parser(
    "study",
    description="Train the members of a study and gather their results.",
    example="idc --seeds=3",
    seeds=3,
  )
  study_arguments.add_selection(parser, "study", "studies")
  parser.option(
    "--only",
    "NAMES",
    "members to run, separated by commas (default: all that are not optional)",
    default="",
  )
  parser.flag(
    "--replicas",
    "train the seeds of a member in one program; --index counts members",
  )
  parser.option(
    "--weights",
    "DIR",
    "folder of published weights (default: where tools.fetch puts them)",
    type=file_path,
  )
  parser.option(
    "--keep",
    "DIR",
    "keep complete runs in DIR/NAME/runs, count those that are there, and "
    "with --collect write their page into DIR/NAME, e.g. docs/results",
    type=file_path,
  )
  parser.flag(
    "--plan", "run nothing, show what is left and the time that it takes"
  )
  parser.flag(
    "--inspect",
    "with --keep, open a network of each row, which takes a minute: mistakes, "
    "saliency and t-SNE for the page",
  )
  parser.add_overrides("changes a field of every member")
  return parser


def _expand(
  args: argparse.Namespace,
) -> tuple[study.Study, list[study.StudyRun]]:
  """Returns the study and the runs that the arguments select."""
  selected = files.load(args.study, "get_study", study.Study)
  only = [name for name in args.only.split(",") if name]
  names = [member.name for member in selected.members]
  if only and args.keep and args.collect:
    raise InputError(
      "--only: got it with --keep and --collect, whose page is of all rows; "
      "valid: without it"
    )
  for name in only:
    if name not in names:
      raise InputError(f"--only: got {name!r}; valid: {', '.join(names)}")
  weights = args.weights or locate.folder()
  seeds, folder = args.seeds, _kept_folder(args)
  if folder is not None and args.collect:
    seeds = max(seeds, kept.count_seeds(folder))
  expand = functools.partial(
    expansion.expand,
    selected,
    folder=study_arguments.folder(args.workdir, args.study, sample=args.sample),
    seeds=seeds,
    sample=args.sample,
    overrides=args.overrides,
    kept=folder,
  )
  optional = [member.name for member in selected.members if member.optional]
  if only:
    optional = []
  runs = expand(
    weights=None if args.collect or args.plan else weights,
    only=only or [name for name in names if name not in optional],
  )
  # Those that were run by name stay in the tables.
  extra = expand(weights=None, only=optional)
  runs += [run for run in extra if run.is_complete()]
  expansion.check_folders(runs)
  kept.check_all(selected, runs)
  if args.replicas and selected.splits_anew:
    raise InputError(
      f"--replicas: {args.study} splits the data anew for every seed, and what "
      "is trained together shares a split; valid: without it"
    )
  return selected, runs


def _kept_folder(args: argparse.Namespace) -> pathlib.Path | None:
  """Returns the folder of the study's kept runs, which need not exist."""
  if args.keep is None:
    if args.inspect:
      raise InputError("--inspect: got it alone; valid: with --keep")
    return None
  if args.sample:
    raise InputError(
      "--keep: got it with --sample, whose numbers mean nothing; valid: one of "
      "them"
    )
  return args.keep / pathlib.Path(args.study).stem / "runs"


def _jobs(
  args: argparse.Namespace, runs: Sequence[study.StudyRun]
) -> list[runner.Job]:
  """Returns what is to be run: single runs, or seeds of a member together."""
  if not args.replicas:
    return list(study_arguments.select(runs, args.index))
  by_member: dict[str, list[study.StudyRun]] = {}
  for run in runs:
    by_member.setdefault(run.member.name, []).append(run)
  rows = [expansion.group_replicas(row) for row in by_member.values()]
  return list(itertools.chain(*study_arguments.select(rows, args.index)))


def _study(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  console = Console()
  selected, runs = _expand(args)
  if args.plan:
    budget.show(console, selected.title, budget.measure(runs))
    results.show_claims(console, results.planned_claims(selected, runs))
    return 0
  if args.keep:
    failed = _run_and_keep(args, selected, runs, console)
  else:
    failed = []
    if not args.collect:
      failed = runner.run_all(console, _jobs(args, runs))
    if args.sample:
      title = f"{selected.title} (generated images: the numbers mean nothing)"
      selected = dataclasses.replace(selected, title=title)
    if args.index is None:
      _measure_baselines(args, runs, console)
      results.finish(console, selected, runs, sample=args.sample)
  for run in failed:
    console.line(f"Failed: {run.title()}, {run.workdir / 'run.log'}")
  return 1 if failed else 0


def _run_and_keep(
  args: argparse.Namespace,
  selected: study.Study,
  runs: Sequence[study.StudyRun],
  console: Console,
) -> list[runner.Job]:
  """Keeps complete runs, then each that ends; returns the jobs that failed."""
  finish = functools.partial(kept.keep, siblings=runs)
  for run in runs:
    if run.is_complete():
      finish(run)
  failed = []
  if not args.collect:
    failed = runner.run_all(console, _jobs(args, runs), finish)
  if args.index is None:
    _measure_baselines(args, runs, console)
  if args.inspect:
    places = run_arguments.place_arguments(
      dict(map(overrides.parse, args.overrides))
    )
    allocator.keep_freed_memory()
    compile_cache.keep(places.get("cache_dir", ""))
    kept_inspection.inspect_missing(
      console, runs, _kept_folder(args).parent / "figures", places
    )
  if args.index is None:
    found = results.collect(selected, runs)
    results.show(console, found)
    if args.collect:
      path = page.write(
        *study_report.of_kept(found, _kept_folder(args)),
        _kept_folder(args).parent,
      )
      console.line(f"Report: {path.resolve().as_uri()}")
  return failed


def _measure_baselines(
  args: argparse.Namespace, runs: Sequence[study.StudyRun], console: Console
) -> None:
  """Measures those of new splits; only gathering results opens no data."""
  if args.inspect or not args.collect:
    folder = results.study_folder(runs)
    split_baselines.measure_missing(console, folder, runs)


main = functools.partial(program.run, "study", _study, hint=program.RESUMES)

if __name__ == "__main__":
  sys.exit(main())
