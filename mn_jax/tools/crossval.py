"""Cross-validates: `python -m mn_jax.tools.crossval --config=NAME --folds=5`.

Every fold is the test of one run, trained on the others: by group where groups
are known (patients, slides), classes in proportion. `--folds=0` leaves one
group out at a time. Complete runs are skipped and stopped ones resume. Exit
codes: 0 all complete, 1 some failed, 2 a wrong argument, 130 stopped by Ctrl-C.
"""

import functools
import pathlib
import sys
from collections.abc import Sequence

import numpy as np

from mn_jax.commandline import program, study_arguments
from mn_jax.commandline.parser import Parser
from mn_jax.config import Config, files
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import mean_std, metric_name
from mn_jax.run import open_data, split_data
from mn_jax.studies import results, runner, study

_METRICS = {
  True: ("balanced_accuracy", "sensitivity", "specificity", "auroc"),
  False: ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"),
}


def plan(name: str, config: Config, folds: int, count: int) -> study.Study:
  """Returns the study whose members are folds.

  Args:
    name: of the experiment, NAME[:ARG] or FILE.py[:ARG].
    config: its config.
    folds: as `data.folds`; 0: one per group.
    count: number of folds.
  """
  positive = open_data.has_positive(config.data)
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


def _parser() -> Parser:
  parser = study_arguments.parser(
    "crossval",
    description="Train once per fold and gather the tests.",
    example="--config=idc_v2 --folds=5",
    seeds=1,
  )
  parser.add_config()
  parser.option(
    "--folds", "COUNT", "number of folds; 0: one per group", type=int, default=5
  )
  parser.add_overrides()
  return parser


def _count_folds(console: Console, config: Config, folds: int) -> int:
  """Returns the number of folds; reads the data for one per group."""
  if folds < 0 or folds == 1:
    raise InputError(
      f"--folds: got {folds}; valid: 0 for one per group, or 2 on"
    )
  if folds:
    return folds
  section = config.data
  with console.counting("decoding", "images") as progress:
    packed = split_data.load_packed(section, progress)
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


def _crossval(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  console = Console()
  config = files.load_config(args.config, args.overrides)
  count = _count_folds(console, config, args.folds)
  selected = plan(args.config, config, args.folds, count)
  runs = study.expand(
    selected,
    folder=study_arguments.folder(args.workdir, f"{config.experiment}_cv"),
    seeds=args.seeds,
    sample=False,
    weights=pathlib.Path(),
    only=[member.name for member in selected.members],
    overrides=args.overrides,
  )
  study.check_folders(runs)
  failed = [] if args.collect else runner.run_all(console, runs)
  results.finish(console, selected, runs)
  for metric, (mean, std) in results.over_members(selected, runs).items():
    if not np.isnan(mean):
      console.line(f"{metric_name(metric)} over folds: {mean_std(mean, std)}")
  return 1 if failed else 0


main = functools.partial(
  program.run, "crossval", _crossval, hint=program.RESUMES
)

if __name__ == "__main__":
  sys.exit(main())
