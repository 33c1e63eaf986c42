"""Embeds images by a run's features: `python -m mn_jax.tools.embed`.

Writes a picture of PCA and t-SNE, numbers as JSON, the features as a table for
`tools.probe`, and the files of TensorBoard's projector. Exit codes: 0, or 2 for
a wrong argument.
"""

import functools
import shlex
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, file_path
from mn_jax.data import atomic, strata
from mn_jax.data import classes as classes_lib
from mn_jax.data.datasets.listing import PARTS
from mn_jax.errors import InputError
from mn_jax.explain import embedding
from mn_jax.metrics import feature_table
from mn_jax.observe import console as console_lib
from mn_jax.observe import formatting, inspection_figures, projector
from mn_jax.run import reopen

_NEIGHBOURS = 5


def _parser() -> Parser:
  parser = run_arguments.parser(
    "embed",
    description="Embed images of a run's split by the features of its network: "
    f"PCA and t-SNE, accuracy of the {_NEIGHBOURS} nearest neighbours of other "
    "groups, silhouette, a table of the features, and files for TensorBoard's "
    "projector.",
    example="--workdir=runs/idc_v1",
  )
  run_arguments.add_part(parser, default="test", whole=True)
  parser.option(
    "--count",
    "COUNT",
    "largest number of images, sampled from the part",
    type=run_arguments.count,
    default=2000,
  )
  parser.add_argument(
    "--layer",
    metavar="NAME",
    default="pooled",
    help="feature map, pooled to a vector (default: pooled, the last one)",
  )
  parser.option(
    "--seed",
    "SEED",
    "seed of the sampled images and of t-SNE",
    type=run_arguments.seed,
    default=0,
  )
  parser.option(
    "--output",
    "DIR",
    "folder of the files (default: WORKDIR/inspect/embedding)",
    type=file_path,
  )
  run_arguments.add_places(parser)
  return parser


def _layer_features(
  run: reopen.SavedRun,
  images: np.ndarray,
  layer: str,
  console: console_lib.Console,
) -> np.ndarray:
  """Computes the features f32[n, channels] of images."""
  with console.counting("computing features", "images") as progress:
    features = embedding.features(
      run.module,
      run.network.conventions,
      run.variables,
      images,
      layer=layer,
      resolution=run.config.model.resolution,
      batch_size=run.config.eval.batch_size,
      progress=progress,
    )
  if not np.isfinite(features).all():
    raise InputError(
      f"--workdir: got {str(run.path)!r}, whose network of step {run.step} has "
      "features that are not finite; valid: a run that did not diverge"
    )
  return features


def _draw(
  projections: embedding.Projections,
  labels: np.ndarray,
  classes: Sequence[str],
  title: str,
) -> np.ndarray:
  shares = " and ".join(f"{x:.0%}" for x in projections.explained_variance)
  return inspection_figures.embedding(
    {f"PCA, {shares} of variance": projections.pca, "t-SNE": projections.tsne},
    labels,
    classes,
    title,
  )


def _embed(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  run = run_arguments.open_run(args)
  size = run.config.model.resolution or run.config.data.image_size
  names = embedding.layers(run.module, size)
  if args.layer not in names:
    raise InputError(f"--layer: got {args.layer!r}; valid: {', '.join(names)}")
  folder = run_arguments.output_folder(
    args.output or run.path / "inspect" / "embedding"
  )
  console = console_lib.Console()
  with console.counting("decoding", "images") as progress:
    data = run.data(progress)
  parts = PARTS if args.part == "all" else (args.part,)
  rows = np.concatenate([data.part(part) for part in parts])
  rows = np.random.default_rng(args.seed).permutation(rows)
  rows = np.sort(rows[: args.count])
  images, labels = data.cache.images[rows], data.cache.labels[rows]
  groups = None if data.spec.group is None else data.cache.groups[rows]
  features = _layer_features(run, images, args.layer, console)
  projections = embedding.project(features, seed=args.seed)
  neighbours = f"of another {data.spec.group or 'image'}"
  metrics = {}
  if not data.multi_label:
    metrics = {
      "knn_accuracy": embedding.knn_accuracy(
        features, labels, groups, k=_NEIGHBOURS
      ),
      "majority_rate": float(np.bincount(labels).max() / len(labels)),
      "silhouette": embedding.silhouette(features, labels),
    }
  variances = enumerate(projections.explained_variance, 1)
  numbers = {
    "experiment": run.config.experiment,
    "step": run.step,
    "part": args.part,
    "layer": args.layer,
    "features": features.shape[1],
    "images": len(labels),
    "k": _NEIGHBOURS,
    "neighbours": neighbours,
    **metrics,
    **{f"pca{i}_variance": share for i, share in variances},
    "seed": args.seed,
  }
  atomic.write_json(folder / "embedding.json", formatting.jsonable(numbers))
  colours, legend = labels, data.classes
  if data.multi_label:
    colours, legend = strata.rarest(labels), ("no label", *data.classes)
  summary = _summary(metrics, neighbours)
  title = (
    f"{run.config.experiment}, step {run.step}, {args.layer} of {len(labels):,}"
    f" {args.part} images: {summary}"
  )
  run_arguments.save_picture(
    _draw(projections, colours, legend, title), folder / "embedding.png"
  )
  columns = {
    "class": [classes_lib.names_of(data.classes, label) for label in labels],
    "name": data.cache.names[rows].tolist(),
  }
  if groups is not None:
    # A table's column of groups may have the name of one of these.
    group = data.spec.group
    columns[f"{group} (group)" if group in columns else group] = groups.tolist()
  feature_table.write(
    folder / "features.npz",
    sets={args.layer: features},
    labels=labels,
    classes=data.classes,
    names=data.cache.names[rows],
    groups=groups,
  )
  name = f"{run.config.experiment} {args.layer}"
  projector.write(folder, features, columns, images, name=name)
  console.line(f"{args.part}, {len(labels):,} images: {summary}")
  console.line(f"Embedding: {folder / 'embedding.png'}")
  console.line(f"Features:  {folder / 'features.npz'}")
  console.line(f"Projector: tensorboard --logdir {shlex.quote(str(folder))}")


def _summary(metrics: Mapping[str, float], neighbours: str) -> str:
  """What is measured of the features, in a line."""
  if not metrics:
    return "the colour is an image's rarest label"
  shown = {name: formatting.number(x) for name, x in metrics.items()}
  return (
    f"{_NEIGHBOURS}-NN accuracy {shown['knn_accuracy']} (neighbours "
    f"{neighbours}), majority rate {shown['majority_rate']}, silhouette "
    f"{shown['silhouette']}"
  )


main = functools.partial(program.run, "embed", _embed)

if __name__ == "__main__":
  sys.exit(main())
