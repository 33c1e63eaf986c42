"""Scaling over devices: `python -m mn_jax.tools.scaling measure|plan|report`.

measure  weak and strong scaling on the devices of this machine
plan     predictions for slices of accelerators, without one
report   tables and plots of both, as a page and as Markdown

Exit codes: 0 done, 1 some points could not be measured, 2 a wrong argument, 130
stopped by Ctrl-C; the same command resumes.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence

from mn_jax.commandline import program, run_arguments, scaling_arguments
from mn_jax.commandline.parser import Parser, command
from mn_jax.config import Config, files
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.measure import series as series_lib
from mn_jax.perf.scaling.report import rows, tables


def _scale(argv: Sequence[str] | None) -> int:
  """Measures, plans or reports; returns the exit code."""
  argv = sys.argv[1:] if argv is None else list(argv)
  args = _parser().parse(argv)
  # Processes of points end with this one, however it is asked to.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
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
  scaling_arguments.add_verbs(parser)
  parser.takes_overrides = True
  return parser


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
