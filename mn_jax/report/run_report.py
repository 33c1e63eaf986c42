"""Reports of single runs: a section about each, and a page about one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.config import changes
from mn_jax.observe import figures, report_figures
from mn_jax.observe.formatting import count, jsonable, metric_name, number
from mn_jax.observe.label_table import label_table
from mn_jax.report import decision_curves, decisions, export_tables
from mn_jax.report import inspection as inspection_lib
from mn_jax.report.document import Document, Figure, Section
from mn_jax.report.inspection import Baselines, Inspection, Inspections
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.report.tables import Table
from mn_jax.run import outputs, watched_test

_CLASSES_IN_MATRIX = 20


def build(analysis: RunAnalysis, inspections: Inspections) -> Document:
  """Returns the report of one run.

  Args:
    analysis: of the run.
    inspections: of its network and data set, or empty.
  """
  summary, tables = analysis.summary, {}
  if not analysis.refused:
    metrics = [x for x in analysis.intervals if x != "majority_rate"][:6]
    values = (number(analysis.intervals[name].value) for name in metrics)
    below = baseline_rows(inspections.baselines, [analysis], metrics)
    rows = [(summary["model"], *values)]
    rows += [(name, *cells) for name, _, cells in below]
    tables["Test"] = Table(("", *map(metric_name, metrics)), rows)
  tables |= export_tables.of_run(analysis)
  return Document(
    title=f"{summary['experiment']}, seed {summary['seed']}",
    tables=tables,
    sections=[
      section(summary["model"], "run", [analysis], inspections.of(analysis))
    ],
    protocol=protocol([analysis]),
    notes=notes([analysis]),
  )


def numbers(
  analyses: Sequence[RunAnalysis], inspections: Inspections
) -> dict[str, Any]:
  """Returns all numbers of runs and baselines as values that JSON can hold."""
  runs = {}
  for analysis in analyses:
    inspection = inspections.of(analysis)
    measured = inspection.with_batch_statistics if inspection else {}
    name = "/".join(analysis.path.parts[-2:])
    runs[name] = {**analysis.numbers(), "by_batches": measured}
  return jsonable({"runs": runs, "baselines": inspections.baselines})


def section(
  title: str,
  anchor: str,
  seeds: Sequence[RunAnalysis],
  inspection: Inspection | None,
  command: str = "",
) -> Section:
  """Returns a section about one run, with the curves of its other seeds.

  Args:
    title: heading of the section.
    anchor: of the section, and prefix of its figures' names.
    seeds: the run, then runs with other seeds.
    inspection: of the run's network; None if it was not opened.
    command: that repeats the run, or ''.
  """
  analysis = seeds[0]
  text = _describe(analysis, inspection)
  figures_shown = [_curves_figure(title, anchor, seeds)]
  if analysis.refused:
    return Section(title, anchor, text, command, figures=figures_shown)
  measured = inspection.with_batch_statistics if inspection else {}
  classes = analysis.test.classes
  tables = [_test_table(analysis, measured), *_label_table(analysis)]
  if len(classes) > 2:
    tables.append(class_table(classes, analysis.per_class))
  tables += [
    *_group_table(analysis),
    *decisions.tables(
      analysis.decisions, analysis.test, unit(analysis)
    ).values(),
  ]
  figures_shown += _decision_figures(title, anchor, analysis)
  if inspection is not None:
    figures_shown += inspection_lib.figures(anchor, inspection)
  return Section(title, anchor, text, command, tables, figures_shown)


def baseline_rows(
  baselines: Mapping[str, Baselines],
  analyses: Sequence[RunAnalysis],
  metrics: Sequence[str],
) -> list[tuple[str, str, list[str]]]:
  """Returns (baseline, split, metrics) for every split that was opened.

  Args:
    baselines: sha256 of a split -> its baselines.
    analyses: runs whose splits are shown.
    metrics: to show.
  """
  summaries = [analysis.summary for analysis in analyses]
  split_of_digest = {s["split_sha256"]: s["split"] for s in summaries}
  return [
    (name, split, [number(values.get(metric)) for metric in metrics])
    for digest, split in split_of_digest.items()
    for name, values in baselines.get(digest, {}).items()
  ]


def protocol(analyses: Sequence[RunAnalysis]) -> list[tuple[str, str]]:
  """Returns the splits, images, versions and devices of runs, each once."""
  splits, images, versions = {}, set(), []
  for analysis in analyses:
    summary, split = analysis.summary, analysis.split
    counts = " / ".join(
      f"{split['images'][part]:,}" for part in ("train", "val", "test")
    )
    splits.setdefault(
      summary["split_sha256"],
      f"{summary['split']}, seed {split['seed']}: {counts} images in training "
      "/ validation / test",
    )
    images.add(summary["images_sha256"])
    names = summary["versions"].items()
    versions.append(", ".join(f"{name} {version}" for name, version in names))
  return [
    *((f"split {digest[:12]}", text) for digest, text in splits.items()),
    *(("images", f"sha256 of all pixels {x[:12]}") for x in sorted(images)),
    *(("versions", text) for text in dict.fromkeys(versions)),
    ("device", devices(analyses)),
  ]


def devices(analyses: Sequence[RunAnalysis]) -> str:
  """Returns the devices that runs trained on, or 'nothing' without runs."""
  names = sorted({analysis.summary["device"] for analysis in analyses})
  return ", ".join(names) or "nothing"


def notes(analyses: Sequence[RunAnalysis]) -> list[str]:
  """Returns the notes of the splits and what is damaged, each once."""
  texts = [(a.damage, watched_test.note(a.summary)) for a in analyses]
  texts += [a.split["notes"] for a in analyses]
  return list(dict.fromkeys(text for some in texts for text in some if text))


def _describe(analysis: RunAnalysis, inspection: Inspection | None) -> str:
  summary = analysis.summary
  text = (
    f"{summary['model']}, {summary['params']:,} parameters, "
    f"{summary['macs'] / 1e6:,.1f} M mult-adds; seed {summary['seed']}, "
    f"{summary['epochs']:.3g} epochs, checkpoint of step "
    f"{summary['best_step']} selected by "
    f"{metric_name(summary['best_metric'])}, split {summary['split']} "
    f"({summary['split_sha256'][:12]}). "
  )
  for entry in analysis.config.get("history", ()):
    text += (
      f"From step {entry['step']} on it was trained with "
      f"{changes.describe(entry['fields'])}. "
    )
  if analysis.fake_quant != "none":
    text += f"Its metrics are with model.fake_quant={analysis.fake_quant}. "
  if teacher := summary.get("teacher"):
    text += f"It learnt from a teacher: {outputs.described_teacher(teacher)}. "
    text += "".join(f"Note: {note}. " for note in teacher["notes"])
  if analysis.refused:
    return text + (
      "The checkpoint was selected on the test part, so its test metrics are "
      "not shown."
    )
  text += (
    f"Temperature fitted on validation: {analysis.temperature:.2f}; ECE of the "
    f"test {number(analysis.intervals['ece'].value)} before, "
    f"{number(analysis.at_temperature.get('ece'))} after."
  )
  if inspection is not None and not inspection.is_multi_label:
    text += (
      f" 5-nearest-neighbour accuracy of its features "
      f"{number(inspection.knn_accuracy)}, silhouette "
      f"{number(inspection.silhouette)}."
    )
  return text


def unit(analysis: RunAnalysis) -> str:
  """Returns what the intervals of a run resample: 'group' or 'image'."""
  return "image" if analysis.test.groups is None else "group"


def _test_table(
  analysis: RunAnalysis, with_batch_statistics: Mapping[str, float]
) -> Table:
  resamples = analysis.intervals["loss"].resamples
  note = (
    f"{len(analysis.test.names):,} images; bootstrap over {unit(analysis)}s, "
    f"{resamples:,} resamples; 'last epoch' is the last checkpoint instead of "
    "the selected one."
  )
  columns = {
    "value": {name: x.value for name, x in analysis.intervals.items()},
    "95 % low": {name: x.low for name, x in analysis.intervals.items()},
    "high": {name: x.high for name, x in analysis.intervals.items()},
    "last epoch": {
      name: analysis.summary.get(f"last/test/{name}")
      for name in analysis.intervals
    },
  }
  if analysis.label_thresholds is not None:
    columns["own thresholds"] = analysis.at_threshold
    note += (
      " 'Own thresholds' are those of each label that have the best balanced "
      "accuracy on validation; in all else a label is predicted from 0.5 on."
    )
  elif analysis.at_threshold:
    columns[f"at {analysis.threshold:.2f}"] = analysis.at_threshold
    note += f" The threshold {analysis.threshold:.2f} was chosen on validation."
  if with_batch_statistics:
    columns["batch statistics"] = with_batch_statistics
    note += (
      " 'Batch statistics' replaces BatchNorm's running statistics by those of "
      "1,024 training images."
    )
  rows = [
    (metric_name(name), *(number(x.get(name)) for x in columns.values()))
    for name in analysis.intervals
    if name != "majority_rate"
  ]
  return Table(("test", *columns), rows, note)


def _label_table(analysis: RunAnalysis) -> list[Table]:
  """The areas of every label with intervals; nothing of one class per image."""
  if analysis.label_thresholds is None:
    return []
  columns, rows = label_table(
    analysis.test.classes, analysis.per_class, analysis.label_intervals
  )
  limits = map(number, analysis.label_thresholds)
  note = (
    f"Intervals by resampling {unit(analysis)}s. The threshold has the best "
    "balanced accuracy on validation."
  )
  undefined = np.isnan(analysis.per_class["auroc"]).sum()
  if undefined:
    note += (
      f" {count(int(undefined), 'label')} without images of both kinds "
      "cannot be measured: macro means leave them out."
    )
  rows = [(*row, limit) for row, limit in zip(rows, limits, strict=True)]
  return [Table((*columns, "threshold"), rows, note)]


def class_table(
  classes: Sequence[str], per_class: Mapping[str, np.ndarray]
) -> Table:
  """Returns the metrics of every class.

  Args:
    classes: their names.
    per_class: of `classification.per_class`.
  """
  names = ("precision", "recall", "f1", "auroc")
  columns = [per_class[name] for name in names]
  rows = [
    (label, f"{support:,.0f}", *map(number, values))
    for label, support, *values in zip(
      classes, per_class["support"], *columns, strict=True
    )
  ]
  return Table(("class", "images", *map(metric_name, names)), rows)


def _group_table(analysis: RunAnalysis) -> list[Table]:
  if not analysis.groups:
    return []
  rows = [
    (name, f"{images:,}", number(accuracy))
    for name, images, accuracy in analysis.groups
  ]
  metric = "accuracy"
  if analysis.label_thresholds is not None:
    metric = "label accuracy"
  columns = ("worst groups of the test", "images", metric)
  note = "Among groups of ten images or more."
  if analysis.unranked:
    note += f" Not ranked, with fewer: {count(analysis.unranked, 'group')}."
  return [Table(columns, rows, note)]


def _curves_figure(
  title: str, anchor: str, seeds: Sequence[RunAnalysis]
) -> Figure:
  runs = [over_epochs(x.curves, x.summary) for x in seeds]
  multi_label = any("val/label_accuracy" in run for run in runs)
  names = ["loss", "label_accuracy" if multi_label else "accuracy"]
  if multi_label:
    names.append("macro_auroc")
  if any("val/balanced_accuracy" in run for run in runs):
    names.append("balanced_accuracy")
  return Figure(
    f"{anchor}_curves",
    report_figures.learning_curves(runs, names, title),
    f"Learning curves, {count(len(seeds), 'seed')}. Training values are means "
    "since the last log, of augmented images.",
  )


def over_epochs(
  curves: Mapping[str, Sequence[tuple[int, float]]], summary: Mapping[str, Any]
) -> dict[str, list[tuple[float, float]]]:
  """Returns points (epoch, value) of points (step, value).

  Args:
    curves: metric -> points.
    summary: content of `summary.json`.
  """
  scale = summary["steps"] / max(summary["epochs"], 1e-9)
  return {
    name: [(step / scale, value) for step, value in points]
    for name, points in curves.items()
  }


def _decision_figures(
  title: str, anchor: str, analysis: RunAnalysis
) -> Iterable[Figure]:
  classes = analysis.test.classes
  if analysis.matrix is None:
    outputs = analysis.test.predictions
    yield Figure(
      f"{anchor}_labels",
      figures.label_areas(
        analysis.per_class, outputs.labels.mean(axis=0), classes, title
      ),
      "Areas under the curves of every label on the test; chance is 0.5 for "
      "AUROC, and for average precision the share of images with the label.",
      narrow=True,
    )
  elif len(classes) <= _CLASSES_IN_MATRIX:
    yield Figure(
      f"{anchor}_confusion",
      figures.confusion_matrix(analysis.matrix, classes, title),
      "Confusion matrix of the test: rows are true classes.",
      narrow=True,
    )
  best = None
  if analysis.threshold is not None and analysis.at_threshold:
    names = ("sensitivity", "specificity")
    best = (analysis.threshold, *map(analysis.at_threshold.get, names))
  yield decision_curves.figure(
    f"{anchor}_decisions",
    title,
    analysis.test,
    analysis.decisions,
    analysis.reliability,
    best=best,
  )
