"""Puts a cross-validation's folds together: its numbers, baselines and page."""

import pathlib
from collections.abc import Mapping, Sequence

from mn_jax import config as config_lib
from mn_jax.config import changes, checks
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.report import (
  conclusion,
  cross_validation_report,
  decisions,
  page,
  run_analysis,
  run_figures,
)
from mn_jax.run import open_data, records, split_data
from mn_jax.studies import (
  cross_validation,
  fold_baselines,
  split_baselines,
)
from mn_jax.studies.cross_validation import CrossValidation, Fold
from mn_jax.studies.fold_baselines import FoldBaseline
from mn_jax.studies.study import Member, Study, StudyRun

NAME = "crossval.json"
_FIELDS = {"title": str, "folds": list, "metrics": list}


def write(
  folder: pathlib.Path,
  study: Study,
  runs: Sequence[StudyRun],
  console: Console,
  *,
  output: pathlib.Path | None = None,
  places: Mapping[str, str] | None = None,
  resamples: int = 2000,
) -> tuple[CrossValidation, pathlib.Path]:
  """Writes `crossval.json` and the page of complete folds.

  Args:
    folder: of all runs.
    study: whose members are the folds.
    runs: all of them, complete.
    console: shows progress.
    output: folder of the page; None for `report` in the folder.
    places: 'data.path' and 'data.cache_dir' of the images, those that are not
      where the runs had them; None leaves out baselines, which read them.
    resamples: of the intervals; fewer for very many logits.

  Returns:
    The cross-validation, and the path of its page.

  Raises:
    InputError: if the runs cannot be read, or are not of one cross-validation.
  """
  folds = cross_validation.read(runs)
  found = cross_validation.measure(
    study.title,
    folds,
    decisions.targets_of(folds[0].test),
    resamples=resamples,
  )
  baselines = {}
  if places is not None and not found.test.predictions.multi_label:
    baselines = _baselines(found, places, console)
  curves = [
    run_figures.over_epochs(
      run_analysis.read_curves(run.folder / "metrics.jsonl"), run.summary()
    )
    for run in runs
    if run.seed == runs[0].seed
  ]
  numbers = cross_validation_report.numbers(found, study.metrics, baselines)
  records.write_object(folder / NAME, numbers)
  document = cross_validation_report.build(
    found, study.metrics, baselines, curves
  )
  return found, page.write(document, numbers, output or folder / "report")


def reopen(folder: pathlib.Path) -> tuple[Study, list[StudyRun]]:
  """Returns the study and the runs of a folder that has a `crossval.json`.

  Raises:
    InputError: if it cannot be read.
  """
  saved = records.read_object(folder / NAME, _FIELDS)
  members = tuple(Member(fold["name"], "") for fold in saved["folds"])
  runs = [
    StudyRun(member, seed, folder / member.name / f"seed{seed}", ())
    for member, fold in zip(members, saved["folds"], strict=True)
    for seed in fold["seeds"]
  ]
  runs.sort(key=lambda run: run.seed)
  metrics = tuple(saved["metrics"])
  return Study(saved["title"], "", members, {}, metrics=metrics), runs


def _baselines(
  found: CrossValidation, places: Mapping[str, str], console: Console
) -> dict[str, FoldBaseline]:
  """Compares with baselines on each fold's split; {} without the images."""
  of_folds = []
  try:
    sections = [_config(fold, places).data for fold in found.folds]
    # Folds are of the same images, which are listed and verified once.
    with console.counting("baselines", "images") as progress:
      packed = open_data.open_packed(sections[0], progress)
    for fold, section in zip(found.folds, sections, strict=True):
      data = split_data.divide(section, packed)
      if data.split.sha256 != fold.split["sha256"]:
        raise InputError("data.path: its images are not those of the folds")
      of_folds.append(split_baselines.predict(data))
  except InputError as error:
    console.line(f"Note: baselines are left out: {error}")
    return {}
  metrics = conclusion.compared_metrics(found.test)
  return fold_baselines.compare(found, of_folds, metrics)


def _config(fold: Fold, places: Mapping[str, str]) -> config_lib.Config:
  """Returns the config of a fold's run, with its images at other places."""
  known, _ = changes.read(fold.config["config"])
  values = config_lib.default()
  values.update_from_flattened_dict({**known, **places})
  return checks.from_config_dict(values)
