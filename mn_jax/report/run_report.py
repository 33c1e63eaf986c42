"""Reports of single runs: a section about each, and a page about one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.config import changes
from mn_jax.observe.formatting import (
  count,
  interval,
  jsonable,
  metric_name,
  number,
)
from mn_jax.observe.label_table import label_table
from mn_jax.report import (
  conclusion,
  decisions,
  export_tables,
  run_command,
  run_facts,
  run_figures,
)
from mn_jax.report import inspection as inspection_lib
from mn_jax.report.document import Document, Section
from mn_jax.report.inspection import Inspection, Inspections
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.report.tables import Table
from mn_jax.run import outputs, watched_test
from mn_jax.studies import split_baselines


def build(analysis: RunAnalysis, inspections: Inspections) -> Document:
  """Returns the report of one run.

  Args:
    analysis: of the run.
    inspections: of its network and data set, or empty.
  """
  summary, tables = analysis.summary, {}
  versus = None
  if not analysis.refused:
    of = split_baselines.key(summary)
    metrics = inspections.baseline_metrics(of)
    tables["Test"] = _first_table(analysis, metrics)
    versus = conclusion.compare(
      analysis.test,
      inspections.baselines.get(of, {}),
      metrics,
      resamples=analysis.intervals["loss"].resamples,
    )
  tables |= export_tables.of_run(analysis)
  return Document(
    title=f"{summary['experiment']}, seed {summary['seed']}",
    summary=conclusion.of_run(analysis, versus),
    tables=tables,
    sections=[
      section(
        summary["model"],
        "run",
        [analysis],
        inspections.of(analysis),
        run_command.of_run(analysis),
        concluded=True,
      )
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
  baselines = {
    x: inspections.baseline_metrics(x) for x in inspections.baselines
  }
  return jsonable({"runs": runs, "baselines": baselines})


def section(
  title: str,
  anchor: str,
  seeds: Sequence[RunAnalysis],
  inspection: Inspection | None,
  command: str = "",
  *,
  concluded: bool = False,
) -> Section:
  """Returns a section about one run, with the curves of its other seeds.

  Args:
    title: heading of the section.
    anchor: of the section, and prefix of its figures' names.
    seeds: the run, then runs with other seeds.
    inspection: of the run's network; None if it was not opened.
    command: that repeats the run, or ''.
    concluded: whether the page has the sentences of `conclusion.of_run`, which
      are not said again.
  """
  analysis = seeds[0]
  text = _describe(analysis, inspection, concluded=concluded)
  facts = run_facts.facts(analysis)
  figures_shown = []
  if "ensemble" not in analysis.summary:  # which was not trained
    figures_shown.append(run_figures.curves(title, anchor, seeds))
  if analysis.refused:
    return Section(
      title, anchor, text, command, figures=figures_shown, facts=facts
    )
  measured = inspection.with_batch_statistics if inspection else {}
  classes = analysis.test.classes
  tables = [_test_table(analysis, measured), *_label_table(analysis)]
  if len(classes) > 2:
    tables.append(class_table(classes, analysis.per_class))
  tables += [
    *_group_table(analysis),
    *decisions.tables(
      analysis.decisions, analysis.test, run_facts.unit(analysis)
    ).values(),
  ]
  figures_shown += run_figures.decisions(title, anchor, analysis)
  if inspection is not None:
    figures_shown += inspection_lib.figures(anchor, inspection)
  return Section(
    title, anchor, text, command, tables, figures_shown, facts=facts
  )


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


def _describe(
  analysis: RunAnalysis, inspection: Inspection | None, *, concluded: bool
) -> str:
  """Says what else there is to know of a run, in sentences."""
  summary, texts = analysis.summary, []
  for entry in analysis.config.get("history", ()):
    texts.append(
      f"From step {entry['step']} on it was trained with "
      f"{changes.describe(entry['fields'])}."
    )
  if analysis.fake_quant != "none":
    texts.append(
      f"Its metrics are with model.fake_quant={analysis.fake_quant}."
    )
  if teacher := summary.get("teacher"):
    described = outputs.described_teacher(teacher)
    texts.append(f"It learnt from a teacher: {described}.")
    texts += [f"Note: {note}." for note in teacher["notes"]]
  if analysis.refused:
    if not concluded:
      texts.append(
        "The checkpoint was selected on the test part, so its test metrics are "
        "not shown."
      )
    return " ".join(texts)
  texts += conclusion.of_validation(analysis, harms=not concluded)
  if inspection is not None and not inspection.is_multi_label:
    texts.append(
      f"5-nearest-neighbour accuracy of its features "
      f"{number(inspection.knn_accuracy)}, silhouette "
      f"{number(inspection.silhouette)}."
    )
  return " ".join(texts)


def _first_table(
  analysis: RunAnalysis, baselines: Mapping[str, Mapping[str, float]]
) -> Table:
  """Returns the metrics that say most, with those of the baselines.

  Metrics are rows, so that all of them can be seen on a narrow screen.
  """
  metrics = conclusion.main_metrics(analysis.test)
  if analysis.test.positive is not None:
    metrics += ("accuracy", "f1")
  rows = []
  for name in metrics:
    found = analysis.intervals[name]
    ends = interval(*jsonable([found.low, found.high]))
    others = (number(values.get(name)) for values in baselines.values())
    rows.append((metric_name(name), number(found.value), ends, *others))
  noun = run_facts.unit(analysis)
  note = f"95 % by bootstrap over {noun}s."
  if baselines:
    note += " Baselines, without a network, learn from the same images."
  columns = ("test", "network", "95 %", *baselines)
  return Table(columns, rows, note)


def _test_table(
  analysis: RunAnalysis, with_batch_statistics: Mapping[str, float]
) -> Table:
  resamples = analysis.intervals["loss"].resamples
  noun = run_facts.unit(analysis)
  note = (
    f"{len(analysis.test.names):,} images; bootstrap over {noun}s, "
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
    f"Intervals by resampling {run_facts.unit(analysis)}s. The threshold has "
    "the best balanced accuracy on validation."
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
