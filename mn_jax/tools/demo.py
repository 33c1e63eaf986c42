"""Serves a page to try a run: `python -m mn_jax.tools.demo --workdir=DIR`.

The page is for browsers of this machine: images that are dropped on it are
classified and explained, and nothing of them is written. Exit codes: 2 for a
wrong argument, 130 stopped by Ctrl-C.
"""

import argparse
import functools
import sys
import time
import webbrowser
from collections.abc import Sequence

from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, number
from mn_jax.demo import answers as answers_lib
from mn_jax.demo import routes, server
from mn_jax.errors import InputError, RunError
from mn_jax.observe.console import Console
from mn_jax.run import reopen, split_data


def _parser() -> Parser:
  parser = run_arguments.parser(
    "demo",
    description="Serve a page, to browsers of this machine alone, on which "
    "images are classified by a run: probabilities, prediction sets, "
    "strangeness, saliency, the nearest training images, maps of slides.",
    example="--workdir=runs/idc_v1 --open",
  )
  parser.option(
    "--port",
    "PORT",
    "port of 127.0.0.1 (default: a free one)",
    type=number(int, 0, 65_535),
  )
  parser.flag("--open", "show the page in a browser")
  parser.flag(
    "--without-data",
    "do not open the run's images: no examples, thumbnails and slides",
  )
  run_arguments.add_places(parser)
  return parser


def _data(
  args: argparse.Namespace, run: reopen.SavedRun, console: Console
) -> tuple[split_data.SplitData | None, str]:
  """Returns the images of a run, or None and why they are not to be had."""
  if args.without_data:
    return None, "--without-data was given"
  try:
    with console.counting("decoding", "images") as progress:
      return run.data(progress), ""
  except (InputError, RunError) as error:
    return None, str(error)


def _demo(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  started = time.perf_counter()
  run = run_arguments.open_run(args)
  console = Console()
  with server.Server(args.port or 0) as listening:
    data, why = _data(args, run, console)
    answers = answers_lib.Answers(run, data, why_no_data=why)
    for what, reason in answers.missing:
      console.line(f"Without {what}: {reason}")
    answers.warm_up()
    listening.site = routes.of_run(run, answers)
    seconds = time.perf_counter() - started
    console.line(f"Ready after {seconds:.1f} s: {listening.url}")
    console.line("Ctrl-C ends it.")
    if args.open and not webbrowser.open(listening.url):
      console.line("No browser was found here: open that address in one.")
    listening.serve_forever()


main = functools.partial(program.run, "demo", _demo)

if __name__ == "__main__":
  sys.exit(main())
