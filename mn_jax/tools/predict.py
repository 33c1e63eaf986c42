"""Classifies images: `python -m mn_jax.tools.predict --workdir=DIR PATH...`.

With published weights: `--model=mobilenet_v2 --weights=FILE`. Folders, zips
and tars are searched for images by the rules of training. Rows go to standard
output; what is passed over or cannot be read, to standard error. Exit codes: 0
if all images were classified, 1 if some could not be read, 2 if none could, or
for a wrong argument.
"""

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from mn_jax.augment import views
from mn_jax.commandline import images as image_files
from mn_jax.commandline import (
  prediction_rows,
  program,
  run_arguments,
  weights_arguments,
)
from mn_jax.commandline.parser import Parser, command, file_path, number
from mn_jax.deploy import averaging, confidence, predictor
from mn_jax.errors import InputError
from mn_jax.metrics import out_of_distribution
from mn_jax.observe import escape
from mn_jax.parallel import allocator, compile_cache
from mn_jax.run import reopen

_TOP = 5  # classes per image, unless the user wants another number


def _parser() -> Parser:
  parser = Parser(
    command("predict"),
    description="Classify images with a trained network: that of a run "
    "(--workdir), or one with published weights (--model and --weights).",
    example="--workdir=runs/idc_v1 photos/",
  )
  parser.add_argument(
    "paths",
    nargs="+",
    metavar="PATH",
    help="images, and folders, zips or tars of images",
  )
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    type=file_path,
    action="append",
    help="folder of a run, whose best checkpoint is used; repeated, the mean "
    "probabilities of several runs",
  )
  weights_arguments.add(parser)
  parser.add_argument(
    "--format",
    choices=("csv", "json"),
    default="csv",
    help="format of the output (default: csv)",
  )
  parser.option(
    "--top",
    "COUNT",
    "classes per image, most probable first (default: 5); a run of several "
    "labels per image has a column for each of them",
    type=run_arguments.count,
  )
  parser.option(
    "--batch-size",
    "SIZE",
    "images per batch",
    type=run_arguments.count,
    default=32,
  )
  parser.add_argument(
    "--tta",
    metavar="KIND",
    choices=("auto", *views.KINDS),
    help="with --workdir: the mean probabilities of several views of an image, "
    "horizontal, flips, turns, dihedral, or auto (docs/evaluation.md)",
  )
  _add_confidence(parser)
  run_arguments.add_precision(
    parser, "that of the run's training; float32 with --weights"
  )
  return parser


def _add_confidence(parser: Parser) -> None:
  """Adds what the validation part of a run is used for."""
  parser.option(
    "--conformal",
    "ALPHA",
    "with --workdir: add prediction sets, which miss the class of at most that "
    "share of images, such as 0.1, of every class (docs/trust.md)",
    type=number(float, 0, 1),
  )
  parser.flag(
    "--marginal", "with --conformal: of all images, not of every class"
  )
  parser.flag(
    "--temperature-from-val",
    "with --workdir: divide logits by the temperature that fits the validation "
    "part, so that probabilities are calibrated",
  )


def _load(
  args: argparse.Namespace,
) -> tuple[predictor.Predictor, confidence.Confidence]:
  """Returns the network that the arguments name, and what is known of it."""
  weights_arguments.check(args)
  if args.marginal and args.conformal is None:
    raise InputError("--marginal: got it without --conformal; valid: with it")
  if args.workdir:
    return _load_run(args)
  if args.tta is not None:
    raise InputError(
      f"--tta: got {args.tta!r} with published weights; valid: with --workdir"
    )
  for name in ("conformal", "temperature_from_val"):
    if getattr(args, name) not in (None, False):
      raise InputError(
        f"--{name.replace('_', '-')}: got it with published weights, which "
        "come without validation images; valid: with --workdir"
      )
  loaded = predictor.fold(
    weights_arguments.load(args),
    precision=args.precision,
    batch_size=args.batch_size,
  )
  note = (
    "no out-of-distribution score: published weights come without images to "
    "compare with"
  )
  return loaded, confidence.Confidence(
    multi_label=loaded.multi_label, notes=(note,)
  )


