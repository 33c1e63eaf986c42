"""The page of a cross-validation: its folds once, and all of them together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import calibration, classification
from mn_jax.observe import figures, report_figures
from mn_jax.observe.formatting import (
  count,
  interval,
  jsonable,
  mean_std,
  metric_name,
  number,
)
from mn_jax.report import decision_curves, decisions, run_report
from mn_jax.report.decisions import Decisions
from mn_jax.report.document import Document, Figure
from mn_jax.report.tables import Table
from mn_jax.studies.cross_validation import CrossValidation, Fold

_CLASSES_IN_MATRIX = 20
_WORST_GROUPS = 10
_MAIN = 5  # metrics of the table of folds

# Baseline -> metric -> value in each fold.
Baselines = Mapping[str, Mapping[str, Sequence[float]]]


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
    baselines: of each fold's split, or empty.
    curves: of the first seed of each fold, points (epoch, value) of metrics.
  """
  test = found.test
  bands = decisions.measure_bands(test, resamples=found.resamples)
  part = Decisions(found.points, bands, found.attributes)
  tables = {
    "All folds together": pooled_table(found),
    "Folds": folds_table(found, metrics, baselines),
  }
  for title, table in decisions.tables(part, test, found.unit).items():
    tables[title[0].upper() + title[1:]] = table
  if found.points:
    points = tables[decisions.POINTS]
    tables[decisions.POINTS] = _with_thresholds(points, found)
  if len(test.classes) > 2:
    tables["Classes"] = run_report.class_table(
      test.classes, classification.per_class(test.predictions)
    )
  if found.groups:
    tables["Worst groups"] = _group_table(found)
  return Document(
    title=found.title,
    intro=_intro(found),
    tables=tables,
    figures=list(_figures(found, part, curves)),
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
    baselines: of each fold's split, or empty.
  """
  first = found.folds[0]
  return jsonable(
    {
      "title": found.title,
      "unit": found.unit,
      "images": len(found.test.names),
      "groups": _groups(found.test.groups),
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
      "baselines": baselines,
    }
  )


def pooled_table(found: CrossValidation) -> Table:
  """Returns the metrics of all folds' tests together, and their means."""
  rows = []
  for name, ends in found.intervals.items():
    if name == "majority_rate":
      continue
    mean = found.over_folds[name]
    rows.append(
      (
        metric_name(name),
        number(ends.value),
        _ends(ends.low, ends.high),
        number(mean.mean),
        _ends(mean.low, mean.high),
      )
    )
  note = (
    "Together: every image is predicted by the network of the fold that tests "
    f"it; 95 % by bootstrap over {found.unit}s, {found.resamples:,} resamples. "
    "Mean over folds: 95 % by Student's t with the correction of Nadeau and "
    "Bengio (2003) for shared training images. Where they differ, as the AUROC "
    "may, it is because scores of different networks are compared in the "
    "first: each fold's logits are divided by the temperature that its own "
    "validation part chose, which does not put them on one scale. The second "
    "compares scores of one network alone, but is about tests that are "
    "smaller. Loss, Brier and ECE are after that division in the first and "
    "before it in the second."
  )
  columns = ("test", "together", "95 %", "mean over folds", "95 % of the mean")
  return Table(columns, rows, note)


def folds_table(
  found: CrossValidation, metrics: Sequence[str], baselines: Baselines
) -> Table:
  """Returns a row for each fold, their mean, and each baseline's mean.

  Args:
    found: the cross-validation.
    metrics: shown.
    baselines: of each fold's split, or empty.
  """
  metrics = [name for name in metrics if name in found.over_folds][:_MAIN]
  grouped = found.test.groups is not None
  rows = []
  for fold in found.folds:
    groups = (f"{_groups(fold.test.groups):,}",) if grouped else ()
    values = (number(fold.metric(name)) for name in metrics)
    size = f"{len(fold.test.names):,}"
    rows.append((fold.name, size, *groups, *values, f"{fold.temperature:.2f}"))
  blank = ("",) * (2 if grouped else 1)
  means = [found.over_folds[name] for name in metrics]
  rows.append(("mean", *blank, *(mean_std(x.mean, x.std) for x in means), ""))
  rows.append(("95 %", *blank, *(_ends(x.low, x.high) for x in means), ""))
  for name, of_metric in baselines.items():
    values = (number(float(np.mean(of_metric[x]))) for x in metrics)
    rows.append((f"{name}, mean", *blank, *values, ""))
  seeds = len(found.folds[0].summaries)
  note = (
    "Mean ± standard deviation over folds, which is no standard error: folds "
    "share training images."
  )
  if seeds > 1:
    note += f" A fold's metrics are means over {seeds} seeds."
  columns = ("fold", "test images", *(("groups",) if grouped else ()))
  return Table(
    (*columns, *map(metric_name, metrics), "temperature"), rows, note
  )


def _with_thresholds(table: Table, found: CrossValidation) -> Table:
  """Returns the table of points with each fold's thresholds in its note."""
  classes, chosen = found.test.classes, []
  for k, of_class in found.thresholds.items():
    names = () if found.test.positive is not None else (classes[k],)
    for target, values in of_class.items():
      title = ", ".join((*names, target.title()))
      chosen.append(f"{title}: {', '.join(map(number, values))}")
  note = (
    f"{table.note} A threshold of validation is another in each fold, chosen "
    "on its own validation part and applied to its own test, so that no scale "
    f"is shared: {'; '.join(chosen)}."
  )
  return Table(table.columns, table.rows, note)


def _group_table(found: CrossValidation) -> Table:
  rows = [
    (name, f"{images:,}", number(accuracy))
    for name, images, accuracy in found.groups[:_WORST_GROUPS]
  ]
  others = _groups(found.test.groups) - len(found.groups)
  note = f"Of {count(len(found.groups), 'group')} of ten images or more."
  if others:
    note += f" Not ranked, with fewer: {count(others, 'group')}."
  return Table(("group", "images", "accuracy"), rows, note)


def _figures(
  found: CrossValidation,
  part: Decisions,
  curves: Sequence[Mapping[str, Sequence[tuple[float, float]]]],
) -> list[Figure]:
  test = found.test
  outputs = test.predictions
  shown = [
    decision_curves.figure(
      "decisions", found.title, test, part, calibration.reliability(outputs)
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
      f"Learning curves, {count(len(curves), 'fold')}. Training values are "
      "means since the last log, of augmented images.",
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
  groups = count(_groups(found.test.groups), "group")
  return (
    f"{images} of {groups}. Every group is in the test of one fold, and never "
    "in training or validation of the same fold."
  )


def _protocol(found: CrossValidation) -> list[tuple[str, str]]:
  first = found.folds[0]
  summary = next(iter(first.summaries.values()))
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
      "network",
      f"{summary['model']}, {summary['params']:,} parameters; checkpoints "
      f"selected by {metric_name(summary['best_metric'])} on validation",
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
    "groups": _groups(fold.test.groups),
    "temperature": fold.temperature,
    "metrics": {name: fold.metric(name) for name in metrics},
  }


def _groups(groups: np.ndarray | None) -> int | None:
  return None if groups is None else len(np.unique(groups))


def _ends(low: float, high: float) -> str:
  return interval(*jsonable([low, high]))
