"""Exports a network: `python -m mn_jax.tools.export --workdir=DIR --to=onnx`.

The best checkpoint of a run, or published weights (`--model=NAME
--weights=FILE`), as files for LiteRT, onnxruntime or JAX alone. Each file is
run by its own runtime on labelled images before it is written, and what it has
lost goes to `report.json` beside it. Exit codes: 0, 1 if a file was not
written, as it lost too much or cannot be made, 2 for a wrong argument, 130
stopped by Ctrl-C.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
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
from mn_jax.export import acceptance, files, judgement, results
from mn_jax.export.files import File
from mn_jax.export.judgement import Verdict
from mn_jax.export.options import FORMATS, INPUTS, PRECISIONS, Options
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator
from mn_jax.perf import latency
from mn_jax.report import export_tables

_ANY = "any"
_CALIBRATED = "int8_full"  # the precision that needs images
_CALIBRATION = 200  # of them, unless the user wants another number
_DEFAULT = ()  # size of images: what the format can do


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
  )
  parser.set_defaults(precision=("float32",))
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
  parser.set_defaults(input_size=_DEFAULT)
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
    f"of --data some that nothing is judged by (default: {_CALIBRATION})",
    type=run_arguments.count,
  )
  parser.option(
    "--max-loss",
    "SHARE",
    "a file that loses more balanced accuracy than this on validation (several "
    "labels: macro AUROC) is refused; in float32 also one whose answers are "
    "not the network's",
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
    "--unjudged",
    "measure nothing of the files, and open no images but those that calibrate",
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
  _check_form(args)
  if args.calibration_images and _CALIBRATED not in args.precision:
    raise InputError(
      f"--calibration-images: got {args.calibration_images} without int8_full, "
      "which alone needs them; valid: with --precision=int8_full"
    )
  if args.force and args.unjudged:
    raise InputError(
      "--force: got it with --unjudged, which refuses no file; valid: one of "
      "them"
    )
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
  if _CALIBRATED in args.precision and not args.data:
    raise InputError(
      "--precision: got int8_full with --weights and no images to calibrate "
      "by; valid: with --data=PATH"
    )


def _check_form(args: argparse.Namespace) -> None:
  """Refuses files that no network can have, before any is opened.

  Raises:
    InputError: for the first of them.
  """
  if args.input_size != _DEFAULT:
    if args.input == "normalised":
      raise InputError(
        "--input-size: got it with --input=normalised, whose images are of the "
        "size that the network takes; valid: with --input=pixels"
      )
    if args.input_size is None and "litert" in args.to:
      raise InputError(
        "--input-size: got 'any' for litert, whose images have one size; "
        "valid: N or HxW, or another format"
      )
  for form in args.to:
    for precision in args.precision:
      files.check(form, _options(args, precision))


def _options(args: argparse.Namespace, precision: str) -> Options:
  return Options(
    precision=precision,
    batch=args.batch,
    input=args.input,
    size=args.input_size or None,
  )


def _export(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  _check(args)
  console = Console()
  allocator.keep_freed_memory()
  output = run_arguments.output_folder(args.output or args.workdir / "export")
  calibration = 0
  if _CALIBRATED in args.precision:
    calibration = args.calibration_images or _CALIBRATION
  with exported_network.opened(
    args, console, calibration=calibration
  ) as subject:
    shown: dict[str, dict[str, Any]] = {}
    try:
      problems = _write(args, subject, output, shown)
    finally:  # even if the disk is full: files that are written stay
      _show(console, output, shown)
  if not subject.labelled.parts:
    console.line("Not judged: no labelled images were opened.")
  if problems:
    raise RunError("; ".join(problems))


def _write(
  args: argparse.Namespace,
  subject: Exported,
  output: pathlib.Path,
  shown: dict[str, dict[str, Any]],
) -> list[str]:
  """Writes the files that are asked for; returns what is wrong with others.

  Args:
    args: of the program.
    subject: the network, with its images.
    output: folder of the files.
    shown: gets the entry of each file that was judged, by its name.
  """
  problems = []
  judge = None
  if subject.labelled.parts:
    judge = judgement.Judge(subject.trained, subject.labelled.parts)
  for form in args.to:
    written = []
    for precision in args.precision:
      try:
        file = _make(args, subject, form, precision)
        verdicts = judge.judge(file) if judge else {}
      except (InputError, RunError) as error:
        problems.append(f"{form} {precision} was not written: {error}")
        continue
      reason = acceptance.refusal(file, verdicts, max_loss=args.max_loss)
      entry = _entry(args, file, verdicts)
      if reason and not args.force:
        shown[file.name] = entry | {"refused": True}
        earlier = (output / file.name).exists()
        problems.append(
          f"{file.name} was not written: {reason}; --force writes it"
          + earlier * "; an earlier file of this name is still there"
        )
        continue
      files.write(file, output / file.name)
      shown[file.name] = entry
      results.write(output, {file.name: entry})
      written.append(file)
    try:
      _time(args, subject, form, written, output, shown)
    except RunError as error:
      problems.append(f"{form} was not timed: {error}")
  return problems


def _time(
  args: argparse.Namespace,
  subject: Exported,
  form: str,
  made: Sequence[File],
  output: pathlib.Path,
  shown: dict[str, dict[str, Any]],
) -> None:
  """Times files of a format, and adds that to their entries."""
  turns = 0 if args.unjudged else args.turns
  if not turns or not made:
    return
  timed = list(made)
  if all(x.options.precision != "float32" for x in made):
    timed.append(_make(args, subject, form, "float32"))
  found = latency.measure(subject.trained, timed, turns=turns)
  for file in made:
    shown[file.name]["latency"] = latency.as_json(found[file.name])
  results.write(output, {x.name: shown[x.name] for x in made})


def _make(
  args: argparse.Namespace, subject: Exported, form: str, precision: str
) -> File:
  return files.make(
    subject.trained,
    form,
    _options(args, precision),
    origin=subject.origin,
    calibration=subject.labelled.calibration,
  )


def _entry(
  args: argparse.Namespace, file: File, verdicts: dict[str, Verdict]
) -> dict[str, Any]:
  entry = {
    "format": file.form,
    **dataclasses.asdict(file.options),
    "bytes": len(file.data),
    "sha256": file.sha256,
    "weights": file.description["weights"]["sha256"],
    "step": file.description["weights"].get("step"),
    "calibration": file.description["calibration"],
    "versions": file.description["versions"],
    "max_loss": args.max_loss,
    "parts": {name: x.numbers() for name, x in verdicts.items()},
    "latency": None,
  }
  return formatting.jsonable(entry)


def _show(
  console: Console, output: pathlib.Path, shown: Mapping[str, Mapping[str, Any]]
) -> None:
  """Prints tables of files, and where those are that were written."""
  for title, table in export_tables.tables(shown, narrow=True).items():
    table.show(console, title)
  written = [name for name, x in shown.items() if not x.get("refused")]
  for name in written:
    console.line(f"File: {output / name}")
  if written:
    console.line(f"Report: {output / results.NAME}")


main = functools.partial(program.run, "export", _export)

if __name__ == "__main__":
  sys.exit(main())
