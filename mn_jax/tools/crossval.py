"""Cross-validation: `python -m mn_jax.tools.crossval --config=FILE --folds=5`.

Every fold is the test of one run, trained on the others: by group where groups
are known (patients, slides), classes in proportion. `--folds=0` leaves one
group out at a time. Runs are skipped, continued and gathered as those of a
study. Exit codes are those of `tools.study`.
"""

import argparse
import pathlib
import runpy
import sys
from collections.abc import Sequence

import numpy as np

from mn_jax.commandline import flags
from mn_jax.config import Config, checks
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import mean_std, metric_name
from mn_jax.run import split_data
from mn_jax.studies import results, runner, study

_METRICS = {
  True: ("balanced_accuracy", "sensitivity", "specificity", "auroc"),
  False: ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"),
}


def plan(name: str, config: Config, folds: int, count: int) -> study.Study:
  """The study whose members are folds.

  Args:
    name: of a file in `configs`, with `:ARG` where one is wanted.
    config: what it gives.
    folds: as `data.folds` has it; 0: one per group.
    count: number of folds there are.
  """
  positive = registry.get(config.data.name).positive is not None
  return study.Study(
    title=f"Cross-validation of {config.experiment}, {count} folds",
    source=name,
    members=tuple(
      study.Member(
        f"fold{fold}",
        name,
        {"data.split": "kfold", "data.folds": folds, "data.fold": fold},
      )
      for fold in range(count)
    ),
    sample={},
    metrics=_METRICS[positive],
  )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m mn_jax.tools.crossval",
    description="Train once per fold and gather the tests.",
  )
  parser.add_argument("--config", required=True, help="configs/NAME.py[:ARG]")
  parser.add_argument(
    "--folds", type=int, default=5, help="number; 0: one per group (default: 5)"
  )
  parser.add_argument("--seeds", type=int, default=1, help="seeds per fold")
  parser.add_argument(
    "--workdir", default="", help="folder of all runs (default: runs/NAME_cv)"
  )
  parser.add_argument(
    "--collect", action="store_true", help="run nothing, gather what is there"
  )
  parser.add_argument(
    "overrides",
    nargs="*",
    metavar="SECTION.FIELD=VALUE",
    help="fields over those of the config",
  )
  return parser.parse_intermixed_args(argv)


def _config(args: argparse.Namespace) -> tuple[str, Config]:
  """The config's name as studies have it, and the config with its overrides.

  Raises:
    InputError: for a mistake in the arguments.
  """
  path, colon, arg = args.config.partition(":")
  file = pathlib.Path(path)
  if file.parent.name != "configs" or not file.is_file():
    raise InputError(
      f"--config: got {path!r}; valid: configs/NAME.py, an existing file"
    )
  values = runpy.run_path(str(file))["get_config"](arg)
  for override in args.overrides:
    name, equals, text = override.partition("=")
    if not equals:
      raise InputError(f"got {override!r}; valid: SECTION.FIELD=VALUE")
    flags.check_override(name, text)
    section, _, field = name.rpartition(".")
    place = values[section] if section else values
    kind = type(place[field])
    if kind in (str, int, float):  # no other field decides about the data
      place[field] = kind(text)
  return f"{file.stem}{colon}{arg}", checks.from_config_dict(values)


def _count_folds(console: Console, config: Config, folds: int) -> int:
  """The number of folds; reads the data where it decides.

  Raises:
    InputError: for a number that is none, or data without groups.
  """
  if folds < 0 or folds == 1:
    raise InputError(
      f"--folds: got {folds}; valid: 0 for one per group, or 2 on"
    )
  if folds:
    return folds
  section = config.data
  with console.counting("decoding", "images") as progress:
    packed = split_data.load_packed(section, progress)
  chosen = packed.groups
  if section.classes:
    chosen = chosen[packed.labels < section.classes]
  count = len(np.unique(chosen))
  if count == len(chosen):
    raise InputError(
      "--folds: got 0, one per group, but each image is a group of its own; "
      "valid: 2 or more"
    )
  return count


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  args = _arguments(argv)
  console = Console()
  try:
    if args.seeds < 1:
      raise InputError(f"--seeds: got {args.seeds}; valid: 1 or more")
    name, config = _config(args)
    count = _count_folds(console, config, args.folds)
    chosen = plan(name, config, args.folds, count)
    folder = args.workdir or f"runs/{config.experiment}_cv"
    runs = study.expand(
      chosen,
      folder=pathlib.Path(folder).expanduser(),
      seeds=args.seeds,
      sample=False,
      weights=pathlib.Path(),
      only=[member.name for member in chosen.members],
      overrides=args.overrides,
    )
    failed = [] if args.collect else runner.run_all(console, runs)
  except InputError as error:
    print(f"crossval: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("crossval: stopped; the same command goes on", file=sys.stderr)
    return 130
  results.finish(console, chosen, runs)
  for metric, (mean, std) in results.over_members(chosen, runs).items():
    if not np.isnan(mean):
      console.line(f"{metric_name(metric)} over folds: {mean_std(mean, std)}")
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
