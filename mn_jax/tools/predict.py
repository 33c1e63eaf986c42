"""Classifies images: `python -m mn_jax.tools.predict --workdir=DIR PATH...`.

With published weights: `--model=mobilenet_v2 --weights=FILE`. Folders, zips
and tars are searched for images by the rules of training. Rows go to standard
output; what is passed over or cannot be read, to standard error. Exit codes: 0
if all images were classified, 1 if some could not be read, 2 if none could, or
for a wrong argument.
"""

import argparse
import csv
import functools
import itertools
import json
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from mn_jax.commandline import images as image_files
from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, command, file_path, number
from mn_jax.deploy import predictor
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.observe import escape
from mn_jax.parallel import allocator, compile_cache

_TOP = 5  # classes per image, unless the user wants another number


def classify(
  images: Iterator[tuple[str, np.ndarray]],
  loaded: predictor.Predictor,
  *,
  top: int,
) -> Iterator[tuple[str, list[tuple[int, str, float]]]]:
  """Yields path, [(class index, name, probability), ...], best first."""
  named, images = itertools.tee(images)
  rows = loaded.probabilities(pixels for _, pixels in images)
  for (name, _), row in zip(named, rows, strict=True):
    best = np.argsort(-row, kind="stable")[:top].tolist()
    yield name, [(i, loaded.classes[i], float(row[i])) for i in best]


def label_probabilities(
  images: Iterator[tuple[str, np.ndarray]], loaded: predictor.Predictor
) -> Iterator[tuple[str, list[float]]]:
  """Yields path and the probability of every label, in the order of classes."""
  named, images = itertools.tee(images)
  rows = loaded.probabilities(pixels for _, pixels in images)
  for (name, _), row in zip(named, rows, strict=True):
    yield name, row.tolist()


def _write_labels_csv(results: Iterator, labels: Sequence[str]) -> int:
  """Writes a column for each label, where an image may have several."""
  writer = csv.writer(sys.stdout, lineterminator="\n")
  writer.writerow(["file", *map(escape.csv_cell, labels)])
  count = 0
  for name, row in results:
    count += 1
    writer.writerow([escape.csv_cell(name), *(f"{p:.6f}" for p in row)])
    sys.stdout.flush()
  return count


def _write_labels_json(results: Iterator, labels: Sequence[str]) -> int:
  rows = [
    {"file": name, "labels": dict(zip(labels, row, strict=True))}
    for name, row in results
  ]
  json.dump(rows, sys.stdout, indent=2)
  print(flush=True)
  return len(rows)


def _write_csv(results: Iterator, top: int) -> int:
  writer = csv.writer(sys.stdout, lineterminator="\n")
  columns = ("index", "name", "probability")
  writer.writerow(
    ["file"] + [f"top{k + 1}_{c}" for k in range(top) for c in columns]
  )
  count = 0
  for name, best in results:
    count += 1
    cells = [(i, escape.csv_cell(x), f"{p:.6f}") for i, x, p in best]
    row = itertools.chain.from_iterable(cells)
    writer.writerow([escape.csv_cell(name), *row])
    sys.stdout.flush()
  return count


def _write_json(results: Iterator) -> int:
  rows = [
    {
      "file": name,
      "top": [
        {"index": i, "name": label, "probability": p} for i, label, p in best
      ],
    }
    for name, best in results
  ]
  json.dump(rows, sys.stdout, indent=2)
  print(flush=True)
  return len(rows)


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
  parser.option(
    "--workdir",
    "DIR",
    "folder of a run, whose best checkpoint is used",
    type=file_path,
  )
  parser.option("--model", "NAME", "name of the network")
  parser.option(
    "--weights",
    "FILE",
    "its weights: .h5 of Keras Applications, or .safetensors of timm or "
    "torchvision",
  )
  parser.option(
    "--width",
    "FACTOR",
    "width multiplier of these weights (default: 1)",
    type=number(float, 0.01, 4),
  )
  parser.flag(
    "--minimalistic", "the weights are of a minimalistic mobilenet_v3"
  )
  parser.option(
    "--classes",
    "NAMES",
    "names of the classes of these weights in the order of the logits, "
    "separated by commas (default: those of ImageNet, or numbers)",
    type=lambda text: tuple(text.split(",")),
  )
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
  run_arguments.add_precision(
    parser, "that of the run's training; float32 with --weights"
  )
  return parser


def _load(args: argparse.Namespace) -> predictor.Predictor:
  """Returns the network that the arguments name, ready to predict."""
  of_weights = {
    f"--{name}": getattr(args, name)
    for name in ("model", "weights", "width", "minimalistic", "classes")
    if getattr(args, name)
  }
  complete = not of_weights if args.workdir else args.model and args.weights
  if not complete:
    of_run = {"--workdir": args.workdir} if args.workdir else {}
    listed = ", ".join(f"{k}={v}" for k, v in (of_run | of_weights).items())
    raise InputError(
      f"got {listed or 'no network'}; valid: --workdir=DIR, or --model=NAME "
      "and --weights=FILE"
    )
  if args.workdir:
    return predictor.from_workdir(
      args.workdir, precision=args.precision, batch_size=args.batch_size
    )
  network = registry.describe(
    args.model,
    num_classes=1,
    width=1.0 if args.width is None else args.width,
    options=registry.Options(minimalistic=args.minimalistic),
  )
  return predictor.from_weights(
    args.weights,
    network,
    classes=args.classes or (),
    precision=args.precision or "float32",
    batch_size=args.batch_size,
  )


def _write(
  args: argparse.Namespace,
  images: Iterator[tuple[str, np.ndarray]],
  loaded: predictor.Predictor,
) -> int:
  """Writes a row for each image as it is predicted; returns their number."""
  if loaded.multi_label:
    if args.top is not None:
      raise InputError(
        f"--top: got {args.top} for a run of several labels per image, each of "
        "which has a probability of its own; valid: without it"
      )
    results = label_probabilities(images, loaded)
    write = _write_labels_json if args.format == "json" else _write_labels_csv
    return write(results, loaded.classes)
  top = min(args.top or _TOP, len(loaded.classes))
  results = classify(images, loaded, top=top)
  if args.format == "json":
    return _write_json(results)
  return _write_csv(results, top)


def _predict(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  # Names of files need not be text; what was read as such is written again.
  sys.stdout.reconfigure(errors=program.FILE_NAMES)
  allocator.keep_freed_memory()
  with image_files.Images(args.paths, "predict") as named:
    compile_cache.keep()
    loaded = _load(args)
    if loaded.note:
      print(f"predict: {escape.printable(loaded.note)}", file=sys.stderr)
    count = _write(args, named.read(loaded.read_image), loaded)
  if named.unreadable or not count:
    print(
      f"predict: {count or 'none'} of {named.count} images could be classified",
      file=sys.stderr,
    )
  if not count:
    return 2
  return 1 if named.unreadable else 0


main = functools.partial(program.run, "predict", _predict)

if __name__ == "__main__":
  sys.exit(main())
