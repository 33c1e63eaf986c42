"""Exports a network: `python -m mn_jax.tools.export --workdir=DIR --to=onnx`.

The best checkpoint of a run, or published weights (`--model=NAME
--weights=FILE`), as files for LiteRT, onnxruntime or JAX alone. Each file is
run by its own runtime on labelled images before it is written, and what it has
lost goes to `report.json` beside it. Exit codes: 0, 1 if a file lost too much
and was not written, 2 for a wrong argument, 130 stopped by Ctrl-C.
"""

import argparse
import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mn_jax.commandline import program, run_arguments, weights_arguments
from mn_jax.commandline.parser import Parser, command, file_path, names, number
from mn_jax.config import overrides
from mn_jax.deploy import trained as trained_lib
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError, RunError
from mn_jax.export import description, files, judgement, labelled, results
from mn_jax.export.files import File
from mn_jax.export.judgement import Verdict
from mn_jax.export.labelled import Labelled
from mn_jax.export.options import FORMATS, INPUTS, PRECISIONS, Options
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator, compile_cache
from mn_jax.run import records, reopen

_ANY = "any"
_CALIBRATION = 200  # images, unless the user wants another number
_INT8 = ("int8_weights", "int8_full")


@dataclasses.dataclass(frozen=True)
class _Subject:
  """What is exported, and what it is judged by."""

  trained: Trained
  origin: dict[str, Any]
  labelled: Labelled


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
  parser.flag("--force", "write such a file all the same")
  parser.flag(
    "--unjudged", "open no images: write files of which nothing is measured"
  )


def _or_any(read: Any) -> Any:
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


@contextlib.contextmanager
def _opened(args: argparse.Namespace, console: Console) -> Iterator[_Subject]:
  """Opens what is exported, with the images that it needs."""
  precisions = args.precision or ("float32",)
  calibration = args.calibration_images * ("int8_full" in precisions)
  if args.workdir:
    yield _open_run(args, console, calibration)
    return
  compile_cache.keep()
  trained = weights_arguments.load(args)
  if args.data is None:
    yield _Subject(trained, {}, Labelled())
    return
  changes = {}
  for change in args.overrides:
    path, value = overrides.parse(change)
    section, _, name = path.rpartition(".")
    if section != "data" or name not in labelled.FIELDS:
      valid = ", ".join(f"data.{name}" for name in labelled.FIELDS)
      raise InputError(f"{path}: got it with --data; valid: {valid}")
    changes[name] = value
  with contextlib.ExitStack() as stack:
    with console.counting("decoding", "images") as progress:
      images = stack.enter_context(
        labelled.of_path(
          trained,
          args.data,
          changes,
          calibration=calibration,
          progress=progress,
        )
      )
    yield _Subject(trained, {}, images)


def _open_run(
  args: argparse.Namespace, console: Console, calibration: int
) -> _Subject:
  run = reopen.open_run(
    args.workdir, step=args.step, **run_arguments.places(args.overrides)
  )
  compile_cache.keep(run.config.data.cache_dir)
  if args.step is None:
    _check_finished(args.workdir, run.step)
  images = Labelled()
  if calibration or not args.unjudged:
    with console.counting("decoding", "images") as progress:
      images = labelled.of_run(run.data(progress), calibration=calibration)
  if args.unjudged:
    images = dataclasses.replace(images, parts=())
  return _Subject(trained_lib.from_run(run), description.origin_of(run), images)


def _check_finished(workdir: pathlib.Path, step: int) -> None:
  """Refuses a run without results, or whose results are of another step.

  Raises:
    InputError: saying so.
  """
  if not (workdir / "summary.json").exists():
    raise InputError(
      f"--workdir: got {str(workdir)!r}, which has not finished; valid: a "
      f"finished run, or --step={step}, its best checkpoint so far"
    )
  best = records.read_summary(workdir)["best_step"]
  if step != best:
    raise InputError(
      f"--workdir: got {str(workdir)!r}, whose results are of step {best}, of "
      f"which there is no checkpoint; valid: --step={step}, the best there is"
    )


def _export(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  _check(args)
  console = Console()
  allocator.keep_freed_memory()
  output = run_arguments.output_folder(args.output or args.workdir / "export")
  refused = []
  with _opened(args, console) as subject:
    judge = None
    if subject.labelled.parts:
      judge = judgement.Judge(subject.trained, subject.labelled.parts)
    for form in args.to:
      for precision in args.precision or ("float32",):
        file = _make(args, subject, form, precision)
        verdicts = judge.judge(file) if judge else {}
        _show(console, file, verdicts)
        loss = _too_large(args, file, verdicts)
        if loss:
          refused.append(loss)
          continue
        files.write(file, output / file.name)
        results.write(output, {file.name: _entry(args, file, verdicts)})
        console.line(f"File: {output / file.name}")
  if not subject.labelled.parts:
    console.line("Not judged: no labelled images were opened.")
  if refused:
    raise RunError("; ".join(refused))
  return 0


def _make(
  args: argparse.Namespace, subject: _Subject, form: str, precision: str
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
  }


def _show(console: Console, file: File, verdicts: dict[str, Verdict]) -> None:
  for part, x in verdicts.items():
    console.line(
      f"{file.name}: {part}: {x.deciding} {x.before[x.deciding]:.4f} -> "
      f"{x.after[x.deciding]:.4f}, {x.changed} of {x.images} answers change "
      f"({x.lost} lost, {x.gained} gained), logits by at most "
      f"{x.largest_logit_difference:.2g}"
    )


main = functools.partial(program.run, "export", _export)

if __name__ == "__main__":
  sys.exit(main())
