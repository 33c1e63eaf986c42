"""Draws saliency maps of a run's network: `python -m mn_jax.tools.saliency`.

Writes one picture: a row for each image, with a heat map for each method. The
images are named, or sampled from a part of the run's split. Exit codes: 0, or 2
for a wrong argument.
"""

import argparse
import functools
import sys
from collections.abc import Sequence

import numpy as np

from mn_jax.commandline import images as image_files
from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, file_path, names, number
from mn_jax.data import classes as classes_lib
from mn_jax.errors import InputError
from mn_jax.explain import saliency
from mn_jax.metrics import predictions
from mn_jax.observe import canvas, inspection_figures
from mn_jax.observe.console import Console
from mn_jax.run import reopen

_BATCH = 8
_INTEGRATED = "integrated_gradients"
_MAX_IMAGES = 64  # of one picture


def _parser() -> Parser:
  default = saliency.Settings()
  parser = run_arguments.parser(
    "saliency",
    description="Draw saliency maps of a network's predictions, for images "
    "that are named or sampled from a part of the run's split.",
    example="--workdir=runs/idc_v1 --count=4",
  )
  parser.add_argument(
    "paths",
    nargs="*",
    metavar="PATH",
    help="images, and folders, zips or tars of images",
  )
  run_arguments.add_part(parser, default="test")
  parser.option(
    "--count",
    "COUNT",
    "images sampled from the part",
    type=number(int, 1, _MAX_IMAGES),
    default=8,
  )
  parser.option(
    "--methods",
    "NAMES",
    "separated by commas",
    type=names(saliency.METHODS),
    default=",".join(saliency.METHODS),
  )
  parser.add_argument(
    "--class",
    dest="class_name",
    metavar="NAME",
    help="class whose logit is explained (default: the predicted one)",
  )
  parser.option(
    "--seed",
    "SEED",
    "seed of the sampled images and of smooth_grad",
    type=run_arguments.seed,
    default=default.seed,
  )
  parser.option(
    "--samples",
    "COUNT",
    "samples of smooth_grad",
    type=run_arguments.count,
    default=default.samples,
  )
  parser.option(
    "--points",
    "COUNT",
    "steps of integrated_gradients",
    type=run_arguments.count,
    default=default.steps,
  )
  parser.add_argument(
    "--baseline",
    metavar="GREY",
    type=number(float, 0, 255),
    default=default.baseline,
    help="baseline of integrated_gradients, 0 black to 255 white (default: 0)",
  )
  parser.option(
    "--output",
    "FILE.png",
    "picture to write (default: WORKDIR/inspect/saliency.png)",
    type=file_path,
  )
  run_arguments.add_places(parser)
  return parser


def _read(
  paths: Sequence[str], run: reopen.SavedRun
) -> tuple[np.ndarray, list[str]]:
  """Reads images; returns u8[n, h, w, 3] and the names of those it can read."""
  images, names = [], []
  with image_files.Images(paths, "saliency") as named:
    for path, image in named.read(run.read_image):
      images.append(image)
      names.append(path.rpartition("/")[2])
  if not 0 < len(images) <= _MAX_IMAGES:
    raise InputError(
      f"got {len(images)} images that can be read; valid: 1 to {_MAX_IMAGES}"
    )
  return np.stack(images), names


def _sample(
  args: argparse.Namespace, run: reopen.SavedRun, console: Console
) -> tuple[np.ndarray, list[str]]:
  """Samples images of a part; returns u8[n, h, w, 3] and titles with labels."""
  with console.counting("decoding", "images") as progress:
    data = run.data(progress)
  rows = data.part(args.part)
  rows = np.random.default_rng(args.seed).permutation(rows)[: args.count]
  rows.sort()
  labels = data.cache.labels[rows]
  names = (classes_lib.names_of(data.classes, label) for label in labels)
  titles = [f"true {_short(name)}" for name in names]
  return data.cache.images[rows], titles


def _saliency(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  run = run_arguments.open_run(args)
  if args.class_name is not None and args.class_name not in run.classes:
    raise InputError(
      f"--class: got {args.class_name!r}; valid: {', '.join(run.classes)}"
    )
  output = run_arguments.output_picture(
    args.output, run.path / "inspect" / "saliency.png"
  )
  console = Console()
  images, titles = (
    _read(args.paths, run) if args.paths else _sample(args, run, console)
  )
  explainer = saliency.Explainer(
    run.module,
    run.network.conventions,
    resolution=run.config.model.resolution,
    settings=saliency.Settings(
      samples=args.samples,
      seed=args.seed,
      steps=args.points,
      baseline=args.baseline,
    ),
  )
  maps = {name: [] for name in args.methods}
  differences = []
  # The last batch is padded to the shape of the others, which is compiled.
  size = min(_BATCH, len(images))
  with console.counting("explaining", "images") as progress:
    for start in range(0, len(images), size):
      rows = np.arange(start, start + size).clip(max=len(images) - 1)
      logits = predictions.check_finite(
        explainer.logits(run.variables, images[rows])
      )
      explained = logits.argmax(axis=1)
      if args.class_name is not None:
        explained[:] = run.classes.index(args.class_name)
      count = min(size, len(images) - start)
      batch = (run.variables, images[rows], explained)
      differences.append(explainer.score_difference(*batch)[:count])
      for name in args.methods:
        maps[name].append(explainer.explain(name, *batch)[:count])
      probabilities = predictions.probabilities(
        logits, multi_label=run.multi_label
      )
      for i in range(count):
        titles[start + i] += _predicted(
          run.classes, probabilities[i], explained[i]
        )
      progress(start + count, len(images))
  maps = {name: np.concatenate(batches) for name, batches in maps.items()}
  if _INTEGRATED in maps:
    difference = np.concatenate(differences)
    error = np.abs(maps[_INTEGRATED].sum(axis=(1, 2)) - difference).sum()
    error /= max(np.abs(difference).sum(), 1e-9)
    console.line(
      f"{_INTEGRATED}: the sums of the maps are off by {error:.0%} of the "
      "difference in logits that they explain; increase "
      f"--points={args.points} to lower the error"
    )
  picture = inspection_figures.heat_maps(images, maps, titles)
  run_arguments.save_picture(picture, output)
  console.line(f"Saliency: {output}")


def _predicted(
  classes: tuple[str, ...], probabilities: np.ndarray, explained: int
) -> str:
  """Returns the end of a title: the predicted and the explained class."""
  best = int(probabilities.argmax())
  text = f", predicted {_short(classes[best])} {probabilities[best]:.2f}"
  if explained != best:
    name = _short(classes[explained])
    text += f", explained {name} {probabilities[explained]:.2f}"
  return text


def _short(name: str) -> str:
  return canvas.label(name, 22)


main = functools.partial(program.run, "saliency", _saliency)

if __name__ == "__main__":
  sys.exit(main())
