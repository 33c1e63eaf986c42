"""Cross-validates: `python -m mn_jax.tools.crossval --data=PATH --folds=5`.

Every fold is the test of one run, trained on the others: by group where groups
are known (patients, slides), classes in proportion. `--folds=0` leaves one
group out at a time. Complete runs are skipped and stopped ones resume. Once all
folds are complete, their tests are put together: `crossval.json` and a page.
Exit codes: 0 all complete, 1 some failed, 2 a wrong argument, 130 stopped by
Ctrl-C.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from mn_jax.commandline import network_arguments, program, study_arguments
from mn_jax.commandline.parser import Parser, file_path
from mn_jax.config import Config, changes, own_data
from mn_jax.data import classes
from mn_jax.errors import InputError
from mn_jax.metrics.operating_point import OWN_ROC, VALIDATION, OperatingPoint
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import mean_std, metric_name, number
from mn_jax.report import decisions
from mn_jax.run import open_data, split_data
from mn_jax.studies import (
  cross_validation,
  expansion,
  fold_settings,
  kept,
  results,
  runner,
  study,
)
from mn_jax.studies.cross_validation import CrossValidation
from mn_jax.studies.fold_settings import FoldSettings

# What the program itself decides.
_OWN = ("data.split", "data.folds", "data.fold", "seed", "train.replicas")
_MAIN = 3  # metrics of the table of folds, in 80 columns


def _parser() -> Parser:
  parser = study_arguments.parser(
    "crossval",
    description="Train once per fold, and put the tests of all folds together: "
    "intervals by group, ROC, sensitivity at a fixed specificity.",
    example="--data=table.csv --folds=5 data.group=patient",
    seeds=1,
  )
  parser.add_argument(
    "--data",
    metavar="PATH",
    help="images of yours, as train takes them; with --config, in place of its "
    "data",
  )
  network_arguments.add(parser)
  parser.add_config(required=False)
  parser.option(
    "--folds", "COUNT", "number of folds; 0: one per group", type=int, default=5
  )
  parser.option(
    "--keep",
    "DIR",
    "keep complete folds in DIR/NAME/runs, by the name of the workdir, count "
    "those that are there, and write the page into DIR/NAME",
    type=file_path,
  )
  parser.add_overrides()
  return parser


def _check(args: argparse.Namespace) -> None:
  """Refuses what a cross-validation decides by itself.

  Raises:
    InputError: for the first such field.
  """
  if args.folds < 0 or args.folds == 1:
    raise InputError(
      f"--folds: got {args.folds}; valid: 0 for one per group, or 2 on"
    )
  for change in args.overrides:
    path, _, value = change.partition("=")
    if path in _OWN:
      raise InputError(
        f"{path}: got {value}; valid: --folds and --seeds, which decide it"
      )


def _count_folds(console: Console, config: Config, folds: int) -> int:
  """Returns the number of folds; reads the data for one per group.

  Raises:
    InputError: for data that cannot be used, or has no groups then.
  """
  if folds:
    return folds
  section = config.data
  with console.counting("decoding", "images") as progress:
    packed = split_data.load_packed(section, progress)
  open_data.check_classes(section, packed)
  groups = packed.groups
  if section.classes:
    groups = groups[packed.labels < section.classes]
  count = len(np.unique(groups))
  if count == len(groups):
    raise InputError(
      "--folds: got 0, one per group, but each image is a group of its own; "
      "valid: 2 or more"
    )
  return count


def _check_split(console: Console, config: Config, folds: int) -> None:
  """Splits the data before any fold is trained, and says by what.

  Raises:
    InputError: for data or folds that cannot be used.
  """
  section = dataclasses.replace(config.data, split="kfold", folds=folds, fold=0)
  with console.counting("decoding", "images") as progress:
    data = split_data.load(section, progress)
  rows = np.concatenate(list(data.split.parts.values()))
  images = formatting.count(len(rows), "image")
  unit = data.spec.group
  if unit is None:
    console.line(f"{images}; folds are of single images.")
  else:
    groups = formatting.count(len(np.unique(data.cache.groups[rows])), unit)
    console.line(f"{images} of {groups}; each {unit} is tested in one fold.")
  for note in data.notes():
    console.line(f"Note: {note}")
  allowed = config.data.allow_missing
  classes.check(data.kind, data.classes, data.counts(), allowed)


def _settings(
  args: argparse.Namespace, console: Console
) -> tuple[FoldSettings, pathlib.Path]:
  """Returns what folds are trained with, and the folder of all of them."""
  given = network_arguments.given(args)
  if args.config is None and args.data is None:
    raise InputError(
      "--data: got nothing to train; valid: --data=PATH, images of yours, or "
      "--config=NAME, an experiment"
    )
  if args.config is None:
    name = f"{given.get('experiment', own_data.name(args.data))}_cv"
    folder = study_arguments.folder(args.workdir, name)
    settings = fold_settings.of_images(
      args.data, given, folder, console, folds=args.folds
    )
    return settings, folder
  settings = fold_settings.of_experiment(
    args.config, given, data=args.data, fine_tune=args.weights is not None
  )
  name = f"{settings.config.experiment}_cv"
  return settings, study_arguments.folder(args.workdir, name)


def _plan(
  args: argparse.Namespace,
  settings: FoldSettings,
  folder: pathlib.Path,
  console: Console,
) -> tuple[study.Study, list[study.StudyRun]]:
  """Returns the folds as a study, and its runs."""
  config = settings.config
  selected = cross_validation.plan(
    settings.name,
    config.experiment,
    settings.fields,
    folds=args.folds,
    count=_count_folds(console, config, args.folds),
    positive=open_data.has_positive(config.data),
    multi_label=config.data.multi_label,
  )
  runs = expansion.expand(
    selected,
    folder=folder,
    seeds=args.seeds,
    sample=False,
    weights=pathlib.Path(),
    only=[member.name for member in selected.members],
    kept=args.keep and args.keep / folder.name / "runs",
  )
  expansion.check_folders(runs)
  kept.check_all(selected, runs)
  return selected, runs


def _crossval(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  console = Console()
  _check(args)
  settings, folder = _settings(args, console)
  if settings.config.train.replicas > 1:
    raise InputError(
      f"train.replicas: got {settings.config.train.replicas}; valid: 1, with "
      "--seeds for several"
    )
  if settings.config.eval.part == "test":
    raise InputError(
      "eval.part: got 'test', which selects checkpoints on the test and leaves "
      "none; valid: val"
    )
  selected, runs = _plan(args, settings, folder, console)
  keep = functools.partial(kept.keep, siblings=runs)
  for run in runs:
    if run.is_complete():
      keep(run)
  failed = []
  if not args.collect:
    if not all(run.is_complete() for run in runs):
      _check_split(console, settings.config, args.folds)
    if args.config is None:
      settings.write(folder)
    failed = runner.run_all(console, runs, keep)
  results.show_damage(console, runs)
  for run in failed:
    console.line(f"Failed: {run.title()}, {run.workdir / 'run.log'}")
  done = [run for run in runs if run.is_complete()]
  if len(done) < len(runs):
    console.line(
      f"{len(done)} of {len(runs)} runs are complete. The folds' tests are put "
      "together once all are."
    )
    return 1 if failed else 0
  # Slow imports come last: a wrong argument is answered at once.
  from mn_jax.report import cross_validation_pages

  results_folder = args.keep / folder.name if args.keep else folder
  found, path = cross_validation_pages.write(
    results_folder,
    selected,
    runs,
    console,
    output=results_folder if args.keep else None,
    # Kept runs do not know where the images are.
    places={k: v for k, v in settings.fields.items() if k in changes.PLACES},
  )
  _show(console, found, selected.metrics)
  console.line(f"Results: {results_folder / 'crossval.json'}")
  console.line(f"Page:    {path.resolve().as_uri()}")
  return 0


def _show(
  console: Console, found: CrossValidation, metrics: Sequence[str]
) -> None:
  """Prints folds, all of them together, and operating points."""
  shown = metrics[:_MAIN]
  rows = [
    (
      fold.name,
      f"{len(fold.test.names):,}",
      *map(number, map(fold.metric, shown)),
    )
    for fold in found.folds
  ]
  means = [found.over_folds[name] for name in shown]
  rows.append(("mean", "", *(mean_std(x.mean, x.std) for x in means)))
  columns = ("fold", "images", *map(metric_name, shown))
  console.table(found.title, columns, rows)
  units = "" if found.unit == "image" else f", {found.unit}s resampled"
  rows = [
    (metric_name(name), *map(number, (x.value, x.low, x.high)))
    for name, x in found.intervals.items()
    if name != "majority_rate"
  ]
  columns = ("all folds together", "value", "95 % low", "high")
  console.table(f"{len(found.test.names):,} images{units}", columns, rows)
  for k, points in found.points.items():
    for point in points:
      _show_point(console, found, k, point)
  if found.test.groups is None:
    console.line(
      "Note: nothing is known of which images belong together (data.group, "
      "data.group_pattern): folds and intervals are of single images."
    )


def _show_point(
  console: Console, found: CrossValidation, k: int, point: OperatingPoint
) -> None:
  """Prints what is read off at a target, and what was reached of it."""
  of = "" if found.test.positive is not None else f"{found.test.classes[k]}: "
  how = {
    VALIDATION: "each fold's threshold from its validation",
    OWN_ROC: "off the ROC of all folds",
  }[point.source]
  text = decisions.with_interval(getattr(point, point.target.read))
  if point.source == VALIDATION and not point.note:
    reached = getattr(point, point.target.fixed).value
    text += f", {point.target.fixed} reached {number(reached)}"
  if point.note:
    text += f": {point.note}"
  title = point.target.title()
  console.line(f"{of}{title[:1].upper()}{title[1:]}, {how}: {text}")


main = functools.partial(
  program.run, "crossval", _crossval, hint=program.RESUMES
)

if __name__ == "__main__":
  sys.exit(main())
