"""Options of `evaluate` for new labelled images, and what it prints then."""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

from mn_jax.augment import views
from mn_jax.commandline import decision_arguments, run_arguments
from mn_jax.commandline.parser import Parser, file_path, number
from mn_jax.config import overrides
from mn_jax.config.changes import PLACES
from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.evaluation import evaluation, new_images
from mn_jax.evaluation.evaluation import Evaluation
from mn_jax.observe.console import Console
from mn_jax.report import evaluation_report, evaluation_tables, page
from mn_jax.report.decisions import Decisions

# Options that need --data, with the values that they have without being given.
_OF_NEW = {"tta": None, "conformal": None, "marginal": False, "page": None}
# Those of a part of the run's split.
_OF_PART = {"part": None, "recalibrate": None, "precision": None}


def add(parser: Parser) -> None:
  """Adds the options."""
  parser.option(
    "--data",
    "PATH",
    "instead of a part of the split, evaluate new images: a folder, an archive "
    "or a table (.csv, .tsv, .parquet), read as the run reads its own",
    type=file_path,
  )
  parser.add_argument(
    "--tta",
    metavar="KIND",
    nargs="?",
    const="auto",
    choices=("auto", *views.KINDS),
    help="with --data: average the probabilities of several views of an image "
    "and judge that on validation: horizontal, flips, turns, dihedral (all 8 "
    "symmetries), or auto, those that training showed",
  )
  parser.option(
    "--conformal",
    "ALPHA",
    "with --data: prediction sets that miss the class of a share of images, "
    "such as 0.1, of every class",
    type=number(float, 0, 1),
  )
  parser.flag(
    "--marginal", "with --conformal: of all images, not of every class"
  )
  parser.option(
    "--page",
    "FILE.html",
    "with --data: write a page with figures, which needs no other file",
    type=file_path,
  )


def check(args: argparse.Namespace) -> None:
  """Refuses options that do not go together.

  Raises:
    InputError: for the first of them.
  """
  new = args.data is not None
  for name, default in (_OF_PART if new else _OF_NEW).items():
    if getattr(args, name) != default:
      flag, other = f"--{name}", "--data"
      raise InputError(
        f"{flag}: got it {'with' if new else 'without'} {other}; valid: "
        f"{'without' if new else 'with'} {other}"
      )
  if not new and len(args.workdir) > 1:
    raise InputError(
      f"--workdir: got {len(args.workdir)} without --data; valid: one run, or "
      "several with --data"
    )
  if new and not args.data.exists():
    raise InputError(
      f"--data: got {str(args.data)!r}, which does not exist; valid: a folder, "
      "an archive or a table of images"
    )
  if args.marginal and args.conformal is None:
    raise InputError("--marginal: got it without --conformal; valid: with it")
  for name, suffix in (("page", ".html"), ("output", ".npz")):
    path = getattr(args, name)
    if path is not None and new:
      if path.suffix.lower() != suffix or path.is_dir():
        raise InputError(
          f"--{name}: got {str(path)!r}; valid: a file called *{suffix}"
        )
      run_arguments.output_folder(path.parent)


def evaluate(args: argparse.Namespace) -> None:
  """Evaluates new images as arguments say, prints and writes the results."""
  console = Console(quiet=args.json)
  places, changes = _overrides(args.overrides)
  if args.by_attribute:
    changes.setdefault("attributes", tuple(dict.fromkeys(args.by_attribute)))
  runs = run_arguments.open_runs(args, places)
  found = evaluation.evaluate(
    runs,
    args.data,
    changes,
    evaluation.Options(
      views=args.tta or "",
      calibrated=args.temperature_from_val,
      conformal=args.conformal,
      marginal=args.marginal,
    ),
    console,
  )
  targets = decision_arguments.targets(args)
  decisions = evaluation_report.measure(found, targets or None)
  if args.output is not None:
    found.images.write(args.output)
  if args.page is not None:
    _write_page(args.page, found, decisions, args.data)
  if args.json:
    numbers = evaluation_report.numbers(found, decisions)
    print(json.dumps({"data": str(args.data), **numbers}, indent=2))
    return
  evaluation_tables.show(console, found)
  if not targets:  # those of every page are not printed
    decisions = dataclasses.replace(decisions, points={})
  decision_arguments.show(console, decisions, found.images, found.unit)
  for note in found.notes:
    console.line(f"Note: {note}")
  for what, path in (("Predictions", args.output), ("Page", args.page)):
    if path is not None:
      console.line(f"{what}: {path}")


def _overrides(changes: list[str]) -> tuple[list[str], dict[str, Any]]:
  """Returns the overrides of places of the run, and fields of the new images.

  Raises:
    InputError: for an override of another section.
  """
  places, values = [], {}
  for change in changes:
    path, value = overrides.parse(change)
    section, _, name = path.rpartition(".")
    if section != "data":
      valid = ", ".join(f"data.{x}" for x in new_images.FIELDS)
      raise InputError(f"{path}: got it with --data; valid: {valid}")
    if path in PLACES:
      places.append(change)
    if path != "data.path":
      values[name] = value
  return places, values


def _write_page(
  path: pathlib.Path,
  found: Evaluation,
  decisions: Decisions,
  source: pathlib.Path,
) -> None:
  document = evaluation_report.build(found, decisions, str(source))
  images = {x.name: page.webp(x) for x in document.all_figures()}
  atomic.write_text(path, page.html(document, images))
