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
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from mn_jax import allocator, predictor
from mn_jax.data import decode
from mn_jax.errors import InputError
from mn_jax.models import registry

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def find(paths: Sequence[str]) -> Iterator[pathlib.Path]:
  """The images that are named or lie in folders that are, in order.

  Raises:
    InputError: for a path that does not exist.
  """
  for path in map(pathlib.Path, paths):
    if path.is_dir():
      inside = path.rglob("*")
      yield from sorted(
        p for p in inside if p.suffix.lower() in _SUFFIXES and p.is_file()
      )
    elif path.exists():
      yield path
    else:
      raise InputError(
        f"got {str(path)!r}, which does not exist; valid: images and folders"
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
  batch_size: int,
  top: int,
) -> Iterator[tuple[str, list[tuple[int, str, float]]]]:
  """(path, [(class index, name, probability), ...]), likeliest first."""
  while batch := list(itertools.islice(images, batch_size)):
    names, pixels = zip(*batch, strict=True)
    # One shape for all batches: the last is padded rather than compiled anew.
    padded = np.stack(pixels + pixels[:1] * (batch_size - len(batch)))
    rows = chosen.probabilities(padded)[: len(batch)]
    for name, row in zip(names, rows, strict=True):
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
  print()
  return len(rows)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m mn_jax.tools.predict",
    description="Classify images with a trained network.",
  )
  parser.add_argument("paths", nargs="+", help="images and folders of images")
  parser.add_argument("--workdir", help="folder of a run")
  parser.add_argument("--model", help="with --weights: the network's name")
  parser.add_argument("--weights", help="a .h5 or .safetensors file")
  parser.add_argument("--width", type=float, default=1.0, help="multiplier")
  parser.add_argument(
    "--minimalistic", action="store_true", help="of mobilenet_v3"
  )
  parser.add_argument("--format", choices=("csv", "json"), default="csv")
  parser.add_argument("--top", type=int, default=5, help="classes per image")
  parser.add_argument("--batch", type=int, default=32, help="images at once")
  return parser.parse_args(argv)


def _load(args: argparse.Namespace) -> predictor.Predictor:
  if bool(args.workdir) == bool(args.model and args.weights):
    raise InputError(
      f"got --workdir={args.workdir}, --model={args.model}, "
      f"--weights={args.weights}; valid: --workdir, or --model and --weights"
    )
  for name in ("top", "batch"):
    if getattr(args, name) < 1:
      raise InputError(f"--{name}: got {getattr(args, name)}; valid: 1 or more")
  if args.workdir:
    return predictor.from_workdir(pathlib.Path(args.workdir).expanduser())
  network = registry.describe(
    args.model,
    num_classes=1,
    width=args.width,
    options=registry.Options(minimalistic=args.minimalistic),
  )
  return predictor.from_weights(args.weights, network)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  args = _parse(argv)
  allocator.keep_freed_memory()
  try:
    paths = list(find(args.paths))
    chosen = _load(args)
  except InputError as error:
    print(f"predict: {error}", file=sys.stderr)
    return 2
  top = min(args.top, len(chosen.classes))
  results = classify(
    read(paths, chosen), chosen, batch_size=args.batch, top=top
  )
  count = (
    _write_json(results) if args.format == "json" else _write_csv(results, top)
  )
  if not count:
    print(
      f"predict: none of {len(paths)} images could be classified",
      file=sys.stderr,
    )
  return 0 if count else 1


if __name__ == "__main__":
  sys.exit(main())
