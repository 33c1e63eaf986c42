"""Exports a network: `python -m mn_jax.tools.export --workdir=DIR --to=onnx`.

The best checkpoint of a run, or published weights (`--model=NAME
--weights=FILE`), as files for LiteRT, onnxruntime or JAX alone. Each file is
run by its own runtime on labelled images before it is written, and what it has
lost goes to `report.json` beside it. Exit codes: 0, 1 if a file lost too much
and was not written, 2 for a wrong argument, 130 stopped by Ctrl-C.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mn_jax.commandline import (
  exported_network,
  program,
  run_arguments,
  weights_arguments,
)
from mn_jax.commandline.exported_network import Exported
from mn_jax.commandline.parser import Parser, command, file_path, names, number
from mn_jax.errors import InputError, RunError
from mn_jax.export import files, judgement, results
from mn_jax.export.files import File
from mn_jax.export.judgement import Verdict
from mn_jax.export.options import FORMATS, INPUTS, PRECISIONS, Options
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator
from mn_jax.perf import latency
from mn_jax.report import export_tables

_ANY = "any"
_CALIBRATION = 200  # images, unless the user wants another number
_INT8 = ("int8_weights", "int8_full")


def _parser() -> Parser:
  parser = Parser(
    command("export"),
    description="Write a trained network as files for other runtimes, and "
    "measure what each has lost: that of a run (--workdir), or one with "
    "published weights (--model and --weights).",
    example="--workdir=runs/idc_v1 --to=litert --precision=float32,int8_full",
  )
  parser.add_argument(
    "--to",
    metavar="FORMATS",
    required=True,
    type=names(FORMATS),
    help=f"formats, separated by commas: {', '.join(FORMATS)}",
  )
  parser.option(
    "--precision",
    "NAMES",
    f"precisions, separated by commas: {', '.join(PRECISIONS)}; all but "
    "int8_full compute in float32 (default: float32)",
    type=names(PRECISIONS),
    default=None,
  )
  parser.option(
    "--workdir",
    "DIR",
    "folder of a finished run, whose best checkpoint is used",
    type=file_path,
  )
  parser.option(
    "--step", "STEP", "with --workdir: another checkpoint of it", type=int
  )
  weights_arguments.add(parser)
  _add_form(parser)
  _add_judging(parser)
  parser.add_overrides(
    "data.path=PATH, data.root=PATH and data.cache_dir=DIR, if a run's images "
    "or the packed cache are no longer where it had them; with --data how a "
    "table is read, such as data.label=COLUMN or data.root=PATH"
  )
  return parser


def _add_form(parser: Parser) -> None:
  """Adds what the files are like."""
  parser.option(
    "--batch",
    "N",
    "images of a call, or 'any' (default: any)",
    type=_or_any(number(int, 1, files.LARGEST)),
  )
  parser.add_argument(
    "--input",
    choices=INPUTS,
    default="pixels",
    help="pixels: decoded images, uint8; normalised: as the network itself "
    "takes them, float32 (default: pixels)",
  )
  parser.option(
    "--input-size",
    "SIZE",
    "pixels of the images, N or HxW, or 'any': resized inside (default: any; "
    "of litert that of training, which is not resized)",
    type=_or_any(_size),
  )
  parser.option(
    "--output",
    "DIR",
    "folder of the files (default: RUN/export; needed with --weights)",
    type=file_path,
  )


def _add_judging(parser: Parser) -> None:
  """Adds how the files are judged."""
  parser.option(
    "--data",
    "PATH",
    "with --weights: labelled images to calibrate and judge by, a folder for "
    "each class, an archive or a table; labels are classes of the weights, or "
    "their indices (default: the files are not judged)",
    type=file_path,
  )
  parser.option(
    "--calibration-images",
    "N",
    "images by which int8_full chooses its ranges: of a run training images, "
    "of --data some that nothing is judged by",
    type=run_arguments.count,
    default=_CALIBRATION,
  )
  parser.option(
    "--max-loss",
    "SHARE",
    "an 8-bit file that loses more balanced accuracy than this on validation "
    "(several labels: macro AUROC) is refused",
    type=number(float, 0, 1),
    default=0.01,
  )
  parser.option(
    "--turns",
    "N",
    "how often each file is timed, in turn with the network; 0: not at all",
    type=number(int, 0, 1000),
    default=15,
  )
  parser.flag("--force", "write such a file all the same")
  parser.flag(
    "--unjudged", "open no images: write files of which nothing is measured"
  )


def _or_any(read: Callable[[str], Any]) -> Callable[[str], Any]:
  """Returns a type of arguments: 'any', which is None, or what is read."""
  return lambda text: None if text == _ANY else read(text)


def _size(text: str) -> tuple[int, int]:
  """Reads '224' or '240x320'."""
  sides = text.split("x")
  valid = len(sides) in (1, 2) and all(
    side.isdecimal() and 1 <= int(side) <= files.LARGEST for side in sides
  )
  if not valid:
    raise argparse.ArgumentTypeError(
      f"got {text!r}; valid: any, N or HxW, such as 224 or 240x320"
    )
  return int(sides[0]), int(sides[-1])


def _check(args: argparse.Namespace) -> None:
  """Refuses arguments that do not go together.

  Raises:
    InputError: for the first of them.
  """
  weights_arguments.check(args)
  if args.workdir:
    if args.data:
      raise InputError(
        f"--data: got {str(args.data)!r} with --workdir, whose own images "
        "judge it; valid: with --weights"
      )
    return
  if args.step is not None:
    raise InputError(f"--step: got {args.step}; valid: with --workdir")
  if args.output is None:
    raise InputError("--output: got none with --weights; valid: a folder")
  if args.data and args.unjudged:
    raise InputError("--unjudged: got it with --data; valid: one of them")
  if "int8_full" in (args.precision or ()) and not args.data:
    raise InputError(
      "--precision: got int8_full with --weights and no images to calibrate "
      "by; valid: with --data=PATH"
    )


def _export(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  _check(args)
  precisions = args.precision or ("float32",)
  console = Console()
  allocator.keep_freed_memory()
  output = run_arguments.output_folder(args.output or args.workdir / "export")
  calibration = args.calibration_images * ("int8_full" in precisions)
  written, refused = [], []
  with exported_network.opened(
    args, console, calibration=calibration
  ) as subject:
    judge = None
    if subject.labelled.parts:
      judge = judgement.Judge(subject.trained, subject.labelled.parts)
    for form in args.to:
      made = [_make(args, subject, form, name) for name in precisions]
      verdicts = {x.name: judge.judge(x) if judge else {} for x in made}
      losses = {x.name: _too_large(args, x, verdicts[x.name]) for x in made}
      refused += filter(None, losses.values())
      kept = [x for x in made if not losses[x.name]]
      for file in kept:
        files.write(file, output / file.name)
        entry = _entry(args, file, verdicts[file.name])
        results.write(output, {file.name: entry})
        written.append(file.name)
      _time(args, subject, form, kept, output)
  _show(console, output, written)
  if not subject.labelled.parts:
    console.line("Not judged: no labelled images were opened.")
  if refused:
    raise RunError("; ".join(refused))


def _time(
  args: argparse.Namespace,
  subject: Exported,
  form: str,
  made: Sequence[File],
  output: pathlib.Path,
) -> None:
  """Times files of a format, and adds that to their entries."""
  turns = 0 if args.unjudged else args.turns
  if not turns or not made:
    return
  timed = list(made)
  if all(x.options.precision != "float32" for x in made):
    timed.append(_make(args, subject, form, "float32"))
  found = latency.measure(subject.trained, timed, turns=turns)
  entries = results.read(output)
  results.write(
    output,
    {
      x.name: entries[x.name] | {"latency": latency.as_json(found[x.name])}
      for x in made
    },
  )


def _make(
  args: argparse.Namespace, subject: Exported, form: str, precision: str
) -> File:
  return files.make(
    subject.trained,
    form,
    Options(
      precision=precision,
      batch=args.batch,
      input=args.input,
      size=args.input_size,
    ),
    origin=subject.origin,
    calibration=subject.labelled.calibration,
  )


def _too_large(
  args: argparse.Namespace, file: File, verdicts: dict[str, Verdict]
) -> str:
  """Says that an 8-bit file loses too much; '' if it does not."""
  if file.options.precision not in _INT8 or args.force or not verdicts:
    return ""
  part, verdict = next(iter(verdicts.items()))
  if verdict.loss <= args.max_loss:
    return ""
  return (
    f"{file.name} was not written: it loses {verdict.loss:.4f} of "
    f"{verdict.deciding.replace('_', ' ')} on {part} "
    f"({verdict.before[verdict.deciding]:.4f} to "
    f"{verdict.after[verdict.deciding]:.4f}), more than --max-loss="
    f"{args.max_loss:g}; --force writes it"
  )


def _entry(
  args: argparse.Namespace, file: File, verdicts: dict[str, Verdict]
) -> dict[str, Any]:
  return {
    "format": file.form,
    **dataclasses.asdict(file.options),
    "bytes": len(file.data),
    "sha256": file.sha256,
    "calibration": file.description["calibration"],
    "versions": file.description["versions"],
    "max_loss": args.max_loss,
    "parts": {name: x.numbers() for name, x in verdicts.items()},
    "latency": None,
  }


def _show(
  console: Console, output: pathlib.Path, written: Sequence[str]
) -> None:
  """Prints tables of the files that were written, and where they are."""
  entries = results.read(output)
  shown = {name: entries[name] for name in written}
  for title, table in export_tables.tables(shown, narrow=True).items():
    table.show(console, title)
  for name in written:
    console.line(f"File: {output / name}")
  if written:
    console.line(f"Report: {output / results.NAME}")


main = functools.partial(program.run, "export", _export)

if __name__ == "__main__":
  sys.exit(main())
