"""Reports on a run or a study: `python -m mn_jax.tools.report FOLDER`.

Writes one page that works offline, Markdown, LaTeX tables and the figures. Exit
codes: 0, 2 for a wrong argument, 130 stopped by Ctrl-C.
"""

import argparse
import functools
import pathlib
import sys
import webbrowser
from collections.abc import Sequence

from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, command, file_path
from mn_jax.config import overrides
from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator, compile_cache
from mn_jax.report import (
  cross_validation_pages,
  page,
  reproduction,
  results_index,
  run_analysis,
  run_report,
  study_report,
)
from mn_jax.report.inspection import Inspections, inspect, saved_baselines
from mn_jax.report.run_analysis import RunAnalysis

# Of this project, from whose folder pages about it are made.
_RESULTS = pathlib.Path("docs/results")


def _parser() -> Parser:
  parser = Parser(
    command("report"),
    description="Write a page about a run, a study or a cross-validation: "
    "published numbers beside ours, intervals, baselines, curves, mistakes, "
    "saliency, t-SNE.",
    example="runs/idc --open",
  )
  parser.add_argument(
    "folder",
    metavar="FOLDER",
    nargs="?",
    help="folder of a finished run or of a study; FILE.py of a study means "
    "runs/FILE",
  )
  parser.option(
    "--output",
    "DIR",
    "folder of the files (default: FOLDER/report)",
    type=file_path,
  )
  parser.flag("--open", "show the page in a browser")
  parser.option(
    "--reproduction",
    "FILE.md",
    "instead, write the published numbers of configs/papers beside those "
    "of docs/results",
    type=file_path,
  )
  parser.option(
    "--index",
    "FILE.md",
    "instead, rewrite the blocks of that page that are made from docs/results",
    type=file_path,
  )
  parser.flag(
    "--numbers",
    "open no networks and no images: leave out baselines, mistakes, "
    "saliency and t-SNE",
  )
  run_arguments.add_places(parser)
  return parser


def _folder(name: str) -> pathlib.Path:
  path = pathlib.Path(name).expanduser()
  if path.suffix == ".py":
    path = pathlib.Path("runs") / path.stem
  for name in (cross_validation_pages.NAME, "results.json", "summary.json"):
    if (path / name).is_file():
      return path
  raise InputError(
    f"got {str(path)!r}, which has no {cross_validation_pages.NAME}, "
    "results.json or summary.json; valid: the folder of a finished run, of a "
    "study or of a cross-validation"
  )


def _inspect(
  args: argparse.Namespace, firsts: Sequence[RunAnalysis], console: Console
) -> Inspections:
  """Inspects the first run of each row; names those that cannot be opened."""
  inspections = Inspections(saved_baselines(firsts), {})
  if args.numbers:
    return inspections
  places = run_arguments.places(args.overrides)
  allocator.keep_freed_memory()
  compile_cache.keep(places.get("cache_dir", ""))
  with console.counting("opening networks", "images") as progress:
    for analysis in firsts:
      try:
        inspect(analysis, inspections, places=places, progress=progress)
      except InputError as error:
        console.line(f"Not opened: {analysis.path}: {error}")
  return inspections


def _reproduce(path: pathlib.Path, console: Console) -> None:
  document = reproduction.build(reproduction.read(), _RESULTS)
  run_arguments.output_folder(path.parent)
  atomic.write_text(path, page.markdown(document, "figures"))
  console.line(f"Reproduction: {path}")


def _index(path: pathlib.Path, console: Console) -> None:
  if not path.is_file():
    raise InputError(f"--index: got {str(path)!r}; valid: a page that exists")
  text = results_index.rewrite(
    path.read_text(encoding="utf-8"), reproduction.read(), _RESULTS
  )
  atomic.write_text(path, text)
  console.line(f"Index: {path}")


def _report(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  asked = (args.folder, args.reproduction, args.index)
  if sum(x is not None for x in asked) != 1:
    raise InputError(
      "got none or several; valid: FOLDER, --reproduction or --index"
    )
  console = Console()
  if args.index:
    _index(args.index, console)
    return
  if args.reproduction:
    _reproduce(args.reproduction, console)
    return
  folder = _folder(args.folder)
  if (folder / cross_validation_pages.NAME).is_file():
    _finish(args, _cross_validation(args, folder, console), console)
    return
  results = None
  if (folder / "results.json").is_file():
    results, analyses = study_report.read(folder)
    for line in results["left_out"]:
      console.line(line)
  else:
    analyses = {"run": [run_analysis.analyze(folder)]}
  for runs in analyses.values():
    for analysis in runs:
      if analysis.damage:
        console.line(f"Note: {analysis.damage}")
  firsts = [runs[0] for runs in analyses.values() if runs]
  output = run_arguments.output_folder(args.output or folder / "report")
  inspections = _inspect(args, firsts, console)
  numbers = run_report.numbers(firsts, inspections)
  if results is None:
    document = run_report.build(firsts[0], inspections)
  else:
    document = study_report.build(results, analyses, inspections)
    numbers = results | numbers
  path = page.write(document, numbers, output)
  for _, verdict, text, _ in document.claims:
    console.line(f"{verdict}: {text}")
  _finish(args, path, console)


def _cross_validation(
  args: argparse.Namespace, folder: pathlib.Path, console: Console
) -> pathlib.Path:
  """Writes the page of a cross-validation again; returns its path."""
  run_arguments.places(args.overrides)  # refuses other fields
  study, runs = cross_validation_pages.reopen(folder)
  output = run_arguments.output_folder(args.output or folder / "report")
  _, path = cross_validation_pages.write(
    folder,
    study,
    runs,
    console,
    output=output,
    places=None if args.numbers else dict(map(overrides.parse, args.overrides)),
  )
  return path


def _finish(
  args: argparse.Namespace, path: pathlib.Path, console: Console
) -> None:
  console.line(f"Report: {path.resolve().as_uri()}")
  if args.open and not webbrowser.open(path.resolve().as_uri()):
    console.line("No browser was found here: open that file in one.")


main = functools.partial(program.run, "report", _report)

if __name__ == "__main__":
  sys.exit(main())