def _load_run(
  args: argparse.Namespace,
) -> tuple[predictor.Predictor, confidence.Confidence]:
  runs = [reopen.open_run(path) for path in args.workdir]
  if len(runs) > 1 or args.tta is not None:
    return _load_several(args, runs)
  (run,) = runs
  judge = confidence.of_run(
    run,
    alpha=args.conformal,
    marginal=args.marginal,
    calibrated=args.temperature_from_val,
  )
  own = run.config.model.dtype
  compared = judge.reference is not None or args.temperature_from_val
  compared = compared or judge.thresholds is not None
  if compared and args.precision not in (None, own):
    note = (
      f"validation was predicted in {own}: scores, sets and a temperature are "
      f"those of that precision, not of {args.precision}"
    )
    judge = judge.with_note(note)
  loaded = predictor.from_run(
    run, precision=args.precision, batch_size=args.batch_size
  )
  return loaded, judge


def _load_several(
  args: argparse.Namespace, runs: Sequence[reopen.SavedRun]
) -> tuple[predictor.Predictor, confidence.Confidence]:
  """Returns the mean of runs and views, of which validation says nothing."""
  if args.conformal is not None or args.temperature_from_val:
    flag = "--temperature-from-val"
    if args.conformal is not None:
      flag = "--conformal"
    raise InputError(
      f"{flag}: got it with several runs or --tta; valid: with one run and "
      "plain images, of which validation was predicted"
    )
  loaded = averaging.of_runs(
    runs,
    views=args.tta or "",
    precision=args.precision,
    batch_size=args.batch_size,
  )
  return loaded, confidence.Confidence(multi_label=loaded.multi_label)


def _predict(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  # Names of files need not be text; what was read as such is written again.
  sys.stdout.reconfigure(errors=program.FILE_NAMES)
  allocator.keep_freed_memory()
  with image_files.Images(args.paths, "predict") as named:
    compile_cache.keep()
    loaded, judge = _load(args)
    for note in filter(None, (loaded.note, *judge.notes)):
      print(f"predict: {escape.printable(note)}", file=sys.stderr)
    count, distances = _write(
      args, named.read(loaded.read_image), loaded, judge
    )
  if judge.reference is not None:
    _warn(distances, len(judge.reference.distances))
  if not named.count:
    print(
      f"predict: no image is in {', '.join(map(repr, args.paths))}; valid: "
      "images, and folders, zips or tars of images",
      file=sys.stderr,
    )
  elif named.unreadable or not count:
    print(
      f"predict: {count or 'none'} of {named.count} images could be classified",
      file=sys.stderr,
    )
  if not count:
    return 2
  return 1 if named.unreadable else 0


def _write(
  args: argparse.Namespace,
  images: Iterator[tuple[str, np.ndarray]],
  loaded: predictor.Predictor,
  judge: confidence.Confidence,
) -> tuple[int, list[float]]:
  """Writes a row for each image as it is predicted.

  Returns:
    The number of rows, and the percentiles of their distances.
  """
  if loaded.multi_label and args.top is not None:
    raise InputError(
      f"--top: got {args.top} for a run of several labels per image, each of "
      "which has a probability of its own; valid: without it"
    )
  top, distances = min(args.top or _TOP, len(loaded.classes)), []
  rows = prediction_rows.classify(
    images, loaded, judge, top=top, batch_size=args.batch_size
  )

  def kept() -> Iterator[prediction_rows.Row]:
    for row in rows:
      if row.judged.distance is not None:
        distances.append(row.judged.distance)
      yield row

  if args.format == "json":
    count = prediction_rows.write_json(kept(), judge, loaded.classes)
  else:
    count = prediction_rows.write_csv(kept(), judge, loaded.classes, top=top)
  return count, distances


def _warn(distances: list[float], validation: int) -> None:
  """Says so if more images are strange than chance would have it."""
  beyond, percentile = out_of_distribution.many_beyond(
    np.array(distances), validation
  )
  if beyond:
    print(
      f"predict: {beyond} of {len(distances)} images are farther from the "
      f"training images than {percentile:.3g} % of the validation images are; "
      "what is predicted for them may mean nothing",
      file=sys.stderr,
    )


main = functools.partial(program.run, "predict", _predict)

if __name__ == "__main__":
  sys.exit(main())
