"""A report as words, tables and figures, before it becomes a page."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.observe import figures, report_figures
from mn_jax.observe.formatting import (
  compact,
  count,
  interval,
  metric_name,
  number,
)
from mn_jax.report.findings import Findings
from mn_jax.report.insides import Insides
from mn_jax.report.tables import Table
from mn_jax.studies import results

_CLASSES_IN_MATRIX = 20
# How a reader should take a verdict at a glance.
SIGNS = {
  results.HOLDS: "yes",
  results.FAILS: "no",
  results.OPEN: "open",
  results.NOT_RUN: "missing",
}


@dataclasses.dataclass(frozen=True)
class Figure:
  """A picture with what it shows.

  Attributes:
    name: of its file, without suffix.
    pixels: u8[h, w, 3].
    caption: one or two sentences.
    photo: whether it holds photographs, which are kept with losses.
    narrow: whether it is drawn for half the width.
  """

  name: str
  pixels: np.ndarray
  caption: str
  photo: bool = False
  narrow: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
  """What is said of one row or run.

  Attributes:
    title: its name.
    anchor: of the page.
    text: a paragraph.
    command: that repeats it, or ''.
    tables: of numbers.
    figures: in order.
  """

  title: str
  anchor: str
  text: str
  command: str
  tables: list[Table]
  figures: list[Figure]


@dataclasses.dataclass(frozen=True)
class Document:
  """A report.

  Attributes:
    title: one line.
    intro: a line below it, or ''.
    claims: (sign, verdict, text, numbers), one per claim.
    tables: title -> table.
    figures: of the whole.
    sections: of its rows.
    protocol: what was run: (name, value).
    notes: what a reader must know of the numbers.
  """

  title: str
  intro: str
  claims: list[tuple[str, str, str, str]]
  tables: dict[str, Table]
  figures: list[Figure]
  sections: list[Section]
  protocol: list[tuple[str, str]]
  notes: list[str]

  def all_figures(self) -> Iterable[Figure]:
    """Those of the whole, then those of its sections."""
    yield from self.figures
    for section in self.sections:
      yield from section.figures


def claim_row(claim: Mapping[str, Any]) -> tuple[str, str, str, str]:
  """A judged claim, from `studies.results`, as a line of the document."""
  relation = {">": "above", "<": "below", "=": "within"}[claim["relation"]]
  goal = compact(claim["value"])
  if claim["relation"] == "=":
    goal = f"±{goal}"
  what = metric_name(claim["metric"].removeprefix("test/"))
  who = claim["one"] + (f" minus {claim['other']}" if claim["other"] else "")
  if claim["mean"] is None:
    numbers = f"{what} of {who}: no runs"
  else:
    signed = bool(claim["other"])
    numbers = f"{what} of {who}: {number(claim['mean'], signed=signed)}"
    if claim["low"] is not None:
      numbers += f" ({interval(claim['low'], claim['high'], signed=signed)})"
    numbers += f", {count(len(claim['seeds']), 'seed')}"
  verdict = claim["verdict"]
  return (
    SIGNS[verdict],
    verdict,
    claim["text"],
    f"{numbers}; asked: {relation} {goal}",
  )


def run_section(
  title: str,
  anchor: str,
  seeds: Sequence[Findings],
  inside: Insides | None,
  command: str = "",
) -> Section:
  """What is said of one run, with the curves of its other seeds.

  Args:
    title: its name.
    anchor: of the page, and of its figures' files.
    seeds: the run first.
    inside: of the run, or None where the network was not opened.
    command: that repeats the run, or ''.
  """
  found = seeds[0]
  text = _about(found, inside)
  shown = [_curves_figure(title, anchor, seeds)]
  if found.refused:
    return Section(title, anchor, text, command, [], shown)
  tables = [
    _test_table(found, inside.by_batches if inside else {}),
    *_class_table(found),
    *_group_table(found),
  ]
  shown += _decision_figures(title, anchor, found)
  if inside is not None:
    shown += _inside_figures(anchor, inside)
  return Section(title, anchor, text, command, tables, shown)


def _about(found: Findings, inside: Insides | None) -> str:
  summary = found.summary
  text = (
    f"{summary['model']}, {summary['params']:,} parameters, "
    f"{summary['macs'] / 1e6:,.1f} M mult-adds; seed {summary['seed']}, "
    f"{summary['epochs']:.3g} epochs, checkpoint of step "
    f"{summary['best_step']} by {metric_name(summary['best_metric'])}, split "
    f"{summary['split']} ({summary['split_sha256'][:12]}). "
  )
  if found.refused:
    return text + (
      "The test part chose the checkpoint: its numbers are no test and are "
      "not shown."
    )
  text += (
    f"Temperature fitted on validation: {found.temperature:.2f}; ECE of the "
    f"test {number(found.intervals['ece'].value)} before, "
    f"{number(found.at_temperature.get('ece'))} after. "
  )
  if inside is not None:
    text += (
      f"5-nearest-neighbour accuracy of its features "
      f"{number(inside.knn_accuracy)}, silhouette {number(inside.silhouette)}."
    )
  return text


def _test_table(found: Findings, by_batches: Mapping[str, float]) -> Table:
  """Every metric with its interval, and decided or normalised otherwise."""
  split = "image" if found.test.groups is None else "group"
  titles = ["test", "value", "95 % low", "high", "last epoch"]
  if found.at_threshold:
    titles.append(f"at {found.threshold:.2f}")
  if by_batches:
    titles.append("batch statistics")
  rows = []
  for name, estimate in found.intervals.items():
    if name == "majority_rate":
      continue
    cells = [
      metric_name(name),
      number(estimate.value),
      number(estimate.low),
      number(estimate.high),
      number(found.summary.get(f"last/test/{name}")),
    ]
    if found.at_threshold:
      cells.append(number(found.at_threshold.get(name)))
    if by_batches:
      cells.append(number(by_batches[name]))
    rows.append(tuple(cells))
  resamples = found.intervals["accuracy"].resamples
  note = (
    f"{len(found.test.names):,} images; bootstrap by {split}, {resamples:,} "
    "resamples; 'last epoch' without choosing a checkpoint."
  )
  if found.at_threshold:
    note += f" The threshold {found.threshold:.2f} was chosen on validation."
  if by_batches:
    note += (
      " 'Batch statistics' has BatchNorm's of 1,024 training images in place "
      "of the running ones."
    )
  return Table(tuple(titles), rows, note)


def _class_table(found: Findings) -> list[Table]:
  if len(found.test.classes) < 3:
    return []
  names = ("precision", "recall", "f1", "auroc")
  rows = [
    (
      label,
      f"{found.per_class['support'][i]:,.0f}",
      *(number(found.per_class[name][i]) for name in names),
    )
    for i, label in enumerate(found.test.classes)
  ]
  return [Table(("class", "images", *map(metric_name, names)), rows)]


def _group_table(found: Findings) -> list[Table]:
  if not found.groups:
    return []
  rows = [(name, f"{n:,}", number(share)) for name, n, share in found.groups]
  return [
    Table(
      ("worst groups of the test", "images", "accuracy"),
      rows,
      "Of those with ten images or more.",
    )
  ]


def _curves_figure(
  title: str, anchor: str, seeds: Sequence[Findings]
) -> Figure:
  runs = []
  for found in seeds:
    per_epoch = found.summary["steps"] / max(found.summary["epochs"], 1e-9)
    runs.append(
      {
        name: [(step / per_epoch, value) for step, value in curve]
        for name, curve in found.curves.items()
      }
    )
  names = ["loss", "accuracy"]
  if any("val/balanced_accuracy" in run for run in runs):
    names.append("balanced_accuracy")
  return Figure(
    f"{anchor}_curves",
    report_figures.learning_curves(runs, names, title),
    f"Learning curves, {count(len(seeds), 'seed')}. "
    "Training values are means since the last log, of augmented images.",
  )


def _decision_figures(
  title: str, anchor: str, found: Findings
) -> Iterable[Figure]:
  answers, positive = found.test.predictions, found.test.positive
  if len(found.test.classes) <= _CLASSES_IN_MATRIX:
    yield Figure(
      f"{anchor}_confusion",
      figures.confusion_matrix(found.matrix, found.test.classes, title),
      "Confusion matrix of the test: rows are true classes.",
      narrow=True,
    )
  if positive is None:
    yield Figure(
      f"{anchor}_reliability",
      report_figures.reliability_diagram(found.reliability, title),
      "Whether confidence is kept, in 15 bins.",
      narrow=True,
    )
  else:
    yield Figure(
      f"{anchor}_decisions",
      report_figures.decisions(
        answers.labels == positive,
        answers.probabilities()[:, positive],
        found.threshold,
        found.reliability,
        title,
      ),
      "ROC, precision against recall, and whether confidence is kept.",
    )


def _inside_figures(anchor: str, inside: Insides) -> Iterable[Figure]:
  if inside.mistakes is not None:
    yield Figure(
      f"{anchor}_mistakes",
      inside.mistakes,
      "The surest mistakes on the test: what was said, and what it is.",
      photo=True,
    )
  yield Figure(
    f"{anchor}_saliency",
    inside.saliency,
    "What the answers depend on: integrated gradients are orange where a "
    "pixel raises the logit. None of these proves what a network looks at.",
    photo=True,
    narrow=True,
  )
  if inside.embedding is not None:
    yield Figure(
      f"{anchor}_embedding",
      inside.embedding,
      "Features of test images before the head. Distances between t-SNE's "
      "clusters mean nothing.",
      narrow=True,
    )
