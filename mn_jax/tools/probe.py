"""Classifies given features: `python -m mn_jax.tools.probe FEATURES.npz`.

Linear discriminant analysis, logistic regression and a support vector machine
are cross-validated on a table of features, such as `tools.embed` writes of a
network or an author publishes: with images at random, and with whole groups
(patients, slides) left out. The difference is what a random split promises too
much. Writes a page, its numbers and the predictions. Exit codes: 0, or 2 for a
wrong argument.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, command, file_path, names, number
from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.metrics import feature_table, probe
from mn_jax.metrics.feature_table import FeatureTable
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.report import page, probe_report
from mn_jax.report.probe_report import ProbeRow

# So many groups or fewer are left out one at a time.
_MOST_LEFT_OUT = 20


def _parser() -> Parser:
  parser = Parser(
    command("probe"),
    description="Cross-validate classifiers of given features, with images at "
    "random and with whole groups left out.",
    example="features.npz --groups=slides --output=results/probe",
  )
  parser.add_argument(
    "features",
    metavar="FEATURES",
    type=file_path,
    help=".npz file: two-dimensional arrays of floats, a row for each image, "
    "and labels; there may be groups, names and classes",
  )
  parser.option("--labels", "NAME", "array of the labels", default="labels")
  parser.option("--groups", "NAME", "array of the groups", default="groups")
  parser.option(
    "--unit", "WORD", "what a group is, such as patient", default="group"
  )
  parser.option(
    "--sets",
    "NAMES",
    "sets of features, separated by commas; A+B puts two side by side "
    "(default: each by itself)",
  )
  parser.option(
    "--classifiers",
    "NAMES",
    f"of {', '.join(probe.CLASSIFIERS)} (default: all)",
    type=names(probe.CLASSIFIERS),
  )
  parser.option(
    "--among",
    "FILE",
    "only images whose names another such file has",
    type=file_path,
  )
  parser.option(
    "--folds",
    "COUNT",
    "folds of images at random, and of groups if there are more than "
    f"{_MOST_LEFT_OUT}; fewer groups are left out one at a time",
    type=number(int, 2),
    default=10,
  )
  parser.option(
    "--seed",
    "SEED",
    "seed of the folds and of resamples",
    type=run_arguments.seed,
    default=0,
  )
  parser.option(
    "--title", "TEXT", "of the page (default: the name of the file)"
  )
  parser.option(
    "--output",
    "DIR",
    "folder of the page (default: probe, beside the file)",
    type=file_path,
  )
  return parser


def _read(args: argparse.Namespace) -> FeatureTable:
  """Reads the features, of the images that are wanted.

  Raises:
    InputError: if they cannot be read, or none is left.
  """
  table = feature_table.read(
    args.features, labels=args.labels, groups=args.groups
  )
  if args.groups != "groups" and table.groups is None:
    raise InputError(
      f"--groups: got {args.groups!r}; valid: an array of {args.features}"
    )
  if args.among is None:
    return table
  others = feature_table.read(args.among)
  rows = np.flatnonzero(np.isin(table.names, others.names))
  if not len(rows):
    raise InputError(
      f"--among: got {args.among}, which has none of the names, such as "
      f"{table.names[0]!r}; valid: a file with names of the same images"
    )
  return table.take(rows)


def _rows(
  args: argparse.Namespace, table: FeatureTable, console: Console
) -> list[ProbeRow]:
  """Cross-validates each classifier of each set of features.

  Raises:
    InputError: for sets or folds that are not possible.
  """
  sets = args.sets.split(",") if args.sets else list(table.sets)
  features = {name: table.joined(name) for name in sets}
  folds = probe.random_folds(table, seed=args.seed, count=args.folds)
  folds_of_groups = None
  if table.groups is not None:
    few = len(np.unique(table.groups)) <= _MOST_LEFT_OUT
    folds_of_groups = probe.group_folds(
      table, seed=args.seed, count=0 if few else args.folds
    )
  rows = []
  for name, values in features.items():
    for key in args.classifiers or probe.CLASSIFIERS:
      run = functools.partial(
        probe.cross_validate,
        table,
        values,
        probe.CLASSIFIERS[key],
        seed=args.seed,
      )
      title = f"{name}, {key}"
      with console.counting(f"{title}, random", "folds") as progress:
        random = run(folds, by_group=False, progress=progress)
      by_group = None
      if folds_of_groups is not None:
        with console.counting(f"{title}, by {args.unit}", "folds") as progress:
          by_group = run(folds_of_groups, by_group=True, progress=progress)
      rows.append(ProbeRow(name, values.shape[1], key, random, by_group))
  return rows


def _write_predictions(
  path: pathlib.Path, table: FeatureTable, rows: Sequence[ProbeRow]
) -> None:
  """Writes the predicted class of each image by each row and protocol."""
  arrays = {
    "labels": table.labels.astype(np.int16),
    "names": table.names,
    "classes": np.array(table.classes),
  }
  if table.groups is not None:
    arrays["groups"] = table.groups
  for row in rows:
    probes = {"random": row.random, "by_group": row.by_group}
    for protocol, found in probes.items():
      if found is not None:
        predicted = found.predictions.predicted().astype(np.int16)
        arrays[f"{row.name}, {protocol}"] = predicted
  with atomic.writing(path) as file:
    np.savez_compressed(file, **arrays)


def _protocol(
  args: argparse.Namespace, table: FeatureTable, rows: Sequence[ProbeRow]
) -> list[tuple[str, str]]:
  """How the numbers were made, (name, value)."""
  lines = [("random images", f"{args.folds} folds, classes in proportion")]
  by_group = rows[0].by_group
  if by_group is not None:
    count, groups = by_group.folds.max() + 1, len(np.unique(table.groups))
    how = (
      f"one {args.unit} left out at a time"
      if count == groups
      else f"{count} folds of whole {args.unit}s"
    )
    lines.append((f"other {args.unit}s", how))
  lines.append(
    (
      "parameters",
      "chosen by accuracy in five folds of the training images, of whole "
      f"{args.unit}s where the test is"
      if by_group
      else "chosen by accuracy in five folds of the training images",
    )
  )
  return lines


def _probe(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  table = _read(args)
  folder = run_arguments.output_folder(
    args.output or args.features.parent / "probe"
  )
  console = Console()
  rows = _rows(args, table, console)
  measured = [probe_report.measure(table, row, seed=args.seed) for row in rows]
  document = probe_report.build(
    table,
    rows,
    measured,
    title=args.title or f"Probes of {args.features.name}",
    unit=args.unit,
    protocol=_protocol(args, table, rows),
  )
  numbers = {
    "title": document.title,
    "images": len(table.labels),
    "classes": table.classes,
    "rows": [
      {
        "sets": row.sets,
        "features": row.features,
        "classifier": row.classifier,
        **found,
        "chosen": {
          "random": row.random.chosen,
          "by_group": row.by_group.chosen if row.by_group else (),
        },
      }
      for row, found in zip(rows, measured, strict=True)
    ],
  }
  path = page.write(document, formatting.jsonable(numbers), folder)
  _write_predictions(folder / "predictions.npz", table, rows)
  # The table of groups is too wide for a terminal.
  for title, shown in list(document.tables.items())[: len(probe_report.SHOWN)]:
    shown.show(console, title)
  for note in document.notes:
    console.line(note)
  console.line(f"Page: {path}")


main = functools.partial(program.run, "probe", _probe)

if __name__ == "__main__":
  sys.exit(main())
