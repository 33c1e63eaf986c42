"""Scaling over devices: `python -m mn_jax.tools.scaling measure|plan|report`.

measure  weak and strong scaling on the devices of this machine
plan     what slices of accelerators would give, without one
report   tables and plots of both, as a page and as Markdown

Exit codes: 0 done, 1 some points could not be measured, 2 a mistake in what was
given, 130 stopped by Ctrl-C; the same command goes on.
"""

import argparse
import ast
import pathlib
import runpy
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any

from mn_jax.commandline import flags, run_options
from mn_jax.config import Config, checks
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.perf.scaling import arguments, points
from mn_jax.perf.scaling.measure import series as series_lib
from mn_jax.perf.scaling.report import rows, tables

_CONFIG = "config."


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  failed = []

  def program(argv: Sequence[str] | None) -> None:
    failed.extend(_scale(argv))

  return run_options.run_program("scaling", program, argv) or int(bool(failed))


def _scale(argv: Sequence[str] | None) -> list[points.Point]:
  """Does what is asked for; returns the points that failed."""
  argv = sys.argv[1:] if argv is None else list(argv)
  args, rest = _parser().parse_known_args(argv)
  overrides = []
  for text in rest:
    if not text.startswith(f"--{_CONFIG}") or args.verb == "report":
      raise InputError(f"got {text!r}; valid: see {args.verb} --help")
    overrides.append(text.removeprefix(f"--{_CONFIG}"))
  command = shlex.join(["python", "-m", "mn_jax.tools.scaling", *argv])
  console = Console()
  if args.verb == "measure":
    return _measure(args, _config(args.config, overrides), command, console)
  if args.verb == "plan":
    _plan(args, _config(args.config, overrides), console)
  else:
    _report(args, command, console)
  return []


def _parser() -> argparse.ArgumentParser:
  parser = run_options.Parser(
    prog="python -m mn_jax.tools.scaling",
    description="Measure, plan and report how training scales over devices.",
    allow_abbrev=False,
  )
  arguments.add_verbs(parser)
  return parser


def _measure(
  args: argparse.Namespace, config: Config, command: str, console: Console
) -> list[points.Point]:
  output = run_options.output_folder(pathlib.Path(args.output).expanduser())
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
    command=command,
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
    output=run_options.output_folder(pathlib.Path(args.output).expanduser()),
    console=console,
  )


def _report(args: argparse.Namespace, command: str, console: Console) -> None:
  # Matplotlib is slow to import, and the other verbs need it not.
  from mn_jax.perf.scaling.report import report

  folders = [pathlib.Path(folder).expanduser() for folder in args.folders]
  markdown = args.markdown and pathlib.Path(args.markdown).expanduser()
  if markdown and markdown.suffix != ".md":
    raise InputError(
      f"--markdown: got {args.markdown!r}; valid: a path that ends .md"
    )
  results = report.read(folders)
  prices = dict(args.price)
  report.check_prices(results, prices)
  if markdown:
    run_options.output_folder(markdown.parent)
  report.write(
    results,
    output=run_options.output_folder(
      pathlib.Path(args.output or folders[0] / "report").expanduser()
    ),
    markdown=markdown,
    prices=prices,
    command=command,
    console=console,
  )


def _config(given: str, overrides: Sequence[str]) -> Config:
  """The config of a file with its fields changed.

  Args:
    given: FILE[:ARG].
    overrides: SECTION.FIELD=VALUE.

  Raises:
    InputError: for a mistake in either.
  """
  path, _, arg = given.partition(":")
  found = None
  if pathlib.Path(path).is_file():
    found = runpy.run_path(path).get("get_config")
  if found is None:
    raise InputError(
      f"--config: got {path!r}; valid: an existing file with get_config()"
    )
  values = found(arg)
  for override in overrides:
    name, equals, text = override.partition("=")
    if not equals:
      raise InputError(
        f"--{_CONFIG}{name}: got no value; valid: --{_CONFIG}{name}=VALUE"
      )
    flags.check_override(name, text)
    section, _, field = name.rpartition(".")
    place = values[section] if section else values
    place[field] = _value(name, text, place[field])
  return checks.from_config_dict(values)


def _value(name: str, text: str, before: Any) -> Any:
  """A text that `check_override` let pass, of the type of the value before."""
  if isinstance(before, bool):
    return text.lower() == "true"
  if not isinstance(before, tuple):
    return type(before)(text)
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    raise InputError(f"{name}: got {text!r}; valid: a tuple") from None


if __name__ == "__main__":
  # Processes of points end with this one, however it is asked to.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  sys.exit(main())
