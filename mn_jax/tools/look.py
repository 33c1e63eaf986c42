"""Looks at your own images: `python -m mn_jax.tools.look photos`.

Says what is there, which files cannot be read or are there twice, what would be
trained and how long that would take. Nothing is written but the page that is
asked for. Exit codes: 0 done; 2 images that cannot be trained on, which are
shown all the same, or a wrong argument.
"""

import argparse
import json
import os
import pathlib
import shlex
import sys
import time
from collections.abc import Sequence

import numpy as np

from mn_jax.commandline import network_arguments, program
from mn_jax.commandline.parser import Parser, command, file_path
from mn_jax.config import own_data
from mn_jax.data import atomic, resizing
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import jsonable
from mn_jax.own_images import overview as overview_lib
from mn_jax.own_images import settings
from mn_jax.own_images.overview import Overview
from mn_jax.parallel import allocator
from mn_jax.perf import training_time
from mn_jax.report import overview_page, page
from mn_jax.run import open_data

# Images that are decoded as training would, for the estimate of the time.
_DECODED = 32


def _parser() -> Parser:
  parser = Parser(
    command("look"),
    description="Look at your own images: classes, sizes, formats, unreadable "
    "files, duplicates, and what would be trained on them.",
    example="photos --output=photos.html",
  )
  parser.add_argument(
    "data",
    metavar="PATH",
    help="a folder or archive with a folder for each class, or a table of "
    "images (.csv, .tsv, .parquet)",
  )
  network_arguments.add(parser)
  parser.option(
    "--output", "FILE.html", "write a page with sample images", type=file_path
  )
  parser.flag("--json", "print JSON, with all names")
  parser.flag("--no-time", "do not measure how long training would take")
  parser.add_overrides("fixes a field of the config that would be trained")
  return parser


def _look(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  if args.output is not None:
    _check_output(args.output)
  given = network_arguments.given(args)
  allocator.keep_freed_memory()
  console = Console(quiet=args.json)
  overview = overview_lib.look(
    args.data, given, console, samples=args.output is not None
  )
  measured = None
  if not args.no_time and overview.data is not None:
    measured = _measure(overview, console)
  text = "not measured" if measured is None else measured.text()
  if args.json:
    numbers = {**overview.numbers(), "time": None}
    if measured is not None:
      numbers["time"] = {**vars(measured), "total": measured.total}
    print(json.dumps(jsonable(numbers), indent=1))
  else:
    _show(overview, text, console)
  if args.output is not None:
    document = overview_page.build(overview, text)
    images = {x.name: page.webp(x) for x in document.all_figures()}
    atomic.write_text(args.output, page.html(document, images))
    console.line(f"Page:     {args.output}")
  if overview.problem:
    raise InputError(overview.problem)
  if not args.json:
    _show_next(args, console)


def _check_output(path: pathlib.Path) -> None:
  """Refuses a page that could not be written, before anything is read."""
  folder = path.absolute().parent
  if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
    raise InputError(f"--output: got {str(path)!r}; valid: a file FILE.html")
  if not (folder.is_dir() and os.access(folder, os.W_OK)):
    raise InputError(
      f"--output: got {str(path)!r}, whose folder cannot be written; valid: a "
      "file in a folder that is there"
    )


def _measure(
  overview: Overview, console: Console
) -> training_time.TrainingTime:
  """Measures some training steps, and the decoding of some images."""
  config, data = overview.new.config, overview.data
  console.line("measuring some training steps ...")
  return training_time.measure(
    config,
    classes=len(data.classes),
    images={part: len(rows) for part, rows in data.split.parts.items()},
    decode=lambda: _decode_seconds(overview),
  )


def _decode_seconds(overview: Overview) -> float:
  """Returns in which time all images would be decoded, by some of them."""
  section, rows = overview.new.config.data, overview.found.rows
  places = np.linspace(0, len(rows) - 1, min(_DECODED, len(rows)))
  chosen = rows[places.round().astype(int)]
  size = section.image_size if section.other_sizes == "resize" else None
  with open_data.open_source(section) as source:
    start = time.perf_counter()
    for row in chosen.tolist():
      image = source.read(row, size, bits=section.bits)
      resizing.fit(
        image, size=section.image_size, other_sizes=section.other_sizes
      )
    seconds = time.perf_counter() - start
  return seconds / len(chosen) * len(rows) / (os.cpu_count() or 1)


def _show(overview: Overview, time_text: str, console: Console) -> None:
  """Prints what was found, and what would be trained."""
  config, facts = overview.new.config, overview.new.facts
  kind = "labels" if facts.multi_label else "classes"
  megabytes = overview.found.num_bytes.sum() / 1e6
  overview_page.class_table(overview).show(
    console,
    f"{config.experiment}: {len(overview.listing):,} images in "
    f"{len(facts.classes):,} {kind}, {megabytes:,.1f} MB",
  )
  overview_page.size_table(overview).show(console, "Sizes")
  overview_page.duplicate_table(overview).show(console, "More than once")
  for line in overview_page.lines(overview):
    console.line(line)
  if overview.problem:
    return
  settings.print_recommendation(console, overview.new)
  stored = 3e-6 * len(overview.found.rows) * config.data.image_size**2
  console.line(f"Time:     {time_text}")
  console.line(f"Disk:     {stored:,.0f} MB of packed images in the cache")


def _show_next(args: argparse.Namespace, console: Console) -> None:
  """Prints the command that trains on these images."""
  fields = {"--model": args.model, "--weights": args.weights}
  words = [f"--data={args.data}"]
  words += [f"{flag}={value}" for flag, value in fields.items() if value]
  words += args.overrides
  console.line(f"Train:    {command('train')} {shlex.join(words)}")
  workdir = shlex.quote(str(own_data.default_workdir(args.data)))
  console.line(f"Predict:  {command('predict')} --workdir={workdir} IMAGE ...")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  return program.run("look", _look, argv)


if __name__ == "__main__":
  sys.exit(main())
