"""Scaling over devices: `python -m mn_jax.tools.scaling measure|plan|report`.

measure  weak and strong scaling on the devices of this machine
plan     predictions for slices of accelerators, without one
report   tables and plots of both, as a page and as Markdown

Exit codes: 0 done, 1 some points could not be measured, 2 a wrong argument, 130
stopped by Ctrl-C; the same command resumes.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence

from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, command, file_path, names, number
from mn_jax.config import Config, files
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import accelerators, allocator
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.measure import series as series_lib
from mn_jax.perf.scaling.report import rows, tables

_count = number(int, 1)


def _scale(argv: Sequence[str] | None) -> int:
  """Measures, plans or reports; returns the exit code."""
  argv = sys.argv[1:] if argv is None else list(argv)
  args = _parser().parse(argv)
  allocator.keep_freed_memory()
  line = shlex.join(["python", "-m", "mn_jax.tools.scaling", *argv])
  console = Console()
  if args.verb == "report":
    _report(args, line, console)
    return 0
  config = files.load_config(args.config, args.overrides)
  if args.verb == "plan":
    _plan(args, config, console)
    return 0
  return int(bool(_measure(args, config, line, console)))


def _parser() -> Parser:
  parser = Parser(
    command("scaling"),
    description="Measure, plan and report how training scales over devices.",
    example="measure --config=idc_v1:sample --devices=1-4 --output=runs/s",
  )
  parser.takes_overrides = True
  verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
  _add_measure(
    verbs.add_parser(
      "measure",
      help="weak and strong scaling on the devices of this machine",
      description="Measure weak and strong scaling on the devices of this "
      "machine: the first of its accelerators, or its CPU split into as many. "
      "Every point is measured in fresh processes and kept; the same command "
      "resumes where it was stopped.",
      example="--config=idc_v1:sample --devices=1,2 --output=runs/scaling",
    )
  )
  _add_plan(
    verbs.add_parser(
      "plan",
      help="what slices of accelerators would give, without one",
      description="Compile the training step for accelerators that are not "
      "here, find the batch that fits, and predict time and cost from "
      "published rates.",
      example="--config=idc_v1 --chips=v5e --counts=1-16 --output=runs/plan",
    )
  )
  _add_report(
    verbs.add_parser(
      "report",
      help="tables and plots of both, as a page and as Markdown",
      description="Write a page about measurements and plans: speed-up, "
      "efficiency, time and cost to train, predictions beside measurements.",
      example="runs/scaling runs/plan",
    )
  )
  return parser


def _add_measure(parser: Parser) -> None:
  parser.add_config()
  parser.add_argument(
    "--devices",
    metavar="N,...",
    type=_counts,
    required=True,
    help="counts of devices, such as 1,2,4 or 1-8 (powers of two)",
  )
  parser.add_argument(
    "--processes",
    metavar="N,...",
    type=_counts,
    default=(1,),
    help="counts of processes, each with the counts of devices that it divides "
    "(default: 1)",
  )
  parser.add_argument(
    "--scaling",
    metavar="NAME,...",
    type=names(points.SCALINGS),
    default=points.SCALINGS,
    help="weak: fixed batch per device; strong: fixed batch over all devices "
    "(default: both)",
  )
  parser.add_argument(
    "--input",
    metavar="NAME,...",
    type=names(points.INPUTS),
    default=points.INPUTS,
    help="synthetic: one random batch kept on the devices; cached: the data "
    "set lives on the devices; real: every batch is gathered from the decoded "
    "images and sent (default: all)",
  )
  parser.option(
    "--batch-per-device",
    "N",
    "batch size of weak scaling (default: train.batch_size)",
    type=_count,
  )
  parser.option(
    "--global-batch",
    "N",
    "batch size of strong scaling (default: train.batch_size)",
    type=_count,
  )
  parser.option(
    "--steps",
    "N",
    "timed steps of a point; batches are gathered ahead, so that few "
    "steps hide waiting for data",
    type=_count,
    default=30,
  )
  parser.option(
    "--repeats", "N", "measurements of every point", type=_count, default=3
  )
  parser.option(
    "--timeout",
    "SECONDS",
    "after which a point is given up",
    type=_count,
    default=1800,
  )
  parser.add_argument(
    "--output",
    metavar="DIR",
    type=file_path,
    required=True,
    help="folder of the points",
  )
  parser.add_overrides()


def _add_plan(parser: Parser) -> None:
  parser.add_config()
  chips = accelerators.ACCELERATORS
  parser.add_argument(
    "--chips",
    metavar="NAME,...",
    type=names(chips),
    required=True,
    help=f"one or more of {', '.join(chips)}",
  )
  parser.add_argument(
    "--counts",
    metavar="N,...",
    type=_counts,
    required=True,
    help="counts of chips, such as 1,4,16 or 1-256 (powers of two)",
  )
  parser.option(
    "--batch-per-chip",
    "N|largest",
    "of weak scaling: images per step, or the most that fit (default: largest)",
    type=_batch,
  )
  parser.add_argument(
    "--scaling",
    choices=points.SCALINGS,
    default="weak",
    help="strong divides the config's train.batch_size (default: weak)",
  )
  parser.option(
    "--compile-counts",
    "N,...",
    "weak scaling: those of --counts whose programs are compiled; the "
    "others take that of the nearest of several chips (default: all)",
    type=_counts,
  )
  parser.add_argument(
    "--output",
    metavar="DIR",
    type=file_path,
    required=True,
    help="folder of plan.json",
  )
  parser.add_overrides()


def _add_report(parser: Parser) -> None:
  parser.add_argument(
    "folders",
    metavar="FOLDER",
    type=file_path,
    nargs="+",
    help="output folders of measure and plan, in any mix",
  )
  parser.option(
    "--output",
    "DIR",
    "folder of the page (default: report in the first FOLDER)",
    type=file_path,
  )
  parser.option(
    "--markdown",
    "FILE.md",
    "also write this page, with its plots in a folder beside it",
    type=file_path,
  )
  parser.add_argument(
    "--price",
    metavar="CHIP=USD",
    action="append",
    default=[],
    type=_price,
    help="price of one chip per hour; may be repeated",
  )


def _counts(text: str) -> tuple[int, ...]:
  """Reads '1,2,4', or '1-8' for the powers of two from 1 to 8; sorted."""
  numbers = set()
  for part in text.split(","):
    low, dash, high = part.partition("-")
    first, last = _count(low), _count(high if dash else low)
    count = first
    while count <= last:
      numbers.add(count)
      count *= 2
  if not numbers:
    raise argparse.ArgumentTypeError(f"got {text!r}; valid: 1,2,4 or 1-8")
  return tuple(sorted(numbers))


def _batch(text: str) -> int | None:
  return None if text == "largest" else _count(text)


def _price(text: str) -> tuple[str, float]:
  chip, _, price = text.rpartition("=")
  try:
    usd = float(price)
  except ValueError:
    usd = -1.0
  if not chip or not 0 <= usd < math.inf:
    raise argparse.ArgumentTypeError(
      f"got {text!r}; valid: CHIP=USD, such as v5e=1.20"
    )
  return chip, usd


def _measure(
  args: argparse.Namespace, config: Config, line: str, console: Console
) -> list[points.Point]:
  output = run_arguments.output_folder(args.output)
  series = points.Series(
    scalings=args.scaling,
    inputs=args.input,
    devices=args.devices,
    processes=args.processes,
    batch_per_device=args.batch_per_device or config.train.batch_size,
    global_batch=args.global_batch or config.train.batch_size,
    repeats=args.repeats,
    steps=args.steps,
  )
  failed = series_lib.run(
    config,
    series,
    output=output,
    command=line,
    timeout=args.timeout,
    console=console,
  )
  medians = rows.summarize(rows.read_points(output))
  tables.summary(medians).show(console, "Medians over repeats")
  console.line(f"Points: {output / 'points'}")
  return failed


def _plan(args: argparse.Namespace, config: Config, console: Console) -> None:
  # What compiles for TPUs is slow to import, and the other verbs need it not.
  from mn_jax.perf.scaling.plan import plan

  plan.run(
    config,
    chips=args.chips,
    counts=args.counts,
    batch_per_chip=args.batch_per_chip,
    scaling=args.scaling,
    compile_counts=args.compile_counts,
    output=run_arguments.output_folder(args.output),
    console=console,
  )


def _report(args: argparse.Namespace, line: str, console: Console) -> None:
  # Matplotlib is slow to import, and the other verbs need it not.
  from mn_jax.perf.scaling.report import report

  markdown = args.markdown
  if markdown and markdown.suffix != ".md":
    raise InputError(
      f"--markdown: got {str(markdown)!r}; valid: a path that ends .md"
    )
  results = report.read(args.folders)
  prices = dict(args.price)
  report.check_prices(results, prices)
  if markdown:
    run_arguments.output_folder(markdown.parent)
  report.write(
    results,
    output=run_arguments.output_folder(
      args.output or args.folders[0] / "report"
    ),
    markdown=markdown,
    prices=prices,
    command=line,
    console=console,
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  return program.run("scaling", _scale, argv, hint=program.RESUMES)


if __name__ == "__main__":
  sys.exit(main())
