"""Classifies images: `python -m mn_jax.tools.predict --workdir=DIR IMAGES...`.

With published weights: `--model=mobilenet_v2 --weights=FILE`. Folders are
searched for images. Rows go to standard output, problems to standard error.
Exit codes: 0 if any image was classified, 1 if none was, 2 for a mistake in
what was given.
"""

import argparse
import csv
import itertools
import json
import math
import os
import pathlib
import sys
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from mn_jax.commandline import run_options
from mn_jax.data import decode
from mn_jax.deploy import predictor
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.parallel import allocator, compile_cache

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def find(paths: Sequence[str]) -> Iterator[pathlib.Path]:
  """The images that are named or lie in folders that are, in order.

  Raises:
    InputError: for a path that is neither a file nor a folder.
  """
  for path in map(pathlib.Path, paths):
    try:
      is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # no permission, or a name that is too long
      is_folder = is_file = False
    if is_folder:
      inside = path.rglob("*")
      yield from sorted(
        p for p in inside if p.suffix.lower() in _SUFFIXES and p.is_file()
      )
    elif is_file:
      yield path
    else:
      raise InputError(
        f"got {str(path)!r}, which is neither a file nor a folder; valid: "
        "images and folders of images"
      )


def read(
  paths: Sequence[pathlib.Path], chosen: predictor.Predictor
) -> Iterator[tuple[str, np.ndarray]]:
  """(path, prepared pixels) of the images; says which cannot be read."""
  for path in paths:
    try:
      pixels = decode.decode(path.read_bytes())
    except (decode.DecodeError, OSError) as error:
      print(f"predict: {path}: {error}", file=sys.stderr)
      continue
    yield str(path), chosen.prepare(pixels)


def classify(
  images: Iterator[tuple[str, np.ndarray]],
  chosen: predictor.Predictor,
  *,
  top: int,
) -> Iterator[tuple[str, list[tuple[int, str, float]]]]:
  """(path, [(class index, name, probability), ...]), likeliest first."""
  named, images = itertools.tee(images)
  rows = chosen.probabilities(pixels for _, pixels in images)
  for (name, _), row in zip(named, rows, strict=True):
    best = np.argsort(-row, kind="stable")[:top].tolist()
    yield name, [(i, chosen.classes[i], float(row[i])) for i in best]


def _write_csv(results: Iterator, top: int) -> int:
  writer = csv.writer(sys.stdout, lineterminator="\n")
  columns = ("index", "name", "probability")
  writer.writerow(
    ["file"] + [f"top{k + 1}_{c}" for k in range(top) for c in columns]
  )
  count = 0
  for name, best in results:
    count += 1
    cells = [(i, label, f"{p:.6f}") for i, label, p in best]
    writer.writerow([name, *itertools.chain.from_iterable(cells)])
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = run_options.Parser(
    prog="python -m mn_jax.tools.predict",
    description="Classify images with a trained network: that of a run "
    "(--workdir), or one with published weights (--model and --weights).",
  )
  parser.add_argument(
    "paths", nargs="+", metavar="PATH", help="images and folders of images"
  )
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    help="of a run: its best checkpoint, or the newest if it is unfinished",
  )
  parser.add_argument("--model", metavar="NAME", help="of the network")
  parser.add_argument(
    "--weights",
    metavar="FILE",
    help="its weights: .h5 of Keras Applications, or .safetensors of timm or "
    "torchvision",
  )
  parser.add_argument(
    "--width",
    metavar="FACTOR",
    type=float,
    help="width multiplier of these weights (default: 1)",
  )
  parser.add_argument(
    "--minimalistic",
    action="store_true",
    help="the weights are of a minimalistic mobilenet_v3",
  )
  parser.add_argument(
    "--format", choices=("csv", "json"), default="csv", help="default: csv"
  )
  parser.add_argument(
    "--top",
    metavar="COUNT",
    type=int,
    default=5,
    help="classes per image, likeliest first (default: 5)",
  )
  parser.add_argument(
    "--batch",
    metavar="SIZE",
    type=int,
    default=32,
    help="images at once (default: 32)",
  )
  run_options.add_precision(
    parser, "that the run was trained in; float32 with --weights"
  )
  return parser.parse_args(argv)


def _load(args: argparse.Namespace) -> predictor.Predictor:
  of_weights = {
    f"--{name}": getattr(args, name)
    for name in ("model", "weights", "width", "minimalistic")
    if getattr(args, name)
  }
  complete = not of_weights if args.workdir else args.model and args.weights
  if not complete:
    given = {"--workdir": args.workdir} if args.workdir else {}
    listed = ", ".join(f"{k}={v}" for k, v in (given | of_weights).items())
    raise InputError(
      f"got {listed or 'no network'}; valid: --workdir=DIR, or --model=NAME "
      "and --weights=FILE"
    )
  if args.workdir:
    return predictor.from_workdir(
      pathlib.Path(args.workdir).expanduser(),
      precision=args.precision,
      batch_size=args.batch,
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
    precision=args.precision or "float32",
    batch_size=args.batch,
  )


def _check_numbers(args: argparse.Namespace) -> None:
  for name in ("top", "batch"):
    if getattr(args, name) < 1:
      raise InputError(f"--{name}: got {getattr(args, name)}; valid: 1 or more")
  if args.width is not None and not 0 < args.width < math.inf:
    raise InputError(f"--width: got {args.width:g}; valid: above 0")


def _predict(args: argparse.Namespace) -> int:
  """Classifies what was asked for; returns the exit code."""
  _check_numbers(args)
  paths = list(find(args.paths))
  compile_cache.keep()
  chosen = _load(args)
  top = min(args.top, len(chosen.classes))
  results = classify(read(paths, chosen), chosen, top=top)
  count = (
    _write_json(results) if args.format == "json" else _write_csv(results, top)
  )
  if not count:
    print(
      f"predict: none of {len(paths)} images could be classified",
      file=sys.stderr,
    )
  return 0 if count else 1


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  # Names of files need not be texts; what was read as such is written again.
  sys.stdout.reconfigure(errors="surrogateescape")
  # Pillow warns of odd metadata in images that it reads all the same.
  warnings.filterwarnings("ignore", module="PIL")
  allocator.keep_freed_memory()
  try:
    return _predict(_parse(argv))
  except InputError as error:
    print(f"predict: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("predict: stopped", file=sys.stderr)
    return 130
  except BrokenPipeError:
    # Whoever reads has seen enough. Python writes what is left when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
  sys.exit(main())
