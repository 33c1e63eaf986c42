"""The page of a cross-validation: its folds once, and all of them together."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.metrics import calibration, classification
from mn_jax.observe import figures, report_figures
from mn_jax.observe.formatting import (
  count,
  jsonable,
  metric_name,
  number,
)
from mn_jax.report import (
  conclusion,
  decision_curves,
  decisions,
  run_command,
  run_facts,
  run_figures,
  run_report,
)
from mn_jax.report import cross_validation_tables as tables_lib
from mn_jax.report.cross_validation_tables import Baselines
from mn_jax.report.decisions import Decisions
from mn_jax.report.document import Document, Figure, Section
from mn_jax.studies.cross_validation import CrossValidation, Fold

_CLASSES_IN_MATRIX = 20
_SCALES = (
  "Scores of different folds are of different networks: each fold's logits are "
  "divided by the temperature of its own validation part, which does not put "
  "them on one scale, so the curve of all folds can be below those of the "
  "single ones."
)


def build(
  found: CrossValidation,
  metrics: Sequence[str],
  baselines: Baselines,
  curves: Sequence[Mapping[str, Sequence[tuple[float, float]]]],
) -> Document:
  """Returns the page.

  Args:
    found: the cross-validation.
    metrics: that folds are compared by, the most telling first.
    baselines: by name, or empty.
    curves: of the first seed of each fold, points (epoch, value) of metrics.
  """
  test = found.test
  bands = decisions.measure_bands(test, resamples=found.resamples)
  part = Decisions(found.points, bands, found.attributes)
  tables = {"All folds together": tables_lib.pooled_table(found)}
  if baselines:
    tables["Against baselines"] = tables_lib.baseline_table(found, baselines)
  tables["Folds"] = tables_lib.folds_table(found, metrics)
  for title, table in decisions.tables(part, test, found.unit).items():
    tables[title[0].upper() + title[1:]] = table
  if found.points:
    points = tables[decisions.POINTS]
    tables[decisions.POINTS] = tables_lib.with_thresholds(points, found)
  if len(test.classes) > 2:
    tables["Classes"] = run_report.class_table(
      test.classes, classification.per_class(test.predictions)
    )
  if found.groups:
    tables["Worst groups"] = tables_lib.group_table(found)
  return Document(
    title=found.title,
    intro=_intro(found),
    summary=_summary(found, baselines),
    tables=tables,
    figures=list(_figures(found, part, curves)),
    sections=[_setup(found)],
    protocol=_protocol(found),
    notes=_notes(found.folds),
  )


def numbers(
  found: CrossValidation, metrics: Sequence[str], baselines: Baselines
) -> dict[str, Any]:
  """Returns all numbers as values that JSON can hold; undefined ones None.

  Args:
    found: the cross-validation.
    metrics: that folds are compared by.
    baselines: by name, or empty.
  """
  first = found.folds[0]
  return jsonable(
    {
      "title": found.title,
      "unit": found.unit,
      "images": len(found.test.names),
      "groups": tables_lib.count_groups(found.test.groups),
      "images_sha256": first.split["images_sha256"],
      "metrics": list(metrics),
      "folds": [_fold_numbers(fold, metrics) for fold in found.folds],
      "over_folds": {k: vars(v) for k, v in found.over_folds.items()},
      "pooled": {k: vars(v) for k, v in found.intervals.items()},
      **Decisions(found.points, {}, found.attributes).numbers(
        found.test.classes
      ),
      "thresholds": {
        found.test.classes[k]: {
          target.title(): values for target, values in of_class.items()
        }
        for k, of_class in found.thresholds.items()
      },
      "worst_groups": found.groups,
      "baselines": {
        name: {
          "together": baseline.together,
          "by_fold": baseline.by_fold,
          "ahead": {k: vars(v) for k, v in baseline.ahead.items()},
          "ahead_by_fold": {
            k: vars(v) for k, v in baseline.ahead_by_fold.items()
          },
        }
        for name, baseline in baselines.items()
      },
    }
  )


def _figures(
  found: CrossValidation,
  part: Decisions,
  curves: Sequence[Mapping[str, Sequence[tuple[float, float]]]],
) -> list[Figure]:
  test = found.test
  outputs = test.predictions
  decisions_shown = decision_curves.figure(
    "decisions", found.title, test, part, calibration.reliability(outputs)
  )
  shown = [
    dataclasses.replace(
      decisions_shown, caption=f"{decisions_shown.caption} {_SCALES}"
    )
  ]
  if not outputs.multi_label and len(test.classes) <= _CLASSES_IN_MATRIX:
    matrix = classification.confusion_matrix(
      outputs.labels, outputs.predicted(), len(test.classes)
    )
    shown.append(
      Figure(
        "confusion",
        figures.confusion_matrix(matrix, test.classes, found.title),
        "Confusion matrix of all folds' tests: rows are true classes.",
        narrow=True,
      )
    )
  shown.append(
    Figure(
      "curves",
      report_figures.learning_curves(curves, ["loss", "accuracy"], found.title),
      f"Learning curves, {count(len(curves), 'fold')}. "
      f"{run_figures.of_training(curves)}",
    )
  )
  return shown


def _intro(found: CrossValidation) -> str:
  images = count(len(found.test.names), "image")
  if found.test.groups is None:
    return (
      f"{images}, each in the test of one fold. Nothing is known of which "
      "images belong together, so folds are of images, and the numbers are too "
      "good if some do."
    )
  noun = tables_lib.noun_of(found)
  groups = count(tables_lib.count_groups(found.test.groups), noun)
  return (
    f"{images} of {groups}. Every {noun} is in the test of one fold, and never "
    "in training or validation of the same fold."
  )


def _summary(found: CrossValidation, baselines: Baselines) -> list[str]:
  """Says what was reached, and whether that is more than a baseline reaches."""
  names, noun = (
    conclusion.main_metrics(found.test)[:2],
    tables_lib.noun_of(found),
  )
  shown = ", ".join(
    f"{metric_name(x)} {decisions.with_interval(found.intervals[x])}"
    for x in names
  )
  means = " and ".join(
    f"{number(mean.mean)} ({tables_lib.ends(mean.low, mean.high)})"
    for mean in map(found.over_folds.__getitem__, names)
  )
  paragraphs = [
    f"All folds together, over {noun}s: {shown}. Mean over "
    f"{count(len(found.folds), 'fold')}, corrected for shared training images: "
    f"{means}."
  ]
  if baselines:
    first, _ = compared = conclusion.compared_metrics(found.test)
    name = max(baselines, key=lambda x: baselines[x].together[first])
    best = baselines[name]
    text = conclusion.against(
      conclusion.Comparison(
        name,
        {x: best.together[x] for x in compared},
        {x: best.ahead[x] for x in compared},
      ),
      subject="The networks",
    )
    mean = best.ahead_by_fold[first]
    paragraphs.append(
      f"{text} In the mean over folds the difference in {metric_name(first)} "
      f"is {number(mean.mean, signed=True)} "
      f"({tables_lib.ends(mean.low, mean.high, signed=True)})."
    )
  if run_facts.is_generated(found.folds[0]):
    paragraphs.append(conclusion.GENERATED)
  return paragraphs


def _setup(found: CrossValidation) -> Section:
  """Returns what every fold was trained with, and the command."""
  first = found.folds[0]
  saved = first.config["config"]
  command = run_command.of_folds(
    saved,
    folds=saved["data"]["folds"],
    seeds=len(first.summaries),
  )
  return Section(
    "Set-up of every fold",
    "setup",
    "",
    command,
    facts=run_facts.training(first),
  )


def _protocol(found: CrossValidation) -> list[tuple[str, str]]:
  first = found.folds[0]
  summary = first.summary
  sizes = "; ".join(
    f"{fold.name} "
    + " / ".join(
      f"{fold.split['images'][x]:,}" for x in ("train", "val", "test")
    )
    for fold in found.folds
  )
  versions = ", ".join(f"{k} {v}" for k, v in summary["versions"].items())
  return [
    (
      "checkpoints",
      f"with the best {metric_name(summary['best_metric'])} on validation",
    ),
    ("seeds", ", ".join(map(str, first.summaries))),
    (
      "split",
      f"kfold, seed {first.split['seed']}; images in training / validation / "
      f"test: {sizes}",
    ),
    ("images", f"sha256 of all pixels {first.split['images_sha256'][:12]}"),
    ("versions", versions),
    ("device", summary["device"]),
  ]


def _notes(folds: Sequence[Fold]) -> list[str]:
  """Returns the notes of the splits, each once with the folds it is about."""
  of_note: dict[str, list[str]] = {}
  for fold in folds:
    for note in fold.split["notes"]:
      of_note.setdefault(note, []).append(fold.name)
  return [
    note if len(names) == len(folds) else f"{', '.join(names)}: {note}"
    for note, names in of_note.items()
  ]


def _fold_numbers(fold: Fold, metrics: Sequence[str]) -> dict[str, Any]:
  return {
    "name": fold.name,
    "seeds": list(fold.summaries),
    "split_sha256": fold.split["sha256"],
    "images": fold.split["images"],
    "groups": tables_lib.count_groups(fold.test.groups),
    "temperature": fold.temperature,
    "metrics": {name: fold.metric(name) for name in metrics},
  }
